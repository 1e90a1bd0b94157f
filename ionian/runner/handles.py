"""Handles of the app's own functions and classes in a container, and the client they call with.

Ids and metadata come from the layout that lies beside the launch spec; nothing connects before the first RPC.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import importlib
import json
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

TOKEN_ID = "x-modal-token-id"
TOKEN_SECRET = "x-modal-token-secret"
_CONTAINER = 3  # the client's ClientType
_SERVICE = "/modal.client.ModalClient/"


def introduce(token_id: str, secret: str) -> None:
    """Let every client of this process say which container it is in. Clients since 0.73 ignore tokens in containers."""
    module: Any = importlib.import_module("modal.client")
    original = module._get_metadata

    def metadata(client_type: int, *args: Any, **kwargs: Any) -> dict[str, str]:
        found: dict[str, str] = original(client_type, *args, **kwargs)
        if client_type == _CONTAINER:
            found.setdefault(TOKEN_ID, token_id)
            found.setdefault(TOKEN_SECRET, secret)
        return found

    module._get_metadata = metadata
    ignored = r"(Modal tokens provided|The following credential settings).* ignored inside containers"
    warnings.filterwarnings("ignore", message=ignored)


def connecting_later() -> Any:
    """A client of this process that opens its connection with the first RPC. Shared: it is ``Client.from_env()``."""
    base = importlib.import_module("modal.client")._Client

    class Later(base):  # type: ignore[misc, valid-type]
        _stub = property(lambda self: self.__dict__["_rpcs"])
        stub = _stub
        _snapshotted = False
        _closed = False

        def __getattr__(self, name: str) -> Any:
            opened = self.__dict__["_rpcs"].opened
            if opened is None or name.startswith("__"):
                raise AttributeError(f"the client has no {name!r} before its first call")
            return getattr(opened, name)

    later = base.__new__(Later)
    later.__dict__["_rpcs"] = _Rpcs(base)
    return later


class _Rpcs:
    """Stands where the client keeps its RPC methods."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.opened: Any = None

    async def methods(self) -> Any:
        if self.opened is None or getattr(self.opened, "_closed", False):
            self.opened = await self._kind.from_env()
        return self.opened._stub

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Rpc(self, name)


class _Rpc:
    """One RPC method, in all the ways that clients call one."""

    def __init__(self, rpcs: _Rpcs, name: str) -> None:
        self._rpcs = rpcs
        self._name = name
        self.name = _SERVICE + name

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return await getattr(await self._rpcs.methods(), self._name)(*args, **kwargs)

    async def unary_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for item in getattr(await self._rpcs.methods(), self._name).unary_stream(*args, **kwargs):
            yield item

    @contextlib.asynccontextmanager
    async def open(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async with getattr(await self._rpcs.methods(), self._name).open(*args, **kwargs) as stream:
            yield stream


class Layout:
    """The objects of the app that this container belongs to."""

    def __init__(self, path: str) -> None:
        content = json.loads(Path(path).read_text()) if path else {}
        self.functions: dict[str, str] = content.get("functions", {})
        self.classes: dict[str, str] = content.get("classes", {})
        self._handles: dict[str, str] = content.get("handles", {})

    def metadata(self, proto: Any) -> dict[str, Any]:
        """What the client keeps of each object, by id."""
        found = {
            object_id: proto.FunctionHandleMetadata.FromString(base64.b64decode(data))
            for object_id, data in self._handles.items()
        }
        found.update({class_id: self._class(proto, tag, found) for tag, class_id in self.classes.items()})
        return found

    def _class(self, proto: Any, tag: str, found: dict[str, Any]) -> Any:
        """A class: its service function, or the functions of its methods where clients before 0.73 ask for them."""
        kind = proto.ClassHandleMetadata
        known = kind.DESCRIPTOR.fields_by_name
        handle = kind()
        service = self.functions.get(f"{tag}.*", "")
        if service in found and "class_function_id" in known:
            handle.class_function_id = service
            handle.class_function_metadata.CopyFrom(found[service])
        if "methods" in known:
            for name, function_id in self.functions.items():
                if name.startswith(f"{tag}.") and function_id != service and function_id in found:
                    method = handle.methods.add(function_name=name[len(tag) + 1 :], function_id=function_id)
                    method.function_handle_metadata.CopyFrom(found[function_id])
        return handle


def attach(app_class: Any, app_name: str, app_id: str, environment: str, tag: str, layout: Layout, client: Any) -> None:
    """Give the app's objects their ids, as the client's entrypoint does. ``tag``: of the function that runs here."""
    app = _app(app_class, app_name, tag)
    if app is None:
        return
    running = importlib.import_module("modal.running_app").RunningApp
    known = {field.name for field in dataclasses.fields(running)}
    values = {
        "environment_name": environment,
        "tag_to_object_id": {**layout.functions, **layout.classes},
        "function_ids": layout.functions,
        "class_ids": layout.classes,
        "object_handle_metadata": layout.metadata(importlib.import_module("modal_proto.api_pb2")),
    }
    app._init_container(client, running(app_id, **{name: value for name, value in values.items() if name in known}))


def _app(app_class: Any, name: str, tag: str) -> Any:
    """The app in the user's module: of this name, else the only one that has a function ``tag``."""
    every = getattr(app_class, "_all_apps", {})
    named = every.get(name) or []
    having = [app for apps in every.values() for app in apps if _has(app, tag)]
    for found in ([app for app in named if app in having], having, named):
        if found:
            return found[-1]
    return None


def _has(app: Any, tag: str) -> bool:
    with contextlib.suppress(Exception):  # an app that was only looked up has no objects of this process
        app = getattr(app, "_local_state", app)
    for holder in ("functions", "_functions", "_indexed_objects"):
        objects = getattr(app, holder, None)
        if objects is not None and tag in objects:
            return True
    return False
