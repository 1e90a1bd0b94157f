"""Retired names of older clients on newer ones. Standard library only: loaded beside the user's own client."""
