"""Rows: plain functions over a transaction, a module per kind of row. Knows model, errors and config only."""
