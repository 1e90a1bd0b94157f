"""The HTTP edge: host to function, wait for a slot, move bytes."""
