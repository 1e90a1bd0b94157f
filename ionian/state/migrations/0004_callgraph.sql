-- Calls made by inputs of other calls, found from their parent.

CREATE INDEX calls_by_parent ON calls (parent_input_id) WHERE parent_input_id <> '';
