-- Secrets: sealed variables. One without a name belongs to an app, or to nobody and goes after a day.

CREATE TABLE secrets (
    secret_id TEXT PRIMARY KEY,
    environment TEXT NOT NULL REFERENCES environments (name),
    name TEXT NOT NULL,            -- empty for one without
    app_id TEXT NOT NULL,          -- the app that one without a name belongs to; else empty
    keys TEXT NOT NULL,            -- JSON list of the variables' names, in clear
    key_id TEXT NOT NULL,          -- which key of the home sealed it
    sealed BLOB NOT NULL,
    fingerprint TEXT NOT NULL,     -- of names and values, keyed: equal ones of an app are one secret
    created_at DOUBLE PRECISION NOT NULL,
    created_by TEXT NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL,
    last_used_at DOUBLE PRECISION NOT NULL,  -- 0: never
    deleted_at DOUBLE PRECISION NOT NULL     -- 0: it is there; else its values are gone, and who needs it is told so
);
CREATE UNIQUE INDEX secrets_by_name ON secrets (environment, name) WHERE name <> '';
CREATE INDEX secrets_by_app ON secrets (app_id, fingerprint) WHERE name = '';
