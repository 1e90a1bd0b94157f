-- Retries by the server, claims of inputs by containers, counts of a call.

ALTER TABLE inputs ADD COLUMN container_id TEXT NOT NULL DEFAULT '';  -- where it was sent last, or was about to be
ALTER TABLE inputs ADD COLUMN crashes BIGINT NOT NULL DEFAULT 0;      -- times it began anew after a lost container
ALTER TABLE inputs ADD COLUMN not_before DOUBLE PRECISION NOT NULL DEFAULT 0;

ALTER TABLE outputs ADD COLUMN data_blob TEXT NOT NULL DEFAULT '';    -- SHA-256, for data too long for a row

ALTER TABLE calls ADD COLUMN accepted BIGINT NOT NULL DEFAULT 0;      -- inputs
ALTER TABLE calls ADD COLUMN ended BIGINT NOT NULL DEFAULT 0;         -- inputs with an output
ALTER TABLE calls ADD COLUMN succeeded BIGINT NOT NULL DEFAULT 0;     -- of the ended
ALTER TABLE calls ADD COLUMN terminated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN timed_out BIGINT NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN entries BIGINT NOT NULL DEFAULT 0;       -- the last number given to an output

UPDATE calls SET
    accepted = (SELECT COUNT(*) FROM inputs WHERE inputs.call_id = calls.call_id),
    ended = (SELECT COUNT(*) FROM outputs WHERE outputs.call_id = calls.call_id),
    succeeded = (SELECT COUNT(*) FROM outputs WHERE outputs.call_id = calls.call_id AND status = 1),
    terminated = (SELECT COUNT(*) FROM outputs WHERE outputs.call_id = calls.call_id AND status = 3),
    timed_out = (SELECT COUNT(*) FROM outputs WHERE outputs.call_id = calls.call_id AND status = 4),
    entries = (SELECT COALESCE(MAX(entry), 0) FROM outputs WHERE outputs.call_id = calls.call_id);

-- One index of what is open is enough: each costs two pages of the log for every input.
DROP INDEX inputs_open;
CREATE INDEX inputs_open_by_function ON inputs (function_id) WHERE finished = 0;
