"""Assembling the service, and the guard around each call."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from multidict import MultiDict

from ionian import wire
from ionian.api.context import Context
from ionian.api.guard import Guard, caller_of
from ionian.api.modules import MODULES
from ionian.api.servicer import assemble, functions_of
from ionian.errors import NotFound
from tests.wire.stage import TOKEN, Stage


def _module(name: str, **functions: Any) -> ModuleType:
    module = ModuleType(name)
    for rpc, function in functions.items():
        function.__module__ = name
        setattr(module, rpc, function)
    return module


async def _unary(ctx: Context, request: Any) -> Any:
    return request


async def _other(ctx: Context, request: Any) -> Any:
    return request


def test_every_rpc_of_the_protocol_has_a_handler(scene: Stage) -> None:
    mapping = scene.service.__mapping__()
    assert set(mapping) == {rpc.path for rpc in wire.rpcs()}
    assert len(mapping) > 250


def test_an_rpc_defined_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="QueuePut is defined in one and in two"):
        functions_of([_module("one", QueuePut=_unary), _module("two", QueuePut=_other)])


def test_an_imported_function_is_not_a_second_definition() -> None:
    first = _module("one", QueuePut=_unary)
    second = ModuleType("two")
    second.QueuePut = _unary  # type: ignore[attr-defined]
    assert list(functions_of([first, second])) == ["QueuePut"]


def test_a_unary_function_for_a_streaming_rpc_is_refused(scene: Stage) -> None:
    with pytest.raises(ValueError, match="AppGetLogs streams"):
        assemble([_module("one", AppGetLogs=_unary)], scene.context)


def test_every_public_rpc_says_what_it_does() -> None:
    for name, function in functions_of(MODULES).items():
        assert function.__doc__, f"{name} has no docstring"


class _Stream:
    def __init__(self, **metadata: str) -> None:
        given = {wire.TOKEN_ID: TOKEN[0], wire.TOKEN_SECRET: TOKEN[1], **metadata}
        self.metadata = MultiDict(given)
        self.sent: list[Any] = []

    async def recv_message(self) -> str:
        return "request"

    async def send_message(self, message: Any) -> None:
        self.sent.append(message)


async def test_deliberate_errors_get_their_status_and_words(scene: Stage) -> None:
    async def missing(ctx: Context, request: Any) -> Any:
        raise NotFound("no such thing; make it first")

    guard = Guard(scene.context)
    with pytest.raises(GRPCError) as caught:
        await guard.unary("X", missing)(_Stream())
    assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no such thing; make it first")
    assert (guard.calls["X"], guard.errors["X"]) == (1, 1)


async def test_an_unexpected_error_is_logged_once_under_an_id(scene: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(ctx: Context, request: Any) -> Any:
        raise KeyError("secret detail")

    with caplog.at_level(logging.ERROR), pytest.raises(GRPCError) as caught:
        await Guard(scene.context).unary("X", broken)(_Stream())
    assert caught.value.status is Status.INTERNAL
    [record] = caplog.records
    assert record.exc_info is not None
    error_id = str(record.args[1]) if isinstance(record.args, tuple) else ""
    assert error_id.startswith("err-")
    assert error_id in str(caught.value.message)
    assert "secret detail" not in str(caught.value.message)


async def test_the_caller_is_in_the_context(scene: Stage) -> None:
    stream = _Stream(**{wire.CLIENT_VERSION: "1.6.4", wire.CLIENT_TYPE: "1", wire.CLIENT_HOST: "box"})

    async def echo(ctx: Context, request: Any) -> Any:
        return ctx.caller

    await Guard(scene.context).unary("X", echo)(stream)
    [caller] = stream.sent
    assert (caller.client_version, caller.client_type, caller.host, caller.token_id) == ("1.6.4", 1, "box", TOKEN[0])
    assert caller == caller_of(stream.metadata)
