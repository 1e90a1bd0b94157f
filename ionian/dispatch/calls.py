"""Inputs of calls on their way through containers: queued, running, recorded.

An input leaves ``running`` exactly once: by its output, its timeout, its cancellation, or the end of its container.
An output is acknowledged to the container only after its row is committed, so a killed server loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ionian.dispatch.failures import ContainerLost, StartFailed
from ionian.dispatch.links import ControlLink
from ionian.dispatch.pool import Pool, Slot
from ionian.errors import IonianError, ResourceExhausted, Unavailable
from ionian.model import InputRef, OutputRecord, Status
from ionian.runner import frames

AGAIN_S = 1.0  # seconds between tries to write while the disk is full
log = logging.getLogger("ionian.dispatch")

Journal = Callable[[list[OutputRecord]], Awaitable[None]]


@dataclass(slots=True)
class _Running:
    input: InputRef
    slot: Slot
    link: ControlLink
    deadline: float  # unix seconds
    timeout_s: float


class InputWaiter:
    """An input in a function's queue."""

    def __init__(self, calls: Calls, pool: Pool, ref: InputRef, since: float) -> None:
        self._calls = calls
        self.pool = pool
        self.ref = ref
        self.since = since
        self.cancelled = False

    def give(self, slot: Slot) -> bool:
        if self.cancelled:
            return False
        self._calls.begin(self, slot)
        return True

    def fail(self, error: IonianError) -> None:
        self._calls.waiter_failed(self, error)


class Calls:
    """All inputs this server has accepted and not yet recorded."""

    def __init__(
        self,
        clock: Callable[[], float],
        load_blob: Callable[[str], Awaitable[bytes]],
        journal: Journal,
        link_of: Callable[[str], ControlLink | None],
        kill: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._load_blob = load_blob
        self._journal = journal
        self._link_of = link_of
        self._kill = kill
        self.running: dict[str, _Running] = {}
        self.queued: dict[str, InputWaiter] = {}
        self._outputs: list[tuple[OutputRecord, ControlLink | None]] = []
        self._recorded = asyncio.Event()
        self._loading: set[asyncio.Task[None]] = set()

    def submit(self, pool: Pool, refs: list[InputRef]) -> None:
        """Queue inputs whose rows are committed."""
        now = self._clock()
        for ref in refs:
            waiter = InputWaiter(self, pool, ref, now)
            self.queued[ref.input_id] = waiter
            pool.enqueue(waiter)
        pool.serve()

    def begin(self, waiter: InputWaiter, slot: Slot) -> None:
        ref = waiter.ref
        self.queued.pop(ref.input_id, None)
        link = self._link_of(slot.container_id)
        if link is None:  # the container vanished between ready and now: its exit event will follow
            slot.release(broken=True)
            self.submit(waiter.pool, [ref])
            return
        timeout_s = waiter.pool.spec.timeout_s
        self.running[ref.input_id] = _Running(ref, slot, link, self._clock() + timeout_s, timeout_s)
        if ref.args_blob:
            task = asyncio.get_running_loop().create_task(self._send_blob(ref, link))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)
        else:
            _send(link, ref, ref.args)

    async def _send_blob(self, ref: InputRef, link: ControlLink) -> None:
        try:
            args = await self._load_blob(ref.args_blob)
        except IonianError as error:
            self._finish(ref, _failure(ref, Status.INTERNAL_FAILURE, str(error), self._clock()), broken=False)
            return
        if ref.input_id in self.running:
            _send(link, ref, args)

    def adopt(self, ref: InputRef, slot: Slot, link: ControlLink, timeout_s: float) -> None:
        """An input that a container has been working on since before this server started."""
        self.running[ref.input_id] = _Running(ref, slot, link, self._clock() + timeout_s, timeout_s)

    def output(self, container_id: str, header: dict[str, Any], payload: bytes, link: ControlLink) -> None:
        """A container reports the end of an input (perhaps again, after a restart: rows keep the first)."""
        record = reported(container_id, header, payload)
        running = self.running.pop(record.input_id, None)
        self._record(record, link)
        if running is not None:
            running.slot.release()

    def cancel(self, call_id: str, terminate: bool) -> None:
        """Cancel a call: queued inputs end now, running ones are told. ``terminate`` also ends their containers."""
        for waiter in [w for w in self.queued.values() if w.ref.call_id == call_id]:
            waiter.cancelled = True
            waiter.pool.forget(waiter)
            del self.queued[waiter.ref.input_id]
            self._record(_failure(waiter.ref, Status.TERMINATED, "cancelled before it started", self._clock()), None)
        for running in [r for r in self.running.values() if r.input.call_id == call_id]:
            running.link.send(frames.CANCEL, {"id": running.input.input_id})
            if terminate:
                self._kill(running.slot.container_id, "its input was cancelled with terminate_containers")

    def waiter_failed(self, waiter: InputWaiter, error: IonianError) -> None:
        self.queued.pop(waiter.ref.input_id, None)
        record = _failure(waiter.ref, Status.INTERNAL_FAILURE, str(error), self._clock())
        if isinstance(error, StartFailed):
            record = error.record(waiter.ref, self._clock())
        self._record(record, None)

    def reject(self, ref: InputRef, error: IonianError) -> None:
        """End an input that cannot even be queued."""
        self._record(_failure(ref, Status.INTERNAL_FAILURE, str(error), self._clock()), None)

    def container_exited(self, container_id: str, reason: ContainerLost) -> None:
        """Inputs it was working on end in a named error."""
        status = Status.OUT_OF_MEMORY if reason.out_of_memory else Status.INTERNAL_FAILURE
        for running in [r for r in self.running.values() if r.slot.container_id == container_id]:
            self._finish(running.input, _failure(running.input, status, str(reason), self._clock(), container_id))

    def take_back(self, container_id: str) -> list[InputRef]:
        """The inputs that a container works on, its no longer. Should it still end one, rows keep the first output."""
        taken = [r for r in self.running.values() if r.slot.container_id == container_id]
        for running in taken:
            del self.running[running.input.input_id]
            running.slot.release(broken=True)
        return [running.input for running in taken]

    def sweep(self, now: float) -> None:
        """End inputs whose timeout is over, with their container (user code may ignore a cancel)."""
        for running in [r for r in self.running.values() if now >= r.deadline]:
            running.link.send(frames.CANCEL, {"id": running.input.input_id})
            text = f"the input ran longer than its timeout of {running.timeout_s:.0f} s"
            self._kill(running.slot.container_id, "an input ran past its timeout")
            self._finish(running.input, _failure(running.input, Status.TIMEOUT, text, now, running.slot.container_id))

    def _finish(self, ref: InputRef, record: OutputRecord, broken: bool = True) -> None:
        running = self.running.pop(ref.input_id, None)
        if running is not None:
            self._record(record, None)
            running.slot.release(broken)

    def _record(self, record: OutputRecord, link: ControlLink | None) -> None:
        self._outputs.append((record, link))
        self._recorded.set()

    async def journal_loop(self) -> None:
        """Write outputs as they come, all that wait in one commit, then acknowledge them. Runs until cancelled."""
        while True:
            await self._recorded.wait()
            self._recorded.clear()
            try:
                await self.flush()
            except (ResourceExhausted, Unavailable) as error:
                log.error("outputs cannot be written now, trying again: %s", error)
                await asyncio.sleep(AGAIN_S)
                self._recorded.set()

    async def flush(self) -> None:
        """Commit and acknowledge every output so far. What cannot be written is kept for the next time."""
        batch, self._outputs = self._outputs, []
        try:
            if batch:
                await self._journal([record for record, _ in batch])
        except BaseException:
            self._outputs = batch + self._outputs
            raise
        for record, link in batch:
            if link is not None:
                link.send(frames.ACK, {"id": record.input_id})


