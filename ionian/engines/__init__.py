"""WHERE containers run: the Engine seam and its implementations."""
