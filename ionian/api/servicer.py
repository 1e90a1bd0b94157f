"""Assembles the services: for every RPC of a protocol the function of that name, or an UNIMPLEMENTED that names it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from grpclib.const import Cardinality, Handler

from ionian import wire
from ionian.api.access import RouterGuard
from ionian.api.context import Context
from ionian.api.guard import Guard
from ionian.errors import Unimplemented

# What the first RPC that is missing would have been for, in the words of who typed it. The first prefix that fits.
_WANTED_FOR = {
    "Sandbox": "sandboxes need it",
    "TaskContainer": "sidecars of sandboxes need it",
    "TaskMount": "images mounted into sandboxes need it",
    "TaskUnmount": "images mounted into sandboxes need it",
    "TaskReloadVolumes": "volumes need it",
    "TaskSet": "network rules of sandboxes need it",
    "TaskSnapshot": "snapshots of sandboxes need it",
    "ContainerExec": "commands in containers need it",
    "EnvironmentGet": "roles and budgets of environments need it",
    "EnvironmentSet": "roles and budgets of environments need it",
    "EnvironmentRole": "roles of environments need it",
    "ServiceUser": "service users need it; `modal token new` makes another token",
    "WebhookToken": "proxy tokens need it",
    "Volume": "volumes need it",
    "SharedVolume": "network file systems need it",
    "Proxy": "proxies need it",
    "Workspace": "a server here has one workspace and no members, billing or settings",
}


class Servicer:
    """What a ``grpclib.server.Server`` takes: ``__mapping__`` gives its handlers by path."""

    def __init__(self, mapping: dict[str, Handler], guard: Guard) -> None:
        self._mapping = mapping
        self.guard = guard

    def __mapping__(self) -> dict[str, Handler]:
        return self._mapping


def functions_of(
    modules: Sequence[ModuleType], rpcs: Callable[[], list[wire.Rpc]] = wire.rpcs
) -> dict[str, Callable[..., Any]]:
    """The RPC functions that these modules define, by name. Raises ValueError for a name that two of them define."""
    names = {rpc.name for rpc in rpcs()}
    found: dict[str, Callable[..., Any]] = {}
    for module in modules:
        for name, value in vars(module).items():
            if name not in names or getattr(value, "__module__", None) != module.__name__:
                continue
            if name in found:
                raise ValueError(f"RPC {name} is defined in {found[name].__module__} and in {module.__name__}")
            found[name] = value
    return found


def assemble(modules: Sequence[ModuleType], context: Context) -> Servicer:
    """The service of these modules. Raises ValueError when a function does not fit its RPC."""
    found, guard = functions_of(modules), Guard(context)
    mapping: dict[str, Handler] = {}
    for rpc in wire.rpcs():
        function = found.get(rpc.name) or _missing(rpc)
        if inspect.isasyncgenfunction(function) != rpc.streams:
            raise ValueError(f"RPC {rpc.name} {'streams: make it an async generator' if rpc.streams else 'is unary'}")
        wrap = guard.streaming if rpc.streams else guard.unary
        cardinality = Cardinality.UNARY_STREAM if rpc.streams else Cardinality.UNARY_UNARY
        mapping[rpc.path] = Handler(wrap(rpc.name, function), cardinality, rpc.request, rpc.response)
    return Servicer(mapping, guard)


def wanted_for(name: str) -> str:
    """What needs an RPC that is not built, in the user's words; empty where nothing is known to."""
    return next((what for prefix, what in _WANTED_FOR.items() if name.startswith(prefix)), "")


def assemble_router(modules: Sequence[ModuleType], context: Context) -> Servicer:
    """The command router of these modules: the second service on the port, with tokens of its own."""
    found, guard = functions_of(modules, wire.router_rpcs), RouterGuard(context)
    mapping: dict[str, Handler] = {}
    for rpc in wire.router_rpcs():
        function = found.get(rpc.name) or _missing(rpc)
        if inspect.isasyncgenfunction(function) != rpc.streams:
            raise ValueError(f"RPC {rpc.name} {'streams: make it an async generator' if rpc.streams else 'is unary'}")
        if rpc.takes_stream:
            handle, cardinality = guard.collecting(rpc.name, function), Cardinality.STREAM_UNARY
        elif rpc.streams:
            handle, cardinality = guard.streaming(rpc.name, function), Cardinality.UNARY_STREAM
        else:
            handle, cardinality = guard.unary(rpc.name, function), Cardinality.UNARY_UNARY
        mapping[rpc.path] = Handler(handle, cardinality, rpc.request, rpc.response)
    return Servicer(mapping, guard)


def _missing(rpc: wire.Rpc) -> Callable[..., Any]:
    def refuse() -> NoReturn:
        wanted = wanted_for(rpc.name)
        raise Unimplemented(f"RPC {rpc.name} is not built in this server yet{wanted and f': {wanted}'}")

    async def unary(ctx: Context, request: Any) -> Any:
        refuse()

    async def stream(ctx: Context, request: Any) -> Any:
        refuse()
        yield

    return stream if rpc.streams else unary
