-- Objects, deployments, images, mounts, calls. Times are unix seconds (DOUBLE PRECISION).

CREATE TABLE environments (
    environment_id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    secret_sha256 TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE apps (
    app_id TEXT PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (name),
    name TEXT NOT NULL,            -- deployed name; empty until it is deployed
    description TEXT NOT NULL,
    state BIGINT NOT NULL,         -- the client's AppState
    live_version BIGINT NOT NULL,  -- version whose functions serve; 0 for an ephemeral app, -1 for none yet
    client_version TEXT NOT NULL,
    tags TEXT NOT NULL,            -- JSON object
    staged TEXT NOT NULL,          -- JSON {tag: object id} of clients that publish in two steps
    created_at DOUBLE PRECISION NOT NULL,
    heartbeat_at DOUBLE PRECISION NOT NULL,
    deployed_at DOUBLE PRECISION NOT NULL,
    stopped_at DOUBLE PRECISION NOT NULL,
    stopped_by TEXT NOT NULL
);
CREATE UNIQUE INDEX apps_deployed_name ON apps (environment, name) WHERE state = 3;
CREATE INDEX apps_by_name ON apps (environment, name);

CREATE TABLE deployments (
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    version BIGINT NOT NULL,
    client_version TEXT NOT NULL,
    tag TEXT NOT NULL,
    commit_info BLOB NOT NULL,
    rollback_version BIGINT NOT NULL,
    function_ids TEXT NOT NULL,    -- JSON {tag: function id}
    class_ids TEXT NOT NULL,       -- JSON {tag: class id}
    definition_ids TEXT NOT NULL,  -- JSON {function id: definition id}
    deployed_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (app_id, version)
);

CREATE TABLE functions (
    function_id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    name TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX functions_by_app ON functions (app_id, name);

CREATE TABLE definitions (
    definition_id TEXT PRIMARY KEY,
    function_id TEXT NOT NULL REFERENCES functions (function_id),
    digest TEXT NOT NULL,          -- of definition, settings and client version: a redeploy without change is the same row
    client_version TEXT NOT NULL,
    image_id TEXT NOT NULL,
    web_label TEXT NOT NULL,
    settings TEXT NOT NULL,        -- JSON, see state/functions.py
    definition BLOB NOT NULL,      -- the client's Function message, opaque here
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX definitions_by_function ON definitions (function_id, created_at);

CREATE TABLE web_labels (
    host TEXT PRIMARY KEY,         -- first DNS label of the address, workspace included
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    function_id TEXT NOT NULL REFERENCES functions (function_id)
);
CREATE INDEX web_labels_by_app ON web_labels (app_id);

CREATE TABLE classes (
    class_id TEXT PRIMARY KEY,
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE images (
    image_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,   -- of everything that decides its content
    status TEXT NOT NULL,          -- pending, building, built, failed
    recipe TEXT NOT NULL,          -- JSON, see state/images.py
    base_image_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    layers TEXT NOT NULL,          -- JSON list of layer digests, bottom first
    env TEXT NOT NULL,             -- JSON list of pairs
    workdir TEXT NOT NULL,
    python_version TEXT NOT NULL,
    metadata TEXT NOT NULL,        -- JSON object
    error TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX images_open ON images (status) WHERE status IN ('pending', 'building');

CREATE TABLE mounts (
    mount_id TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE mount_files (
    mount_id TEXT NOT NULL REFERENCES mounts (mount_id),
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    mode BIGINT NOT NULL,
    size BIGINT NOT NULL,
    PRIMARY KEY (mount_id, path)
);

CREATE TABLE mount_names (
    environment TEXT NOT NULL,
    name TEXT NOT NULL,
    mount_id TEXT NOT NULL REFERENCES mounts (mount_id),
    PRIMARY KEY (environment, name)
);

CREATE TABLE blobs (
    blob_id TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    md5 TEXT NOT NULL,             -- what the client announced, base64
    sha256 TEXT NOT NULL,          -- hex; what it announced, then what it stored
    stored BIGINT NOT NULL,        -- 1 once the bytes are here
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE blob_tickets (
    ticket TEXT PRIMARY KEY,       -- SHA-256 of the secret part of the address
    blob_id TEXT NOT NULL REFERENCES blobs (blob_id),
    verb TEXT NOT NULL,            -- PUT or GET
    expires_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE calls (
    call_id TEXT PRIMARY KEY,
    function_id TEXT NOT NULL REFERENCES functions (function_id),
    call_type BIGINT NOT NULL,
    invocation_type BIGINT NOT NULL,
    parent_input_id TEXT NOT NULL,
    request_key TEXT NOT NULL,     -- the client's idempotency key: a repeated request finds the same call
    expected_inputs BIGINT NOT NULL,  -- -1 until the client has said that it sends no more
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX calls_request_key ON calls (request_key) WHERE request_key <> '';
CREATE INDEX calls_by_age ON calls (created_at);

CREATE TABLE inputs (
    input_id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL REFERENCES calls (call_id),
    function_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    method TEXT NOT NULL,
    data_format BIGINT NOT NULL,
    args BLOB NOT NULL,
    args_blob TEXT NOT NULL,       -- SHA-256
    attempt BIGINT NOT NULL,
    finished BIGINT NOT NULL,      -- 0 open, 1 has its output
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX inputs_by_call ON inputs (call_id, position);
CREATE INDEX inputs_open ON inputs (created_at) WHERE finished = 0;

CREATE TABLE outputs (
    input_id TEXT PRIMARY KEY REFERENCES inputs (input_id),
    call_id TEXT NOT NULL,
    entry BIGINT NOT NULL,         -- order of arrival within the call, from 1
    position BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    status BIGINT NOT NULL,
    data_format BIGINT NOT NULL,
    data BLOB NOT NULL,
    exception TEXT NOT NULL,
    traceback TEXT NOT NULL,
    serialized_tb BLOB NOT NULL,
    tb_line_cache BLOB NOT NULL,
    container_id TEXT NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX outputs_by_call ON outputs (call_id, entry);

CREATE TABLE items (
    call_id TEXT NOT NULL REFERENCES calls (call_id),
    position BIGINT NOT NULL,      -- from 1
    data_format BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (call_id, position)
);
