"""Rows: plain functions over a transaction. Mirrors ``api/`` name for name. Knows model, errors and config only."""
