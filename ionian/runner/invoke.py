"""One input from its bytes to its output: arguments in, call, result or failure out. Knows no links, no threads."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from . import environment, failure, frames
from .client import GENERATOR_DONE, PICKLE, Client
from .load import Target

MAX_RESULT_BYTES = frames.MAX_PAYLOAD - 1024 * 1024  # pickled; the rest is for the frame's header
SUCCESS, FAILURE, TERMINATED = 1, 2, 3  # the client's GenericStatus values


class Call(NamedTuple):
    """One accepted input."""

    input_id: str
    call_id: str
    method: str
    data_format: int
    args: bytes

    @classmethod
    def of(cls, header: dict[str, Any], args: bytes) -> Call:
        data_format = int(header.get("data_format") or PICKLE)
        return cls(header["id"], header.get("call_id", ""), header.get("method", ""), data_format, args)


_HINT = "You might need to use @app.function(..., is_generator=True)."
_WRONG = {  # by is_async, is_generator: the client's own words
    (False, False): "Sync (non-generator) function return value of type {}. " + _HINT,
    (True, False): "Async (non-generator) function returned value of type {} " + _HINT,
    (False, True): "Generator function returned value of type {}",
    (True, True): "Async generator function returned value of type {}",
}

Output = tuple[dict[str, Any], bytes]  # an OUTPUT frame's header and payload
Emit = Callable[[int, int, bytes], None]  # index, data format, data of one generator item


class Invoker:
    """Calls the user's functions in the client's conventions."""

    def __init__(self, client: Client, targets: dict[str, Target]) -> None:
        self._client = client
        self._targets = targets

    def target(self, call: Call) -> Target:
        try:
            return self._targets[call.method]
        except KeyError:
            names = ", ".join(sorted(self._targets)) or "none"
            text = f"this container has no method {call.method!r} (it has: {names})"
            raise self._client.error("InvalidError", text) from None

    def is_async(self, call: Call) -> bool:
        """Whether this input runs on an event loop."""
        target = self._targets.get(call.method)
        return target is not None and target.is_async

    def run(self, call: Call, emit: Emit, wait: Callable[[], None]) -> Output:
        """Run a sync function or generator to its end. ``wait`` returns when another item may be sent."""
        started = time.time()
        try:
            target = self.target(call)
            value = self._start(target, call)
            if not target.is_generator:
                self._check(value, target, inspect.iscoroutine(value) or _is_stream(value))
                return self._success(call, target, value, started)
            self._check(value, target, not inspect.isgenerator(value))
            count, form = 0, self._form(call, target)
            for item in value:
                wait()
                count += 1
                emit(count, form, self._encode(item, form, target))
            return self._done(call, count, started)
        except BaseException as error:  # noqa: BLE001  the edge to user code: everything becomes an output
            return self.failed(call, error, started)

    async def run_async(self, call: Call, emit: Emit, wait: Callable[[], Any]) -> Output:
        """The same for async functions and generators. ``wait`` gives an awaitable."""
        started = time.time()
        try:
            target = self.target(call)
            value = self._start(target, call)
            if not target.is_generator:
                self._check(value, target, not inspect.isawaitable(value))
                return self._success(call, target, await value, started)
            self._check(value, target, not inspect.isasyncgen(value))
            count, form = 0, self._form(call, target)
            try:
                async for item in value:
                    await wait()
                    count += 1
                    emit(count, form, self._encode(item, form, target))
            finally:
                await value.aclose()
            return self._done(call, count, started)
        except BaseException as error:  # noqa: BLE001  the edge to user code: everything becomes an output
            return self.failed(call, error, started)

    def failed(self, call: Call, error: BaseException, started: float) -> Output:
        """The output of an input that raised ``error``; a cancellation is its own status."""
        if isinstance(error, (asyncio.CancelledError, self._client.cancellation)):
            return cancelled(call, started)
        text = failure.show(error)
        target = self._targets.get(call.method)
        form = self._form(call, target) if target is not None else call.data_format
        header, payload = failure.parts(self._client, error, text, pickled=form == PICKLE)
        return {**_ended(call, FAILURE, form, started), **header}, payload

    def _start(self, target: Target, call: Call) -> Any:
        self._client.set_ids(call.input_id, call.call_id)
        args, kwargs = self._client.arguments(call.args, call.data_format)
        return target.function(*args, **kwargs)

    def _check(self, value: Any, target: Target, wrong: bool) -> None:
        if wrong:
            text = _WRONG[target.is_async, target.is_generator].format(type(value))
            raise self._client.error("InvalidError", text)

    def _form(self, call: Call, target: Target) -> int:
        return call.data_format if call.data_format in target.formats else target.formats[0]

    def _encode(self, value: Any, form: int, target: Target) -> bytes:
        data = self._client.encode(value, form)
        if len(data) > MAX_RESULT_BYTES:
            name = getattr(target.function, "__name__", "the function")
            text = f"the result of {name} has {len(data)} bytes; the limit is {MAX_RESULT_BYTES}"
            raise self._client.error("SerializationError", text)
        return data

    def _success(self, call: Call, target: Target, value: Any, started: float) -> Output:
        form = self._form(call, target)
        data = self._encode(value, form, target)
        return {**_ended(call, SUCCESS, form, started), "parts": [len(data), 0, 0]}, data

    def _done(self, call: Call, items: int, started: float) -> Output:
        data = self._client.generator_done(items)
        return {**_ended(call, SUCCESS, GENERATOR_DONE, started), "parts": [len(data), 0, 0]}, data


def cancelled(call: Call, started: float) -> Output:
    """The output of an input that was cancelled, before or while it ran."""
    return {**_ended(call, TERMINATED, PICKLE, started), "parts": [0, 0, 0]}, b""


def _ended(call: Call, status: int, form: int, started: float) -> dict[str, Any]:
    environment.flush()
    return {
        "id": call.input_id,
        "status": status,
        "data_format": form,
        "exception": "",
        "traceback": "",
        "started_at": started,
        "created_at": time.time(),
    }


def _is_stream(value: Any) -> bool:
    return inspect.isgenerator(value) or inspect.isasyncgen(value)
