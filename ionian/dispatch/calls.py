"""Inputs of calls on their way through containers: queued, claimed, running, ended.

Nothing happens before it is written: an input is sent to a container after its claim is committed, an output is
acknowledged after its row is, a retry waits for both. So a killed server loses no result, and knows what may have run.
An input leaves ``running`` exactly once, when nothing of it runs any more.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Protocol

from ionian.dispatch import policy
from ionian.dispatch.failures import ContainerLost, StartFailed
from ionian.dispatch.ledger import AGAIN_S, Journal, Ledger
from ionian.dispatch.links import ControlLink
from ionian.dispatch.pool import Later, Pool, by_loop
from ionian.dispatch.records import failure, reported
from ionian.dispatch.running import Running, send
from ionian.dispatch.slot import Slot
from ionian.dispatch.strays import Strays
from ionian.errors import IonianError, NotFound, ResourceExhausted
from ionian.model import ContainerState, InputRef, OpenInput, OutputRecord, Status
from ionian.runner import frames

MAX_ROW_BYTES = 4 * 1024 * 1024  # of a result; longer ones are blobs
CANCEL_GRACE_S = 5.0  # seconds that user code may take to end after its timeout, before its container is ended
log = logging.getLogger("ionian.dispatch")


class Blobs(Protocol):
    """Where arguments and results go that are too long for a row."""

    async def put(self, data: bytes) -> str:
        """Store; returns the SHA-256."""

    def pieces(self, sha256: str, size: int) -> AsyncIterator[bytes]:
        """The content in pieces of up to ``size`` bytes, checked before the first. Raises NotFound."""


class InputWaiter:
    """An input in a function's queue. Made anew for each attempt."""

    __slots__ = ("_calls", "input", "pool", "since", "waiting")

    def __init__(self, calls: Calls, pool: Pool, opened: OpenInput, since: float) -> None:
        self._calls = calls
        self.pool = pool
        self.input = opened
        self.since = since
        self.waiting = False

    def give(self, slot: Slot) -> bool:
        self._calls.begin(self, slot)
        return True

    def fail(self, error: IonianError) -> None:
        self._calls.waiter_failed(self, error)


