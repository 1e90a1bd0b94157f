"""What every RPC is handed. ``Services`` is what lies outside of rows (dispatch, scheduler, gateway): the server's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ionian.api.flows import Flows
from ionian.api.known import KnownTokens
from ionian.api.readers import Readers
from ionian.blobs.store import BlobStore
from ionian.config import Config
from ionian.dispatch.slot import Slot
from ionian.engines.engine import Execs
from ionian.model import FunctionSpec, InputRef, OpenInput, RunningContainer, Status
from ionian.state.database import Database
from ionian.state.lines import Lines
from ionian.state.watch import Watch


@dataclass(frozen=True, slots=True)
class Inside:
    """A container whose own token the caller has shown. It is alive."""

    container_id: str
    app_id: str
    environment: str


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from the metadata of the request."""

    token_id: str = ""
    client_version: str = ""
    client_type: int = 0
    host: str = ""  # the host name that the client dialled
    request_key: str = ""  # the same for every attempt of one request
    again: bool = True  # it may have been sent before
    inside: Inside | None = None  # the container that calls; None for everybody else
    bound_to: str = ""  # the only container that a token of the command router is for


class Services(Protocol):
    """What the API needs of the running server."""

    def submit(self, inputs: list[OpenInput]) -> None:
        """Inputs are journalled: run them. Their outputs go through ``state.calls.record_output``."""

    def queued(self, function_id: str) -> int:
        """Inputs of this function that wait for a container."""

    async def enlist(self, function_id: str) -> bool:
        """Whether inputs of this function can run now. A bound one that nobody used for long takes its place again."""

    def reserve(self, function_id: str) -> Slot | None:
        """A free slot, for an input that will be accepted and claimed in one commit; then ``start``, or release it."""

    def start(self, slot: Slot, opened: OpenInput, ref: InputRef) -> None:
        """Run an input whose claim for this slot is committed."""

    def cancel(self, call_id: str, terminate_containers: bool) -> None:
        """The open inputs of this call have ended as terminated: drop the queued ones, stop the running ones."""

    def taken(self, call_id: str, items: int) -> None:
        """The reader of this generator has so many items: it may yield more."""

    async def reload(self) -> None:
        """Live versions have changed: serve ``state.functions.live`` and nothing else."""

    def build(self) -> None:
        """There are pending images."""

    async def prepare(self, spec: FunctionSpec) -> None:
        """Check that this function can run here and make it ready. Raises InvalidRequest naming what cannot be had."""

    async def release(self, app_id: str) -> None:
        """This app has ended: undo what ``prepare`` did to the machine for it."""

    def url(self, suffix: str, label: str) -> str:
        """The address to print for a web function with this label, in the environment with this web suffix."""

    def blob_url(self, host: str, ticket: str) -> str:
        """The address of ``/_blob/<ticket>`` for a client that dialled ``host`` (empty: unknown)."""

    def token_url(self, host: str, flow_id: str) -> str:
        """The address of the page where a token request is approved, for a client that dialled ``host``."""

    def app_url(self, host: str, app_id: str) -> str:
        """The address of the page of an app (``page.answer``), for a client that dialled ``host``."""

    async def gpus(self) -> Sequence[str]:
        """The names of the GPUs that functions could run on."""

    def inside(self, token_id: str, secret: str) -> Inside | None:
        """The living container with this token; None when the secret is wrong or the container has ended."""

    @property
    def execs(self) -> Execs:
        """Commands inside running containers."""

    def router_url(self, host: str) -> str:
        """The address of the command router for a client that dialled ``host``: the same port."""

    def containers(self) -> list[RunningContainer]:
        """Containers alive now."""

    async def start_sandbox(self, sandbox_id: str, env: dict[str, str]) -> None:
        """Start the container of a sandbox that is in the rows. Raises why it did not start; the row has it too."""

    async def stop_sandbox(self, sandbox_id: str, status: Status) -> None:
        """End a sandbox at once, with this status."""

    async def type_at_terminal(self, container_id: str, number: int, data: bytes) -> None:
        """Piece ``number`` (from 1) of what is typed for an interactive container. Raises NotFound."""

    async def claim_terminal(self, container_id: str) -> bool:
        """Whether the caller is the first to type for this interactive container, which wants somebody."""

    async def stop_container(self, container_id: str, graceful: bool) -> None:
        """End a container: once it has finished its inputs, or now, and they begin anew elsewhere. Raises NotFound."""


@dataclass(frozen=True, slots=True)
class Context:
    config: Config
    database: Database
    watch: Watch
    blobs: BlobStore
    services: Services
    caller: Caller = field(default_factory=Caller)
    clock: Callable[[], float] = time.time
    elapsed: Callable[[], float] = time.monotonic  # what measures a wait, whatever the clock does meanwhile
    flows: Flows = field(default_factory=Flows)
    known: KnownTokens = field(default_factory=KnownTokens)
    readers: Readers = field(default_factory=Readers)
    lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self.lines.bind(self.database, self.clock)

    def of(self, caller: Caller) -> Context:
        """The same context for one call."""
        return replace(self, caller=caller)

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.clock()
