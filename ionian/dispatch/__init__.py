"""The hot path: one queue and one set of slots per function, in memory."""
