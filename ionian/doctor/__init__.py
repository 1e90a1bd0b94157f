"""``ionian doctor``: whether the main job can work on this machine, and for whatever cannot, one line that mends it."""
