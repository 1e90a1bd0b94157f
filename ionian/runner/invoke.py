"""One call from its inputs' bytes to their outputs: arguments in, call, results or failure out. Knows no links."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import batch, failure, frames
from .client import GENERATOR_DONE, PICKLE, Client
from .flow import Flow
from .job import Call, Output
from .load import Target

MAX_RESULT_BYTES = frames.MAX_PAYLOAD - 1024 * 1024  # serialized, in one frame; the rest is for the frame's header
SUCCESS, FAILURE, TERMINATED = 1, 2, 3  # the client's GenericStatus values

_HINT = "You might need to use @app.function(..., is_generator=True)."
_WRONG = {  # by is_async, is_generator: the client's own words
    (False, False): "Sync (non-generator) function return value of type {}. " + _HINT,
    (True, False): "Async (non-generator) function returned value of type {} " + _HINT,
    (False, True): "Generator function returned value of type {}",
    (True, True): "Async generator function returned value of type {}",
}


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

    def run(self, calls: Sequence[Call], flow: Callable[[], Flow]) -> list[Output]:
        """Run a sync function or generator to its end, for one input or a batch. ``flow`` makes a generator's pace."""
        started = time.time()
        try:
            target = self.target(calls[0])
            value = self._start(target, calls)
            if not target.is_generator:
                self._check(value, target, inspect.iscoroutine(value) or _is_stream(value))
                return self._results(calls, target, value, started)
            self._check(value, target, not inspect.isgenerator(value))
            with contextlib.closing(value):
                items, form, pace = 0, self._form(calls[0], target), flow()
                for item in value:
                    pace.wait()
                    items += 1
                    pace.send(items, form, self._encode(item, form, target))
            return [self._done(calls[0], items, started)]
        except BaseException as error:  # noqa: BLE001  the edge to user code: everything becomes an output
            return self.failed(calls, error, started)

    async def run_async(self, calls: Sequence[Call], flow: Callable[[], Flow]) -> list[Output]:
        """The same for async functions and generators."""
        started = time.time()
        try:
            target = self.target(calls[0])
            value = self._start(target, calls)
            if not target.is_generator:
                self._check(value, target, not inspect.isawaitable(value))
                return self._results(calls, target, await value, started)
            self._check(value, target, not inspect.isasyncgen(value))
            items, form, pace = 0, self._form(calls[0], target), flow()
            try:
                async for item in value:
                    await pace.room()
                    items += 1
                    pace.send(items, form, self._encode(item, form, target))
            finally:
                await value.aclose()
            return [self._done(calls[0], items, started)]
        except BaseException as error:  # noqa: BLE001  the edge to user code: everything becomes an output
            return self.failed(calls, error, started)

    def failed(self, calls: Sequence[Call], error: BaseException, started: float) -> list[Output]:
        """The outputs of inputs whose call raised ``error``; a cancellation is its own status."""
        if isinstance(error, (asyncio.CancelledError, self._client.cancellation)):
            return [cancelled(call, started) for call in calls]
        text = failure.show(error)
        known: dict[bool, tuple[dict[str, Any], bytes]] = {}
        outputs = []
        for call in calls:
            target = self._targets.get(call.method)
            form = self._form(call, target) if target is not None else call.data_format
            if (form == PICKLE) not in known:
                known[form == PICKLE] = failure.parts(self._client, error, text, pickled=form == PICKLE)
            header, payload = known[form == PICKLE]
            outputs.append(({**_ended(call, FAILURE, form, started), **header}, payload))
        return outputs

    def _start(self, target: Target, calls: Sequence[Call]) -> Any:
        self._client.set_ids(calls[0].input_id, calls[0].call_id)
        inputs = [self._client.arguments(call.args, call.data_format) for call in calls]
        if not target.is_batched:
            ((args, kwargs),) = inputs
            return target.function(*args, **kwargs)
        with self._mismatches():
            lists = batch.transpose(target.function, inputs)
        return target.function(**lists)

    def _check(self, value: Any, target: Target, wrong: bool) -> None:
        if wrong:
            text = _WRONG[target.is_async, target.is_generator].format(type(value))
            raise self._client.error("InvalidError", text)

    @contextlib.contextmanager
    def _mismatches(self) -> Iterator[None]:
        try:
            yield
        except batch.Mismatch as error:
            raise self._client.error("InvalidError", str(error)) from None

    def _form(self, call: Call, target: Target) -> int:
        return call.data_format if call.data_format in target.formats else target.formats[0]

    def _encode(self, value: Any, form: int, target: Target, limit: int = MAX_RESULT_BYTES) -> bytes:
        data = self._client.encode(value, form)
        if len(data) > limit:
            name = getattr(target.function, "__name__", "the function")
            text = f"the result of {name} has {len(data)} bytes; the limit is {limit}"
            raise self._client.error("SerializationError", text)
        return data

    def _results(self, calls: Sequence[Call], target: Target, value: Any, started: float) -> list[Output]:
        values = [value]
        if target.is_batched:
            with self._mismatches():
                values = batch.results(target.function, value, len(calls))
        pairs = zip(calls, values)  # noqa: B905 - equally long
        return [self._success(call, target, one, started) for call, one in pairs]

    def _success(self, call: Call, target: Target, value: Any, started: float) -> Output:
        form = self._form(call, target)
        data = self._encode(value, form, target, max(call.max_result, MAX_RESULT_BYTES))
        return {**_ended(call, SUCCESS, form, started), "parts": [len(data), 0, 0]}, data

    def _done(self, call: Call, items: int, started: float) -> Output:
        data = self._client.generator_done(items)
        return {**_ended(call, SUCCESS, GENERATOR_DONE, started), "parts": [len(data), 0, 0]}, data


def cancelled(call: Call, started: float) -> Output:
    """The output of an input that was cancelled, before or while it ran."""
    return {**_ended(call, TERMINATED, PICKLE, started), "parts": [0, 0, 0]}, b""


def _ended(call: Call, status: int, form: int, started: float) -> dict[str, Any]:
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
