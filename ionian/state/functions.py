"""Functions and their definitions. A function keeps its id over redeploys; each changed definition is a new row.

The client's Function message is kept as opaque bytes; what is scheduled on is in ``Settings``. ``live`` resolves the
functions of every live app version into specs that need nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ionian.errors import AlreadyExists, FailedPrecondition, NotFound
from ionian.model import (
    Batching,
    FunctionSpec,
    Interactive,
    MountRef,
    Resources,
    Retries,
    RunnerSpec,
    Scaling,
    WebKind,
    WebSettings,
    new_id,
)
from ionian.state import apps, bindings, images, labels, mounts
from ionian.state.bindings import Overrides
from ionian.state.database import Row, Tx


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a definition that the server acts on."""

    name: str  # the tag: qualified name inside the app
    module_name: str
    function_name: str
    is_generator: bool = False
    is_class: bool = False
    serialized: bool = False
    web: WebSettings | None = None
    mount_ids: tuple[str, ...] = ()
    secret_ids: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
    timeout_s: int = 300
    startup_timeout_s: int = 300
    supported_output_formats: tuple[int, ...] = ()
    block_network: bool = False
    interactive: Interactive | None = None
    runner: str = "own"  # which runner its containers have: chosen at deploy, by configuration and client version
    retries: Retries = field(default_factory=Retries)
    batching: Batching | None = None
    max_inputs: int = 0
    web_methods: tuple[WebSettings, ...] = ()  # of a class
    stands_for: tuple[str, str] | None = None  # of clients before 0.73: the class's function, and its method
    needs_params: bool = False  # a class that cannot be made without arguments

    def encode(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def decode(text: str) -> Settings:
        raw: dict[str, Any] = json.loads(text)
        raw["web"] = _web(raw["web"]) if raw["web"] else None
        raw["web_methods"] = tuple(_web(web) for web in raw.get("web_methods", ()))
        raw["stands_for"] = tuple(raw["stands_for"]) if raw.get("stands_for") else None
        raw["resources"] = Resources(**raw["resources"])
        raw["scaling"] = Scaling(**raw["scaling"])
        raw["retries"] = Retries(**raw.get("retries", {}))
        raw["batching"] = Batching(**raw["batching"]) if raw.get("batching") else None
        for name in ("mount_ids", "secret_ids", "supported_output_formats"):
            raw[name] = tuple(raw[name])
        if raw.get("interactive"):
            given = raw["interactive"]
            raw["interactive"] = Interactive(**{**given, "env": tuple((name, value) for name, value in given["env"])})
        return Settings(**raw)

    @property
    def labels(self) -> list[str]:
        """All web labels of the function, without workspace."""
        return [web.label for web in (self.web, *self.web_methods) if web and web.label]


def _web(raw: dict[str, Any]) -> WebSettings:
    return WebSettings(**{**raw, "kind": WebKind(raw["kind"])})


def precreate(tx: Tx, app_id: str, name: str, existing_id: str, now: float) -> str:
    """The id that this function of the app has or will have. Raises NotFound for an ``existing_id`` of another app."""
    apps.get(tx, app_id)
    if existing_id:
        row = get(tx, existing_id)
        if row["app_id"] != app_id:
            raise NotFound(f"function {existing_id} is not one of app {app_id}")
        return existing_id
    row_or_none = tx.one("SELECT function_id FROM functions WHERE app_id = ? AND name = ?", app_id, name)
    if row_or_none:
        return str(row_or_none["function_id"])
    function_id = new_id("fu")
    tx.execute(
        "INSERT INTO functions (function_id, app_id, name, created_at) VALUES (?, ?, ?, ?)",
        function_id,
        app_id,
        name,
        now,
    )
    return function_id


def get(tx: Tx, function_id: str) -> Row:
    """The function's row. Raises NotFound."""
    row = tx.one("SELECT * FROM functions WHERE function_id = ?", function_id)
    if row is None:
        raise NotFound(f"function {function_id} not found")
    return row


def define(
    tx: Tx, function_id: str, settings: Settings, image_id: str, definition: bytes, client_version: str, now: float
) -> str:
    """Store what the function will be once it is published. An unchanged definition keeps its id. Returns that id."""
    get(tx, function_id)
    encoded = settings.encode()
    parts = (encoded.encode(), image_id.encode(), definition, client_version.encode())
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()
    latest = newest(tx, function_id)
    if latest and latest["digest"] == digest:
        return str(latest["definition_id"])
    definition_id = new_id("de")
    tx.execute(
        "INSERT INTO definitions (definition_id, function_id, digest, client_version, image_id, web_label, settings, "
        "definition, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        definition_id,
        function_id,
        digest,
        client_version,
        image_id,
        settings.web.label if settings.web else "",
        encoded,
        definition,
        now,
    )
    return definition_id


def newest(tx: Tx, function_id: str) -> Row | None:
    """The definition made last, published or not."""
    return tx.one(
        "SELECT * FROM definitions WHERE function_id = ? ORDER BY created_at DESC, definition_id LIMIT 1", function_id
    )


def definition(tx: Tx, definition_id: str) -> Row:
    """A definition's row. Raises NotFound."""
    row = tx.one("SELECT * FROM definitions WHERE definition_id = ?", definition_id)
    if row is None:
        raise NotFound(f"definition {definition_id} not found")
    return row


def current(tx: Tx, function_id: str) -> Row:
    """The live definition of a function, or its newest one while its app has published none. Raises NotFound.

    A bound function has that of the function it binds.
    """
    app_id, base_id = get(tx, function_id)["app_id"], bindings.base_of(tx, function_id)
    definition_id = apps.layout(tx, app_id, _pinned(bindings.get(tx, function_id))).definition_ids.get(base_id)
    row = definition(tx, definition_id) if definition_id else newest(tx, base_id)
    if row is None:
        raise NotFound(f"function {function_id} was announced but never created")
    return row


def _pinned(bound: Row | None) -> int | None:
    """The version that a bound function belongs to; None for the live one."""
    return Overrides.decode(bound["overrides"]).version if bound else None


def definitions_of(tx: Tx, function_ids: Iterable[str], chosen: dict[str, str]) -> dict[str, str]:
    """``{function id: definition id}`` for a publish: what the client named, else the newest. FailedPrecondition."""
    found: dict[str, str] = {}
    for function_id in function_ids:
        row = definition(tx, chosen[function_id]) if chosen.get(function_id) else newest(tx, function_id)
        if row is None or row["function_id"] != function_id:
            raise FailedPrecondition(
                f"function {function_id} has no definition: the deploy is incomplete, run it again"
            )
        if row["image_id"] and images.get(tx, row["image_id"])["status"] != images.BUILT:
            raise FailedPrecondition(f"image {row['image_id']} of function {function_id} is not built")
        found[function_id] = str(row["definition_id"])
    return found


def check_label(tx: Tx, host: str, app_id: str, what: str) -> None:
    """Raises AlreadyExists when another app answers at this address. A forgotten run of the same app gives way."""
    row = tx.one("SELECT * FROM web_labels WHERE host = ?", host)
    if row is None or row["app_id"] == app_id:
        return
    holder, mine = apps.get(tx, row["app_id"]), apps.get(tx, app_id)
    if holder["state"] != apps.DEPLOYED and holder["description"] == mine["description"]:
        return
    raise AlreadyExists(
        f"the web address {host!r} of {what} belongs to app {holder['description']!r} ({holder['app_id']}); "
        "choose another with label=, or stop that app"
    )


def claim_labels(tx: Tx, app_id: str, workspace: str, definition_ids: Iterable[str]) -> None:
    """Give an app the addresses of its new version, and free those of the old one. Raises AlreadyExists."""
    suffix = apps.get(tx, app_id)["web_suffix"]
    tx.execute("DELETE FROM web_labels WHERE app_id = ?", app_id)
    claimed: dict[str, str] = {}
    for definition_id in definition_ids:
        row = definition(tx, definition_id)
        name = get(tx, row["function_id"])["name"]
        for label in Settings.decode(row["settings"]).labels:
            host = labels.host(workspace, suffix, label)
            if host in claimed:
                raise AlreadyExists(
                    f"{claimed[host]} and {name} would both have the web address {host!r}; "
                    "give one of them another label="
                )
            claimed[host] = name
            check_label(tx, host, app_id, name)
            tx.execute(
                "INSERT INTO web_labels (host, app_id, function_id) VALUES (?, ?, ?) "
                "ON CONFLICT (host) DO UPDATE SET app_id = excluded.app_id, function_id = excluded.function_id",
                host,
                app_id,
                row["function_id"],
            )


def live(tx: Tx, also: Iterable[str] = ()) -> list[FunctionSpec]:
    """Every function that may run now: of deployed versions and of running ephemeral apps.

    Of bound functions, which may be many, those that have something to do and those of ``also``.
    """
    rows = tx.all(
        "SELECT apps.app_id, deployments.definition_ids FROM apps JOIN deployments "
        "ON deployments.app_id = apps.app_id AND deployments.version = apps.live_version "
        f"WHERE apps.state IN ({', '.join('?' * len(apps.SERVING))}) ORDER BY apps.created_at, apps.app_id",
        *apps.SERVING,
    )
    chosen = {key: value for row in rows for key, value in json.loads(row["definition_ids"]).items()}
    specs = [spec(tx, definition_id) for definition_id in chosen.values()]
    bound = [bound_spec(tx, row["function_id"]) for row in bindings.wanted(tx, also)]
    specs += [found for found in bound if found is not None]
    return [found for found in specs if found.image_id]  # without one: a method of an old client's class


def bound_spec(tx: Tx, function_id: str) -> FunctionSpec | None:
    """A bound function whose app runs; None for every other."""
    bound = bindings.get(tx, function_id)
    if bound is None:
        return None
    app = apps.get(tx, get(tx, function_id)["app_id"])
    definition_id = apps.layout(tx, app["app_id"], _pinned(bound)).definition_ids.get(bound["base_id"])
    return spec(tx, definition_id, bound) if definition_id and app["state"] in apps.SERVING else None


def spec(tx: Tx, definition_id: str, bound: Row | None = None) -> FunctionSpec:
    """One definition, fully resolved, as it is or as it is ``bound``. Raises NotFound."""
    row = definition(tx, definition_id)
    app = apps.get(tx, get(tx, row["function_id"])["app_id"])
    settings = _settings(tx, row, bound)
    image = images.get(tx, row["image_id"]) if row["image_id"] else None
    function_id = bound["function_id"] if bound else row["function_id"]
    return FunctionSpec(
        function_id=function_id,
        app_id=app["app_id"],
        app_name=app["name"] or app["description"],
        environment=app["environment"],
        web_suffix=app["web_suffix"],
        name=settings.name,
        version=_pinned(bound) or max(app["live_version"], 0),
        image_id=row["image_id"],
        layers=tuple(json.loads(image["layers"])) if image else (),
        mounts=_mount_refs(tx, settings.mount_ids),
        secret_ids=settings.secret_ids,
        runner=replace(_runner(row, app, settings), function_id=function_id),
        resources=settings.resources,
        scaling=settings.scaling,
        timeout_s=settings.timeout_s,
        startup_timeout_s=settings.startup_timeout_s,
        python_version=image["python_version"] if image else "",
        image_env=tuple((name, value) for name, value in json.loads(image["env"])) if image else (),
        image_workdir=image["workdir"] if image else "",
        definition=row["definition"],
        block_network=settings.block_network,
        retries=settings.retries,
        batching=settings.batching,
        max_inputs=settings.max_inputs,
        interactive=settings.interactive,
        params=bound["params"] if bound else b"",
        base_id=bound["base_id"] if bound else "",
    )


def settings(tx: Tx, function_id: str) -> Settings:
    """What holds for a function now, bound or not. Raises NotFound."""
    return _settings(tx, current(tx, function_id), bindings.get(tx, function_id))


def _settings(tx: Tx, row: Row, bound: Row | None) -> Settings:
    """Of a definition: bound, autoscaled, with the web methods that an old client's class keeps elsewhere.

    ``min_containers`` of a definition is for the function itself, if it can be made; a bound one has its own.
    """
    settings = Settings.decode(row["settings"])
    if bound or settings.needs_params:
        settings = replace(settings, scaling=replace(settings.scaling, min_containers=0))
    if bound:
        settings = Overrides.decode(bound["overrides"]).applied(replace(settings, name=bound["name"]))
    if settings.is_class and not settings.web_methods:
        settings = replace(settings, web_methods=_old_web_methods(tx, row["function_id"]))
    return bindings.autoscaled(tx, bound["function_id"] if bound else row["function_id"]).applied(settings)


def _old_web_methods(tx: Tx, function_id: str) -> tuple[WebSettings, ...]:
    """Clients before 0.73 make one more function for each method of a class: those of the live version with a label."""
    app_id = get(tx, function_id)["app_id"]
    found = []
    for definition_id in apps.layout(tx, app_id).definition_ids.values():
        row = definition(tx, definition_id)
        settings = Settings.decode(row["settings"]) if row["web_label"] and not row["image_id"] else None
        if settings and settings.web and settings.stands_for and settings.stands_for[0] == function_id:
            found.append(replace(settings.web, class_method=settings.stands_for[1]))
    return tuple(found)


def _mount_refs(tx: Tx, mount_ids: Iterable[str]) -> tuple[MountRef, ...]:
    """Mounts with files; the client's own package is provided by the server and has none."""
    rows = [mounts.get(tx, mount_id) for mount_id in mount_ids]
    return tuple(MountRef(row["mount_id"], row["digest"]) for row in rows if not mounts.is_provided(row["digest"]))


def _runner(row: Row, app: Row, settings: Settings) -> RunnerSpec:
    return RunnerSpec(
        function_id=row["function_id"],
        app_id=app["app_id"],
        app_name=app["name"] or app["description"],
        function_name=settings.function_name,
        module_name=settings.module_name,
        client_version=row["client_version"],
        is_generator=settings.is_generator,
        is_class=settings.is_class,
        serialized=settings.serialized,
        web=replace(settings.web) if settings.web else None,
        web_methods=settings.web_methods,
        max_concurrent_inputs=settings.scaling.max_concurrent_inputs,
        timeout_s=settings.timeout_s,
        supported_output_formats=settings.supported_output_formats,
        runner=settings.runner,
        batch_max_size=settings.batching.max_size if settings.batching else 0,
    )
