-- Dicts and queues. What they hold hangs on numbers, so that clearing one is a new number: the old one is swept later.

CREATE TABLE data_objects (
    object_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,            -- dict or queue
    environment TEXT NOT NULL,
    name TEXT NOT NULL,            -- empty: ephemeral, ends with its client
    store BIGINT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    created_by TEXT NOT NULL,
    seen_at DOUBLE PRECISION NOT NULL  -- the last sign of life of an ephemeral one's client
);
CREATE UNIQUE INDEX data_objects_by_name ON data_objects (kind, environment, name) WHERE name <> '';
CREATE INDEX data_objects_ephemeral ON data_objects (seen_at) WHERE name = '';

CREATE TABLE dict_entries (
    store BIGINT NOT NULL,
    key BLOB NOT NULL,
    position BIGINT NOT NULL,      -- entries are listed in this order
    used_at DOUBLE PRECISION NOT NULL,
    blob TEXT NOT NULL,            -- SHA-256 of the file of a large value, else empty
    value BLOB NOT NULL,
    PRIMARY KEY (store, key)
);
CREATE INDEX dict_entries_by_use ON dict_entries (used_at);

CREATE TABLE queue_partitions (
    store BIGINT NOT NULL,
    key BLOB NOT NULL,
    partition BIGINT NOT NULL,
    head BIGINT NOT NULL,          -- items are at head <= position < tail, without a gap
    tail BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    expires_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (store, key)
);
CREATE INDEX queue_partitions_by_end ON queue_partitions (expires_at);

CREATE TABLE queue_items (
    partition BIGINT NOT NULL,
    position BIGINT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (partition, position)
);

-- Numbers of stores and partitions that nobody can reach any more: what hangs on them is removed piece by piece.
CREATE TABLE dropped_stores (
    number BIGINT PRIMARY KEY
);

-- Files of large values that no entry names: about to be put, or to be removed.
CREATE TABLE loose_values (
    blob TEXT PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL
);

-- What was answered to requests that change something, so that one sent again is not done again.
CREATE TABLE data_answers (
    span BIGINT NOT NULL,          -- of ten seconds
    request_key TEXT NOT NULL,
    number BIGINT NOT NULL,
    value BLOB NOT NULL,
    recalled BIGINT NOT NULL,      -- 1: was sent a second time
    PRIMARY KEY (span, request_key, number)
);
