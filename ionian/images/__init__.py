"""WHAT a container runs on: recipes, layers, builds."""
