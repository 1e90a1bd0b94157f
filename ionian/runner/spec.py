"""The launch spec: what a container's runner is told, as one JSON file. Both sides import this; standard library only.

It is ``model.RunnerSpec`` plus where things lie inside the container. Unknown keys are ignored, so that a runner and a
server of neighbouring versions understand each other.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

OWN = "own"  # this package's runner
STOCK = "stock"  # the client's own container entrypoint, see stock/
RUNNERS = (OWN, STOCK)
NEWEST_KNOWN = (1, 6)  # series of the newest client that the own runner is tested with


@dataclass(frozen=True)
class Web:
    """How a web function is served. ``kind`` is a ``model.WebKind`` value."""

    kind: str
    method: str = "GET"
    docs: bool = False
    label: str = ""
    class_method: str = ""  # of a class: the method that answers


@dataclass(frozen=True)
class Launch:
    """One function to load and serve. Times in seconds; paths as the container sees them; "" means none."""

    function_id: str
    app_id: str
    app_name: str
    function_name: str  # qualified name inside the module, "Cls.*" for a class
    module_name: str
    client_version: str
    is_generator: bool = False
    is_class: bool = False
    serialized: bool = False
    web: Web | None = None
    web_methods: tuple[Web, ...] = ()  # of a class, which takes calls as well
    max_concurrent_inputs: int = 1
    batch_max_size: int = 0  # inputs of one call of a batched function at most; 0: not batched
    timeout_s: int = 300
    supported_output_formats: tuple[int, ...] = ()
    code_root: str = "/root"  # the user's code and working directory
    client_path: str = "/pkg"  # the deploying client's package
    deps_path: str = ""  # its dependencies, last on sys.path so that the image's own versions win
    accel_path: str = ""  # holds uvloop, for the runner's own use
    compat: bool = False  # give retired names back to the user's code
    definition: str = ""  # file with the client's Function message; needed for serialized functions
    layout: str = ""  # file with the objects of the app, as JSON: see handles.py
    params: str = ""  # file with the serialized class parameters of a bound class
    server_url: str = ""
    environment_name: str = ""
    runner: str = OWN


def series(version: str) -> tuple[int, int]:
    """The first two numbers of a client version such as "1.6.4"."""
    numbers = [int("".join(letter for letter in part if letter.isdigit()) or 0) for part in version.split(".")[:2]]
    major, minor = [*numbers, 0, 0][:2]
    return major, minor


def is_newer(version: str) -> bool:
    """Whether the own runner has never seen clients of this series."""
    return series(version) > NEWEST_KNOWN


def chosen(configured: str, version: str) -> str:
    """The runner for a client of this version: the configured one, or the client's own where ours may be wrong."""
    return STOCK if is_newer(version) else configured


def load(text: str) -> Launch:
    """The launch spec of a JSON text. Raises ValueError or TypeError when it is not one."""
    values = json.loads(text)
    if values.get("web") is not None:
        values["web"] = Web(**_known(Web, values["web"]))
    values["web_methods"] = tuple(Web(**_known(Web, web)) for web in values.get("web_methods") or ())
    values["supported_output_formats"] = tuple(values.get("supported_output_formats") or ())
    return Launch(**_known(Launch, values))


def dump(launch: Launch) -> str:
    """A launch spec as JSON text."""
    return json.dumps(dataclasses.asdict(launch), indent=1)


def launch(runner: Any, **where: Any) -> Launch:
    """A launch spec from a ``model.RunnerSpec`` and the places (``code_root=``, ``client_path=``, ...)."""
    values = dataclasses.asdict(runner)
    if values.get("web") is not None:
        values["web"] = Web(**_known(Web, {**values["web"], "kind": str(values["web"]["kind"])}))
    values["web_methods"] = tuple(
        Web(**_known(Web, {**web, "kind": str(web["kind"])})) for web in values.get("web_methods", ())
    )
    values.update(where)
    return Launch(**_known(Launch, values))


def _known(kind: Any, values: Any) -> Any:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}