def _send(link: ControlLink, ref: InputRef, args: bytes) -> None:
    header = {
        "id": ref.input_id,
        "call_id": ref.call_id,
        "method": ref.method,
        "data_format": ref.data_format,
        "attempt": ref.attempt,
    }
    link.send(frames.INPUT, header, args)


def reported(container_id: str, header: dict[str, Any], payload: bytes) -> OutputRecord:
    """What a container says of the end of an input, or of its own start: an OUTPUT or FAILED frame as a record."""
    sizes = header.get("parts") or [len(payload), 0, 0]
    data, tb, lines = (payload[sum(sizes[:i]) : sum(sizes[: i + 1])] for i in range(3))
    return OutputRecord(
        input_id=header["id"],
        call_id=header.get("call_id", ""),
        status=int(header["status"]),
        data_format=int(header.get("data_format", 1)),
        data=data,
        exception=header.get("exception", ""),
        traceback=header.get("traceback", ""),
        serialized_tb=tb,
        tb_line_cache=lines,
        container_id=container_id,
        started_at=float(header.get("started_at", 0.0)),
        created_at=float(header.get("created_at", 0.0)),
    )


def _failure(ref: InputRef, status: Status, text: str, now: float, container_id: str = "") -> OutputRecord:
    return OutputRecord(
        input_id=ref.input_id,
        call_id=ref.call_id,
        status=int(status),
        data_format=ref.data_format,
        exception=text,
        container_id=container_id,
        started_at=now,
        created_at=now,
    )
