-- Functions with constructor arguments or settings of their own, and scaling that was changed after the deploy.

CREATE TABLE bound_functions (
    function_id TEXT PRIMARY KEY REFERENCES functions (function_id),
    base_id TEXT NOT NULL REFERENCES functions (function_id),
    digest TEXT NOT NULL,          -- of arguments and settings: the same give the same function
    params BLOB NOT NULL,          -- constructor arguments as the client serialized them
    overrides TEXT NOT NULL,       -- JSON, see state/bindings.py
    options BLOB NOT NULL,         -- the client's message, opaque here
    created_at DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX bound_functions_by_base ON bound_functions (base_id, digest);

CREATE TABLE autoscaled_functions (
    function_id TEXT PRIMARY KEY REFERENCES functions (function_id),
    settings TEXT NOT NULL         -- JSON, as overrides above
);
