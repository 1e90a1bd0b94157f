"""WHAT a container sees: recipes, layers, builds, client packages. Nothing here knows functions or calls."""
