"""One frozen configuration. Sources, later wins: defaults, ``HOME/config.toml``, environment ``IONIAN_*``, flags.

Every field has a doc line in ``DOCS`` and its unit in its name; ``docs/CONFIG.md`` is generated from both.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any

from ionian.errors import FailedPrecondition, InvalidRequest
from ionian.runner.spec import RUNNERS

DOCS = {
    "home": "Where everything Ionian keeps lives: database, blobs, layers, logs, sockets.",
    "host": "Address to listen on.",
    "port": "Port for gRPC and HTTP; 0 picks a free one.",
    "workspace": "First part of every web label, and the workspace name the client shows.",
    "runtime": "Isolation: auto (the strongest that a real probe passes), namespaces, or process.",
    "runner": "What runs functions in containers: own, or stock (the client's own entrypoint; slower). Read at deploy.",
    "require_isolation": "Refuse to start when the level in force is not this one (empty: any).",
    "max_containers": "Most containers on this machine at once; 0 is eight for each CPU core.",
    "drain_s": "How long a stop waits for requests and inputs in flight.",
    "max_body_bytes": "Largest HTTP request body.",
    "max_header_bytes": "Largest HTTP request head.",
    "header_timeout_s": "How long a client may take to send a request head.",
    "keep_alive_s": "How long an idle client connection stays open.",
    "queue_wait_s": "How long an HTTP request waits for a free container before 503.",
    "max_queued": "HTTP requests that may wait per function before 429.",
    "max_queued_inputs": "Inputs of calls that may wait per function before RESOURCE_EXHAUSTED; maps then wait.",
    "log_segment_bytes": "Size at which a log segment is closed and the next one begins.",
    "log_retention_s": "How long the logs of an app are kept after it stopped, and of a build after it ended.",
    "result_retention_s": "How long results of calls are kept.",
    "schedule_catch_up_s": "How late a scheduled run may still begin: of all missed ones, the last; 0 is a minute.",
    "schedule_overlap": "What a due run does while the one before goes on: skip it, or allow both.",
    "schedule_history": "Runs of a scheduled function that are kept in its history.",
    "schedule_failure_command": "Shell command for each failed scheduled run: IONIAN_SCHEDULE_*, and JSON on stdin.",
    "schedule_failure_webhook": "Address that gets a POST of that JSON for each failed scheduled run.",
    "crash_requeue": "Run an input again whose container was lost, with backoff, whatever its retries say (yes or no).",
    "dict_entry_ttl_s": "How long an entry of a dict is kept that is neither read nor written.",
    "dict_value_bytes": "Largest value in a dict.",
    "dict_update_entries": "Most entries in one update of a dict.",
    "queue_ttl_s": "How long a queue partition is kept after its last put; a longer partition_ttl= counts as this.",
    "queue_partitions": "Most partitions of a queue.",
    "queue_partition_items": "Most items in a queue partition.",
    "queue_partition_bytes": "Most bytes in a queue partition.",
    "queue_item_bytes": "Largest item in a queue.",
    "synchronous": "SQLite synchronous level: NORMAL survives kill -9, FULL survives power loss.",
}


_MAY_BE_ZERO = frozenset({"port", "max_containers", "drain_s", "schedule_catch_up_s"})  # all other numbers are more
_HIGHEST_PORT = 65535
_WORKSPACE_LIMIT = 40  # characters: a DNS label has 63, for the workspace, the app and the function

_ELSEWHERE = "Choose where everything lives: --home DIR, or IONIAN_HOME=DIR"


@dataclass(frozen=True, slots=True)
class Config:
    home: Path
    host: str = "127.0.0.1"
    port: int = 9900
    workspace: str = "local"
    runtime: str = "auto"
    runner: str = "own"
    require_isolation: str = ""
    max_containers: int = 0
    drain_s: float = 10.0
    max_body_bytes: int = 4 * 1024**3
    max_header_bytes: int = 64 * 1024
    header_timeout_s: float = 30.0
    keep_alive_s: float = 75.0
    queue_wait_s: float = 300.0
    max_queued: int = 10_000
    max_queued_inputs: int = 1_000_000
    log_segment_bytes: int = 16 * 1024**2
    log_retention_s: int = 7 * 24 * 3600
    result_retention_s: int = 7 * 24 * 3600
    schedule_catch_up_s: float = 24 * 3600.0
    schedule_overlap: str = "skip"
    schedule_history: int = 1000
    schedule_failure_command: str = ""
    schedule_failure_webhook: str = ""
    crash_requeue: str = "no"
    dict_entry_ttl_s: int = 7 * 24 * 3600
    dict_value_bytes: int = 100 * 1024**2
    dict_update_entries: int = 10_000
    queue_ttl_s: int = 24 * 3600
    queue_partitions: int = 100_000
    queue_partition_items: int = 5_000
    queue_partition_bytes: int = 64 * 1024**2
    queue_item_bytes: int = 1024**2
    synchronous: str = "NORMAL"

    @property
    def database(self) -> Path:
        return self.home / "ionian.db"

    @property
    def token_file(self) -> Path:
        return self.home / "token.json"

    @property
    def container_key_file(self) -> Path:
        return self.home / "container.key"

    @property
    def secret_key_file(self) -> Path:
        """The keys that seal secrets; see ``vault``."""
        return self.home / "secrets.key"

    @property
    def blobs(self) -> Path:
        return self.home / "blobs"

    @property
    def layers(self) -> Path:
        return self.home / "layers"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def uv_cache(self) -> Path:
        return self.home / "uv-cache"

    @property
    def run(self) -> Path:
        """Sockets and pid files. A unix socket path holds 107 bytes: a long home gets a stand-in under /tmp."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= 60:
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path("/tmp") / f"ionian-{os.getuid()}-{digest}"

    @property
    def worker_socket(self) -> Path:
        return self.run / "worker.sock"


