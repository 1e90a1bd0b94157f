"""Fixtures of the chaos test: a home of its own, and a real client."""

from __future__ import annotations

from tests.e2e.conftest import client, machine, make_machine, new_client, uv_cache

__all__ = ["client", "machine", "make_machine", "new_client", "uv_cache"]
