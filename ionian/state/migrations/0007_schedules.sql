-- Schedules of deployed functions, and their runs.

CREATE TABLE schedules (
    function_id TEXT PRIMARY KEY REFERENCES functions (function_id),
    app_id TEXT NOT NULL REFERENCES apps (app_id),
    schedule TEXT NOT NULL,                -- JSON, see timetable.py
    anchor_at DOUBLE PRECISION NOT NULL,   -- what periods are counted from
    due_at DOUBLE PRECISION NOT NULL,      -- the next due time, claimed by nobody yet
    planned_at DOUBLE PRECISION NOT NULL,  -- what time it was when that was chosen
    paused BIGINT NOT NULL
);
CREATE INDEX schedules_by_app ON schedules (app_id);
CREATE INDEX schedules_due ON schedules (due_at) WHERE paused = 0;
CREATE INDEX schedules_planned ON schedules (planned_at) WHERE paused = 0;

CREATE TABLE schedule_runs (
    run_id TEXT PRIMARY KEY,
    function_id TEXT NOT NULL REFERENCES functions (function_id),
    app_id TEXT NOT NULL,
    due_at DOUBLE PRECISION NOT NULL,
    since_at DOUBLE PRECISION NOT NULL,    -- the first due time that this run stands for
    cause TEXT NOT NULL,                   -- due, late, or asked (by a person)
    status TEXT NOT NULL,                  -- running; skipped, missed; or how its call ended
    call_id TEXT NOT NULL,                 -- empty when it was not run
    made_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION NOT NULL,
    error TEXT NOT NULL,
    untold BIGINT NOT NULL                 -- 1: it failed, and whoever wants to know was not told yet
);
CREATE UNIQUE INDEX schedule_runs_once ON schedule_runs (function_id, due_at) WHERE cause <> 'asked';
CREATE INDEX schedule_runs_by_function ON schedule_runs (function_id, made_at);
CREATE INDEX schedule_runs_by_app ON schedule_runs (app_id);
CREATE INDEX schedule_runs_by_call ON schedule_runs (call_id);
CREATE INDEX schedule_runs_running ON schedule_runs (function_id) WHERE status = 'running';
CREATE INDEX schedule_runs_untold ON schedule_runs (made_at) WHERE untold = 1;
