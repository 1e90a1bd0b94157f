"""HOW a container runs: the Runtime seam and its implementations."""