def _place(path: str | Path) -> Path:
    """One name for one directory, whichever way it was given: locks, sockets and control groups are found by it."""
    return Path(os.path.realpath(Path(path).expanduser()))


def default_home(environ: Mapping[str, str]) -> Path:
    """``IONIAN_HOME``, else ``~/.ionian`` (``/var/lib/ionian`` when there is no home directory)."""
    if environ.get("IONIAN_HOME"):
        return _place(environ["IONIAN_HOME"])
    try:
        return _place("~/.ionian")
    except RuntimeError:
        return Path("/var/lib/ionian")


def make_home(config: Config) -> None:
    """Make the home and what a start needs in it, for this user alone. Raises InvalidRequest when it cannot be."""
    for path in (config.home, config.run, config.logs):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"cannot make the directory {path}: {error.strerror}. {_ELSEWHERE}") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise InvalidRequest(f"user {os.geteuid()} may not write to {path}. {_ELSEWHERE}")


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """The configuration in force. ``flags`` holds only what the user gave; unknown keys in the file are an error."""
    home = _place(flags["home"]) if flags.get("home") else default_home(environ)
    config = Config(home=home)
    known = {f.name: f.type for f in fields(Config)}
    file = home / "config.toml"
    values: dict[str, Any] = {}
    try:
        values.update(tomllib.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InvalidRequest(f"cannot read {file}: {error.strerror}. {_ELSEWHERE}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} is not valid TOML: {error}") from error
    for name in known:
        if f"IONIAN_{name.upper()}" in environ and name != "home":
            values[name] = environ[f"IONIAN_{name.upper()}"]
    if "home" in values:
        raise InvalidRequest(f"the setting home stands in {file}, which is found by it: use --home DIR or IONIAN_HOME")
    values.update({k: v for k, v in flags.items() if v is not None and k != "home"})
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidRequest(f"unknown setting {', '.join(unknown)} in {file}; see docs/CONFIG.md for the known ones")
    config = replace(config, **{name: _convert(name, getattr(config, name), raw) for name, raw in values.items()})
    _check(config)
    return config


def _check(config: Config) -> None:
    """Raises InvalidRequest naming a setting that would start a server which cannot work."""
    for name in (field.name for field in fields(Config)):
        value = getattr(config, name)
        if isinstance(value, int | float):
            zero = name in _MAY_BE_ZERO
            if not 0 <= value < inf or (value == 0 and not zero):
                raise InvalidRequest(f"setting {name}={value} is not a number {'from 0 up' if zero else 'above 0'}")
    if config.port > _HIGHEST_PORT:
        raise InvalidRequest(f"setting port={config.port} is not a port: 0 (a free one) to {_HIGHEST_PORT}")
    if len(config.workspace) > _WORKSPACE_LIMIT:
        raise InvalidRequest(f"setting workspace has {len(config.workspace)} characters, over {_WORKSPACE_LIMIT}")
    if config.crash_requeue not in ("yes", "no"):
        raise InvalidRequest(f"setting crash_requeue={config.crash_requeue!r} is neither yes nor no")
    if config.schedule_overlap not in ("skip", "allow"):
        raise InvalidRequest(f"setting schedule_overlap={config.schedule_overlap!r} is neither skip nor allow")
    if config.schedule_failure_webhook and not config.schedule_failure_webhook.startswith(("http://", "https://")):
        raise InvalidRequest(f"setting schedule_failure_webhook={config.schedule_failure_webhook!r} is no http address")
    if config.runner not in RUNNERS:
        raise InvalidRequest(f"setting runner={config.runner!r} is none of {', '.join(RUNNERS)}")


def read_token(config: Config) -> tuple[str, str] | None:
    """Id and secret of the home's own token; None without a file. Raises FailedPrecondition for a damaged one."""
    try:
        found = json.loads(config.token_file.read_text())
        token = found["token_id"], found["token_secret"]
        if not all(isinstance(part, str) and part for part in token):
            raise ValueError("its id or secret is empty or no text")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FailedPrecondition(
            f"{config.token_file} is damaged ({type(error).__name__}: {error}): restore it, "
            "or remove it, and the next start makes a new token"
        ) from error
    return token


_TYPES = {int: "a whole number", float: "a number", str: "a text"}


def _convert(name: str, default: object, raw: Any) -> Any:
    """``raw`` as the type of the field's default."""
    try:
        if isinstance(raw, bool):
            raise TypeError
        if isinstance(default, int):
            return int(raw)
        if isinstance(default, float):
            return float(raw)
        return str(raw)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"setting {name}={raw!r} is not {_TYPES[type(default)]}") from error
