-- Sandboxes: containers that run one command of the user's choice. Their secrets are not stored.

CREATE TABLE sandboxes (
    sandbox_id TEXT PRIMARY KEY,
    container_id TEXT NOT NULL UNIQUE,
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    image_id TEXT NOT NULL,
    client_version TEXT NOT NULL,
    settings TEXT NOT NULL,        -- JSON, see state/sandboxes.py
    status BIGINT NOT NULL,        -- the client's GenericStatus; 0 while it runs
    exit_code BIGINT NOT NULL,
    error TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    finished_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX sandboxes_open ON sandboxes (app_id) WHERE status = 0;
