"""Frozen values that every layer speaks: identifiers, settings, specs, snapshots, actions.

Nothing here touches protobuf, disk, clock or network. Units are in the names.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
import string
from dataclasses import dataclass, field, replace

_ALPHABET = string.ascii_letters + string.digits
_LETTERS = bytes(ord(_ALPHABET[byte % 62]) for byte in range(256))
_UNEVEN = bytes(range(248, 256))  # left out, or some letters would be likelier: 248 is four times 62


def new_id(prefix: str) -> str:
    """A fresh identifier such as ``ap-`` + 22 random letters and digits (131 bits), the form the client expects."""
    letters = secrets.token_bytes(40).translate(_LETTERS, _UNEVEN)  # a tenth of the time of 22 choices
    return f"{prefix}-{letters[:22].decode()}" if len(letters) >= 22 else new_id(prefix)


_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase  # in the order in which text is sorted


def new_id_at(prefix: str, now: float) -> str:
    """A fresh identifier that sorts by ``now`` (unix seconds): rows made together lie together in every index.

    Nine characters of time in microseconds, thirteen random ones (77 bits).
    """
    number, time = round(now * 1_000_000), ""
    for _ in range(9):
        number, digit = divmod(number, 62)
        time = _DIGITS[digit] + time
    return f"{prefix}-{time}{new_id('')[1:14]}"


class ContainerKind(enum.StrEnum):
    FUNCTION = "function"
    BUILD = "build"
    SANDBOX = "sandbox"


class ContainerState(enum.StrEnum):
    """A container's life. Only READY takes inputs; DRAINING finishes what it has."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    EXITED = "exited"


class Isolation(enum.StrEnum):
    """How far a container is separated from the machine and from others. Said in ``up``, ``status``, build logs."""

    NAMESPACES = "namespaces"  # own root file system, mounts, processes, ipc, host name; cgroup limits where writable
    PROCESS = "process"  # an ordinary process: trusted code only


class Status(enum.IntEnum):
    """How an input ended, with the client's GenericStatus numbers."""

    SUCCESS = 1
    FAILURE = 2
    TERMINATED = 3
    TIMEOUT = 4
    INIT_FAILURE = 5
    INTERNAL_FAILURE = 6
    OUT_OF_MEMORY = 10


