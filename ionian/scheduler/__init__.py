"""Decides containers, never single inputs."""
