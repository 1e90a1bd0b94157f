"""Ionian: an open server, compatible with the modal client, for your own machines."""

__version__ = "0.1.0"