class WebKind(enum.StrEnum):
    """What a web function is inside its container (the client's WebhookType)."""

    FUNCTION = "function"  # fastapi_endpoint / web_endpoint: FastAPI wraps one function
    ASGI = "asgi"
    WSGI = "wsgi"


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for. ``None`` means no limit."""

    cpu_millicores: int = 125
    memory_mib: int = 128
    cpu_limit_millicores: int | None = None
    memory_limit_mib: int | None = None


@dataclass(frozen=True, slots=True)
class Scaling:
    """A function's container settings, after defaults. ``max_containers`` None means no limit of its own."""

    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    scaledown_window_s: int = 60
    max_concurrent_inputs: int = 1
    target_concurrent_inputs: int | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed input is tried again, and after how long (the client's ``Retries``)."""

    max_retries: int = 0
    backoff: float = 1.0  # each delay is this many times the one before
    initial_delay_s: float = 1.0
    max_delay_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Batching:
    """Dynamic batching: a call of the function gets up to ``max_size`` inputs, and waits ``linger_s`` for them."""

    max_size: int
    linger_s: float


@dataclass(frozen=True, slots=True)
class Interactive:
    """The terminal of a function of ``modal run -i``: its size in characters, and variables that describe it."""

    rows: int = 24
    columns: int = 80
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WebSettings:
    kind: WebKind
    method: str = "GET"
    docs: bool = False
    label: str = ""  # the DNS label this function answers at, without workspace
    class_method: str = field(default="", repr=False)  # of a class: the method that answers


@dataclass(frozen=True, slots=True)
class MountRef:
    """One client mount: files by content. ``digest`` identifies the whole listing."""

    mount_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class MountFile:
    path: str  # absolute path in the container
    sha256: str
    mode: int  # permission bits; 0 means 0o644
    size: int = 0


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """What our runner needs to load and serve one function. Sent as JSON, see ``runner/spec.py``."""

    function_id: str
    app_id: str
    app_name: str
    function_name: str  # qualified name inside the module, "Cls.*" for a class
    module_name: str
    client_version: str
    is_generator: bool = False
    is_class: bool = False
    serialized: bool = False  # definition carried as function.pickle in the spec directory
    web: WebSettings | None = None
    max_concurrent_inputs: int = 1
    batch_max_size: int = 0  # inputs of one call of a batched function at most; 0: not batched
    timeout_s: int = 300
    supported_output_formats: tuple[int, ...] = ()
    runner: str = "own"  # see ``runner/spec.py``
    web_methods: tuple[WebSettings, ...] = field(default=(), repr=False)  # of a class, beside the methods for calls


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function of a live app version, as dispatch and scheduler know it. Built from rows, replaced on deploy."""

    function_id: str
    app_id: str
    app_name: str
    environment: str
    name: str
    version: int  # the deployment it belongs to; 0 for an ephemeral app
    image_id: str
    layers: tuple[str, ...]  # layer digests, bottom first
    mounts: tuple[MountRef, ...]
    secret_ids: tuple[str, ...]
    runner: RunnerSpec
    resources: Resources = Resources()
    scaling: Scaling = Scaling()
    timeout_s: int = 300
    startup_timeout_s: int = 300
    python_version: str = ""  # series, "3.11"
    image_env: tuple[tuple[str, str], ...] = ()
    image_workdir: str = ""
    definition: bytes = field(default=b"", repr=False)  # the client's Function message, opaque here
    block_network: bool = False
    retries: Retries = Retries()
    batching: Batching | None = None
    web_suffix: str = ""  # of its environment, in web addresses
    max_inputs: int = 0  # a container takes so many inputs in its life; 0: no limit
    interactive: Interactive | None = None
    params: bytes = field(default=b"", repr=False)  # constructor arguments of a bound class, as the client wrote them
    base_id: str = field(default="", repr=False)  # of a bound function: the one that it binds


def spec_key(spec: FunctionSpec) -> str:
    """Identifies what a container of this function runs. Equal keys: a redeploy changed nothing, keep it warm."""
    unversioned = replace(spec, version=0, web_suffix="", scaling=Scaling())
    web = "".join(f"{method.class_method} {method}" for method in spec.runner.web_methods)
    return hashlib.sha256(repr(unversioned).encode() + spec.definition + spec.params + web.encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything a worker needs to start one container. JSON-able; no paths of the server's making."""

    container_id: str
    kind: ContainerKind
    app_id: str
    function: FunctionSpec
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # includes secrets: never logged
    layout: str = field(default="", repr=False)  # the objects of its app, as JSON: see ``runner/handles.py``
    command: tuple[str, ...] = ()  # of a sandbox: it runs this, and no runner


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """What a worker says is alive, for adoption after a server restart."""

    container_id: str
    function_id: str
    app_id: str
    socket: str  # path of its unix socket
    started_at: float  # unix seconds
    spec_key: str  # ``spec_key`` of the function it runs


@dataclass(frozen=True, slots=True)
class ExecSpec:
    """A command to run inside a running container, beside its program."""

    container_id: str
    exec_id: str  # the same id again is the same command
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # over the container's own
    cwd: str = ""  # absolute; empty: the container's
    terminal: tuple[int, int] | None = None  # rows and columns; None: pipes
    stdout: bool = True  # False: nobody will read it
    stderr: bool = True
    timeout_s: float | None = None  # killed then


@dataclass(frozen=True, slots=True)
class ExecChunk:
    """A piece of a command's output. ``last``: nothing comes after it."""

    data: bytes = field(repr=False)
    last: bool


@dataclass(frozen=True, slots=True)
class ExecEnd:
    """How a command ended. ``code`` is 128 + ``signal`` after a signal."""

    code: int
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class ExecStdin:
    """How far the input of a command is. ``turn`` is for who writes next: whoever wrote before is told to stop."""

    written: int  # bytes
    closed: bool
    turn: int


@dataclass(frozen=True, slots=True)
class ContainerView:
    """A container in a snapshot."""

    container_id: str
    function_id: str
    state: ContainerState
    in_flight: int
    started_at: float  # unix seconds; of one that was found: when that was
    idle_since: float | None  # unix seconds; None while it works or starts
    stale: bool = False  # runs a superseded version: drain it
    found: bool = False  # an earlier server started it: until it is ready, nobody knows what it works on


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function in a snapshot: settings and present demand."""

    function_id: str
    scaling: Scaling
    queued: int
    oldest_wait_s: float = 0.0  # how long the first of the queue has waited
    queued_for_s: float = 0.0  # how long the queue has not been empty
    batch_size: int = 1  # inputs that one slot takes at once
    retired: bool = False  # stopped: drain its containers, start none
    blocked_until: float = 0.0  # start failures back off until then, unix seconds
    startup_timeout_s: int = 300


@dataclass(frozen=True, slots=True)
class Snapshot:
    functions: tuple[FunctionView, ...]
    containers: tuple[ContainerView, ...]


@dataclass(frozen=True, slots=True)
class StartContainer:
    function_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopContainer:
    container_id: str
    reason: str
    kill: bool = False  # at once, instead of drain


Action = StartContainer | StopContainer


@dataclass(frozen=True, slots=True)
class OpenInput:
    """An accepted input without an output: what a queue needs of it. Its arguments stay in its row until it runs."""

    input_id: str
    call_id: str
    function_id: str
    attempt: int = 0  # retries so far, under the function's policy
    crashes: int = 0  # times it began anew because its container was lost, under ``crash_requeue``
    not_before: float = 0.0  # unix seconds
    container_id: str = ""  # where it was sent, or was about to be


@dataclass(frozen=True, slots=True)
class InputRef:
    """An input on its way into a container. The arguments are inline or a blob, never both."""

    input_id: str
    call_id: str
    method: str  # method name for classes, else ""
    data_format: int  # the client's DataFormat
    args: bytes = field(default=b"", repr=False)
    args_blob: str = ""  # SHA-256
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class JournalEntries:
    """What dispatch has decided since the last commit. It acts on it when it is written, not before."""

    ends: tuple[OutputRecord, ...] = ()
    again: tuple[OpenInput, ...] = ()  # to be run once more
    claims: tuple[tuple[str, str], ...] = ()  # input id, container id: about to be sent


@dataclass(frozen=True, slots=True)
class Journalled:
    """What the rows say of the entries, in their order. What was cancelled meanwhile is not run."""

    again: tuple[bool, ...] = ()  # still open
    claimed: tuple[InputRef | None, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """How one input ended. ``status`` is the client's GenericStatus; ``parts`` only for failures."""

    input_id: str
    call_id: str
    status: int
    data_format: int
    data: bytes = field(default=b"", repr=False)
    data_blob: str = ""  # SHA-256, instead of long data
    exception: str = ""
    traceback: str = ""
    serialized_tb: bytes = field(default=b"", repr=False)
    tb_line_cache: bytes = field(default=b"", repr=False)
    container_id: str = ""
    started_at: float = 0.0  # unix seconds
    created_at: float = 0.0
