-- Environments have a suffix in web addresses of their own. One that was deleted keeps its row, under another name.

ALTER TABLE environments ADD COLUMN web_suffix TEXT NOT NULL DEFAULT '';
ALTER TABLE environments ADD COLUMN deleted_at DOUBLE PRECISION NOT NULL DEFAULT 0;  -- 0: it is there
UPDATE environments SET web_suffix = REPLACE(REPLACE(LOWER(name), '_', '-'), '.', '-') WHERE name <> 'main';

ALTER TABLE tokens ADD COLUMN disabled BIGINT NOT NULL DEFAULT 0;  -- 1: it is not taken until it is enabled again
