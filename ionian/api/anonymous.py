"""Secrets without a name: variables that a client sends along for one run. In memory alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from ionian.errors import NotFound
from ionian.model import new_id

MOST = 1000  # kept at once: the oldest goes, and who comes back for it runs again


class Anonymous:
    """Variables by secret id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, str]] = OrderedDict()

    def add(self, variables: Mapping[str, str]) -> str:
        """Keep these; their id."""
        secret_id = new_id("st")
        self._kept[secret_id] = dict(variables)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return secret_id

    def get(self, secret_id: str) -> dict[str, str]:
        """Raises NotFound."""
        found = self._kept.get(secret_id)
        if found is None:
            raise NotFound(
                f"secret {secret_id} is not known (any more): secrets with a name are not built in this server yet, "
                "and those of a run are forgotten when the server restarts; run it again"
            )
        return found