class Calls:
    """All inputs this server has accepted and not yet recorded."""

    def __init__(
        self,
        clock: Callable[[], float],
        blobs: Blobs,
        journal: Journal,
        pool_of: Callable[[str], Pool],
        link_of: Callable[[str], ControlLink | None],
        kill: Callable[[str, str], None],
        crash_requeue: bool = False,
        later: Later = by_loop,
    ) -> None:
        self._clock = clock
        self._blobs = blobs
        self._pool_of = pool_of
        self._link_of = link_of
        self._kill = kill
        self._crash_requeue = crash_requeue
        self._later = later
        self.running: dict[str, Running] = {}
        self._queued: dict[str, dict[str, InputWaiter]] = {}  # by call, by input
        self._due: list[tuple[float, int, OpenInput]] = []  # waiting for their backoff: when (of the clock), order
        self._order = 0
        self._found: dict[str, list[OpenInput]] = {}  # by container: what it was given by a server before this one
        self._strays = Strays(self.submit)
        self.ledger = Ledger(journal, self.submit, self._claimed)
        self._tasks: set[asyncio.Task[None]] = set()

    def working(self) -> list[Running]:
        """Everything that holds a slot."""
        return [*self.running.values(), *self._strays.all()]

    def expects(self, container_id: str) -> bool:
        """An earlier server gave this container inputs, and it has not said yet what became of them."""
        return container_id in self._found

    # -- in

    def submit(self, inputs: Iterable[OpenInput]) -> None:
        """Queue inputs whose rows are committed. Those of a function that is gone end in a named error."""
        now = self._clock()
        served: dict[str, Pool] = {}
        for opened in inputs:
            if opened.not_before > now:
                self._postpone(opened, now)
                continue
            try:
                pool = served[opened.function_id] = self._pool_of(opened.function_id)
            except NotFound as error:
                self.ledger.end(failure(opened, Status.INTERNAL_FAILURE, str(error), now))
                continue
            waiter = InputWaiter(self, pool, opened, now)
            self._queued.setdefault(opened.call_id, {})[opened.input_id] = waiter
            pool.enqueue(waiter)
        for pool in served.values():
            pool.serve()

    def _postpone(self, opened: OpenInput, now: float) -> None:
        self._order += 1
        heapq.heappush(self._due, (opened.not_before, self._order, opened))
        self._later(opened.not_before - now, self._submit_due)

    def _submit_due(self) -> None:
        now = self._clock()
        due = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        if due:
            self.submit(due)
        elif self._due:  # the timer ran ahead of the clock
            self._later(self._due[0][0] - now, self._submit_due)

    def restore(self, inputs: Iterable[OpenInput], alive: frozenset[str]) -> None:
        """Take over what an earlier server had accepted. ``alive``: its containers that run on.

        Those say themselves what they work on, see ``found``; what a container took with it counts as lost.
        """
        waiting, latest = [], self._clock() + policy.MAX_DELAY_S  # later ones are of a clock that was set back
        for opened in inputs:
            if opened.not_before > latest:
                opened = replace(opened, not_before=latest)
            if not opened.container_id:
                waiting.append(opened)
            elif opened.container_id in alive:
                self._found.setdefault(opened.container_id, []).append(opened)
            else:
                self._lost(opened, ContainerLost(opened.container_id, None, None, False, ""), None)
        self.submit(waiting)

    def found(self, container_id: str, working: list[str], pool: Pool, slot: Callable[[], Slot]) -> None:
        """A container that runs on names its inputs; what it was given but never got goes back into the queue."""
        link = self._link_of(container_id)
        given = {opened.input_id: opened for opened in self._found.pop(container_id, [])}
        for input_id in working:
            opened = given.pop(input_id, None)
            running = Running(opened or OpenInput(input_id, "", pool.spec.function_id), slot(), pool, link)
            self._start_clock(running)
            if opened is not None:
                self.running[input_id] = running
            else:
                self._strays.add(running)
        self.submit(replace(opened, container_id="") for opened in given.values())

    # -- on the way

    def start(self, slot: Slot, pool: Pool, opened: OpenInput, ref: InputRef) -> None:
        """Run an input that was accepted and claimed in one commit, for a slot that was free at once."""
        running = Running(opened, slot, pool)
        self.running[opened.input_id] = running
        self._claimed([running], [ref])

    def begin(self, waiter: InputWaiter, slot: Slot) -> None:
        """An input has a slot: claim it for the slot's container."""
        self._unqueue(waiter)
        if self._strays.hold(slot.container_id, waiter.input):
            slot.release()
            return
        running = Running(waiter.input, slot, waiter.pool)
        self.running[waiter.input.input_id] = running
        self.ledger.claim(running)

    def _unqueue(self, waiter: InputWaiter) -> None:
        of_call = self._queued.get(waiter.input.call_id, {})
        of_call.pop(waiter.input.input_id, None)
        if not of_call:
            self._queued.pop(waiter.input.call_id, None)

    def _claimed(self, claims: list[Running], refs: Iterable[InputRef | None]) -> None:
        """The journal has the claims: send the inputs, those with one slot as one batch."""
        batches: dict[int, list[tuple[Running, InputRef]]] = {}
        for running, ref in zip(claims, refs, strict=True):
            link = self._link_of(running.slot.container_id)
            if ref is None or running.cancelled:
                self._leave(running, broken=False)
            elif link is None or running.slot.container.state is not ContainerState.READY:  # it ends, or is about to
                self._leave(running, broken=True)
                self.submit([running.input])
            else:
                running.link = link
                batches.setdefault(id(running.slot), []).append((running, ref))
        for batch in batches.values():
            if any(ref.args_blob for _, ref in batch):
                self._background(self._send_loaded(batch))
            else:
                self._send(batch)

    def _send(self, batch: list[tuple[Running, InputRef]]) -> None:
        for running, _ in batch:
            self._start_clock(running)
        send(batch)

    def _start_clock(self, running: Running) -> None:
        running.sent = True
        running.deadline = self._clock() + running.pool.spec.timeout_s

    async def _send_loaded(self, batch: list[tuple[Running, InputRef]]) -> None:
        """Send inputs whose arguments are blobs."""
        ready = []
        for running, ref in batch:
            try:
                args = await self._sent(running, ref.args_blob) if ref.args_blob else ref.args
            except IonianError as error:
                text = str(error)
                running.verdict = failure(running.input, Status.INTERNAL_FAILURE, text, self._clock())
                args = b""
            ready.append((running, replace(ref, args=args)))
        here = [(running, ref) for running, ref in ready if self.running.get(ref.input_id) is running]
        for running, _ in here:
            if running.cancelled or running.verdict is not None:  # it never began
                self._close(running, running.verdict, None)
            elif running.slot.container.state is not ContainerState.READY:  # it ends, or is about to
                self._leave(running, broken=True)
                self.submit([running.input])
        self._send([(running, ref) for running, ref in here if self.running.get(ref.input_id) is running])

    async def _sent(self, running: Running, sha256: str) -> bytes:
        """Send a blob ahead of its input, all but its last piece."""
        last, first = b"", True
        async for piece in self._blobs.pieces(sha256, frames.PIECE):
            if last and running.link is not None:
                await running.link.send_part(running.input.input_id, last, first)
                first = False
            last = piece
        return last

    # -- out

    def output(self, container_id: str, header: dict[str, Any], payload: bytes, link: ControlLink) -> None:
        """A container reports the end of an input."""
        if self._strays.output(container_id, header["id"], link):
            return
        running = self.running.get(header["id"])
        if running is None or running.slot.container_id != container_id:
            link.send(frames.ACK, {"id": header["id"]})  # its end is known, or it runs elsewhere by now
            return
        record = running.verdict or reported(container_id, running.input.call_id, header, payload)
        if len(record.data) > MAX_ROW_BYTES:
            self._background(self._output_stored(running, record, link))
        else:
            self._close(running, record, link)

    async def _output_stored(self, running: Running, record: OutputRecord, link: ControlLink) -> None:
        """A long result goes into the blob store first. It was reported: the end of its container changes nothing."""
        running.storing = True
        running.deadline = running.kill_at = float("inf")
        while True:
            try:
                sha256 = await self._blobs.put(record.data)
                break
            except ResourceExhausted as error:
                log.error("a result cannot be stored now, trying again: %s", error)
                await asyncio.sleep(AGAIN_S)
        self._close(running, replace(record, data=b"", data_blob=sha256), link)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _close(self, running: Running, record: OutputRecord | None, link: ControlLink | None) -> None:
        """Nothing of it runs any more: journal how it ended, or run it again, and free its slot."""
        if running.cancelled or record is None:
            if link is not None:
                link.send(frames.ACK, {"id": running.input.input_id})
        else:
            self._ended(running.input, running.pool, record, lost=False, link=link)
        self._leave(running, broken=False)

    def _leave(self, running: Running, broken: bool) -> None:
        self.running.pop(running.input.input_id, None)
        running.slot.release(broken)

    def _ended(
        self, opened: OpenInput, pool: Pool | None, record: OutputRecord, lost: bool, link: ControlLink | None
    ) -> None:
        """One attempt is over. Its function's policy decides whether there is another."""
        again = None
        if pool is not None:
            retries = pool.spec.retries
            again = policy.again(opened, record.status, lost, retries, self._crash_requeue, self._clock())
        if again is None:
            self.ledger.end(record, link)
        else:
            self.ledger.again(again, link)

    def _lost(self, opened: OpenInput, reason: ContainerLost, pool: Pool | None) -> None:
        """Its container ended under it."""
        if pool is None:
            try:
                pool = self._pool_of(opened.function_id)
            except NotFound:
                pool = None
        status = Status.OUT_OF_MEMORY if reason.out_of_memory else Status.FAILURE
        record = failure(opened, status, str(reason), self._clock(), reason.container_id)
        self._ended(opened, pool, record, lost=True, link=None)

    def waiter_failed(self, waiter: InputWaiter, error: IonianError) -> None:
        """No container will come for it."""
        self._unqueue(waiter)
        now = self._clock()
        if isinstance(error, StartFailed):
            self._ended(waiter.input, waiter.pool, error.record(waiter.input, now), lost=False, link=None)
        else:
            self.ledger.end(failure(waiter.input, Status.INTERNAL_FAILURE, str(error), now))

    def container_exited(self, container_id: str, reason: ContainerLost) -> None:
        """What it worked on is lost; what it was only about to get waits again."""
        for running in [r for r in self.running.values() if r.slot.container_id == container_id]:
            if running.storing or running.link is None:
                continue  # it will end by itself; or its claim is on its way, and ``_claimed`` finds no link
            self._leave(running, broken=True)
            if running.cancelled:
                continue
            if running.verdict is not None:
                self._ended(running.input, running.pool, running.verdict, lost=False, link=None)
            elif running.sent:
                self._lost(running.input, reason, running.pool)
            else:
                self.submit([running.input])
        self._strays.container_exited(container_id)
        for opened in self._found.pop(container_id, []):
            self._lost(opened, reason, None)

    def take_back(self, container_id: str) -> list[OpenInput]:
        """The inputs that a container works on, its no longer: what it still says of them is not heard."""
        taken = [r for r in self.running.values() if r.slot.container_id == container_id]
        now = [running for running in taken if running.link is not None and not running.storing]
        for running in now:
            self._leave(running, broken=True)
            if running.verdict is not None and not running.cancelled:  # its time was over
                self._ended(running.input, running.pool, running.verdict, lost=False, link=None)
        back = [running.input for running in now if not running.cancelled and running.verdict is None]
        return back + self._strays.take_back(container_id) + self._found.pop(container_id, [])

    def cancel(self, call_id: str, terminate: bool) -> None:
        """The rows of this call have ended: forget what waits, stop what runs. ``terminate`` also ends containers."""
        for waiter in self._queued.pop(call_id, {}).values():
            waiter.pool.forget(waiter)
        for container_id, given in self._found.items():
            left = [opened for opened in given if opened.call_id != call_id]
            if terminate and len(left) < len(given):
                self._kill(container_id, "its input was cancelled with terminate_containers")
            self._found[container_id] = left
        for running in [r for r in self.running.values() if r.input.call_id == call_id]:
            running.cancelled = True
            if running.link is not None:
                running.link.send(frames.CANCEL, {"id": running.input.input_id})
                if terminate:
                    self._kill(running.slot.container_id, "its input was cancelled with terminate_containers")

    def taken(self, call_id: str, items: int) -> None:
        """A generator's reader has got so many items: it may go on."""
        for running in self.running.values():
            if running.input.call_id == call_id and running.link is not None:
                running.link.send(frames.TAKEN, {"id": running.input.input_id, "items": items})

    def sweep(self, now: float) -> None:
        """Stop inputs whose timeout is over; end the containers of those that do not stop."""
        for running in [r for r in self.working() if now >= min(r.deadline, r.kill_at)]:
            assert running.link is not None  # only the clock of a sent input runs
            if now >= running.kill_at:
                running.kill_at = float("inf")
                self._kill(running.slot.container_id, "an input ran past its timeout and did not stop")
                continue
            running.deadline, running.kill_at = float("inf"), now + CANCEL_GRACE_S
            text = f"the input ran longer than its timeout of {running.pool.spec.timeout_s:.0f} s"
            running.verdict = failure(running.input, Status.TIMEOUT, text, now, running.slot.container_id)
            running.link.send(frames.CANCEL, {"id": running.input.input_id})
