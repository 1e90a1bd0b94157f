"""Bound functions: a function with constructor arguments, with settings of its own, or of an older version of its app.
Each has containers of its own.

The same arguments and settings give the same bound function, for as long as the function exists: a redeploy changes
what it runs and keeps who it is. What is autoscaled otherwise than deployed is here too, until the next deploy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ionian.model import Batching, Retries, new_id
from ionian.state.database import Row, Tx

if TYPE_CHECKING:
    from ionian.state.functions import Settings

_SCALING = (
    "min_containers",
    "max_containers",
    "buffer_containers",
    "scaledown_window_s",
    "max_concurrent_inputs",
    "target_concurrent_inputs",
)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Settings instead of those of the definition; None leaves one as it is there."""

    cpu: tuple[int, int | None] | None = None  # millicores: what it asks for, and its limit
    memory: tuple[int, int | None] | None = None  # MiB, likewise
    timeout_s: int | None = None
    retries: Retries | None = None
    batching: Batching | None = None
    secret_ids: tuple[str, ...] | None = None
    min_containers: int | None = None
    max_containers: int | None = None
    buffer_containers: int | None = None
    scaledown_window_s: int | None = None
    max_concurrent_inputs: int | None = None
    target_concurrent_inputs: int | None = None
    version: int | None = None  # of the app: the function as it was then

    def applied(self, settings: Settings) -> Settings:
        """The settings with these in their place."""
        resources, given = settings.resources, self._given(("timeout_s", "retries", "batching", "secret_ids"))
        if self.cpu:
            resources = replace(resources, cpu_millicores=self.cpu[0], cpu_limit_millicores=self.cpu[1])
        if self.memory:
            resources = replace(resources, memory_mib=self.memory[0], memory_limit_mib=self.memory[1])
        scaling = replace(settings.scaling, **self._given(_SCALING))
        if self.max_concurrent_inputs is not None and self.target_concurrent_inputs is None:
            scaling = replace(scaling, target_concurrent_inputs=None)
        return replace(settings, resources=resources, scaling=scaling, **given)

    def over(self, other: Overrides) -> Overrides:
        """The other ones, with these in their place."""
        return replace(other, **self._given(tuple(field.name for field in fields(self))))

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def encode(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}, sort_keys=True)

    @staticmethod
    def decode(text: str) -> Overrides:
        raw: dict[str, Any] = json.loads(text)
        for name, kind in (("retries", Retries), ("batching", Batching)):
            if name in raw:
                raw[name] = kind(**raw[name])
        for name in ("cpu", "memory", "secret_ids"):
            if name in raw:
                raw[name] = tuple(raw[name])
        return Overrides(**raw)


def bind(
    tx: Tx,
    base: Row,
    params: bytes,
    overrides: Overrides,
    options: bytes,
    label: str,
    now: float,
    secrets: tuple[str, ...] = (),
) -> str:
    """The id of this function with these arguments and settings, made when it is the first of its kind.

    ``base``: the function's row. ``options``: the client's message, opaque here. ``label``: what people read.
    ``secrets``: what makes its secrets the same ones, for those without a name are new each time.
    """
    encoded = overrides.encode()
    compared = replace(overrides, secret_ids=secrets).encode() if overrides.secret_ids else encoded
    digest = hashlib.sha256(len(params).to_bytes(8, "big") + params + compared.encode()).hexdigest()
    known = "SELECT function_id FROM bound_functions WHERE base_id = ? AND digest = ?"
    found = tx.one(known, base["function_id"], digest)
    if found:
        return str(found["function_id"])
    function_id = new_id("fu")
    tx.execute(
        "INSERT INTO functions (function_id, app_id, name, created_at) VALUES (?, ?, ?, ?)",
        function_id,
        base["app_id"],
        f"{base['name']} ({label})",
        now,
    )
    tx.execute(
        "INSERT INTO bound_functions (function_id, base_id, digest, params, overrides, options, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        function_id,
        base["function_id"],
        digest,
        params,
        encoded,
        options,
        now,
    )
    return function_id


def renew(tx: Tx, function_id: str, overrides: Overrides) -> None:
    """Equal settings in the place of those it has: with secrets that exist."""
    tx.execute("UPDATE bound_functions SET overrides = ? WHERE function_id = ?", overrides.encode(), function_id)


def get(tx: Tx, function_id: str) -> Row | None:
    """The row of a bound function, with its ``name``; None for every other function."""
    return tx.one(
        "SELECT bound_functions.*, functions.name FROM bound_functions "
        "JOIN functions ON functions.function_id = bound_functions.function_id WHERE bound_functions.function_id = ?",
        function_id,
    )


def base_of(tx: Tx, function_id: str) -> str:
    """The function that a deploy knows: of a bound one the one that it binds, else this one."""
    row = tx.one("SELECT base_id FROM bound_functions WHERE function_id = ?", function_id)
    return str(row["base_id"]) if row else function_id


def of_base(tx: Tx, base_id: str) -> list[Row]:
    """All bound functions of a function, newest first."""
    return tx.all("SELECT * FROM bound_functions WHERE base_id = ? ORDER BY created_at DESC, function_id DESC", base_id)


def wanted(tx: Tx, also: Iterable[str]) -> list[Row]:
    """Those that have something to do: open inputs, or containers to keep. And those of ``also`` that exist."""
    working = (
        "SELECT function_id FROM bound_functions WHERE EXISTS (SELECT 1 AS one FROM inputs "
        "WHERE inputs.function_id = bound_functions.function_id AND inputs.finished = 0)"
    )
    found = {str(row["function_id"]) for row in tx.all(working)} | set(also)
    for row in tx.all("SELECT function_id, settings FROM autoscaled_functions"):
        if Overrides.decode(row["settings"]).min_containers:
            found.add(str(row["function_id"]))
    rows = (get(tx, function_id) for function_id in sorted(found))
    return [row for row in rows if row is not None]


def autoscaled(tx: Tx, function_id: str) -> Overrides:
    """What has been changed of a function's scaling since its app was deployed."""
    row = tx.one("SELECT settings FROM autoscaled_functions WHERE function_id = ?", function_id)
    return Overrides.decode(row["settings"]) if row else Overrides()


def autoscale(tx: Tx, function_id: str, settings: Overrides) -> None:
    """Change a function's scaling until the next deploy of its app."""
    tx.execute(
        "INSERT INTO autoscaled_functions (function_id, settings) VALUES (?, ?) "
        "ON CONFLICT (function_id) DO UPDATE SET settings = excluded.settings",
        function_id,
        settings.encode(),
    )


def forget_autoscaling(tx: Tx, app_id: str) -> int:
    """An app is deployed: its functions scale as it says. Returns how many did not."""
    return tx.execute(
        "DELETE FROM autoscaled_functions WHERE function_id IN (SELECT function_id FROM functions WHERE app_id = ?)",
        app_id,
    )
