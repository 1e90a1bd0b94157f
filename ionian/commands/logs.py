"""``ionian logs``: what an app printed, read from the segments on disk, so it works while the server is down too."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ionian import logs
from ionian.commands import options, running
from ionian.commands.url import find_app
from ionian.config import Config
from ionian.errors import InvalidRequest, NotFound

_POLL_S = 0.1
_DEFAULT_LINES = 100


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("logs")
    parser.add_argument("app", metavar="APP", help="app name or id")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new output until Ctrl-C")
    parser.add_argument(
        "-n", "--tail", type=int, default=_DEFAULT_LINES, metavar="N", help="how many records (default 100; 0: all)"
    )
    parsed = parser.parse_args(arguments)
    if parsed.tail < 0:
        raise InvalidRequest("--tail counts records: 0 (all) or more")
    directory = _directory(options.config(home), parsed.app)
    try:
        _show(directory, parsed.tail, parsed.follow)
    except KeyboardInterrupt:
        return 0
    return 0


def _show(directory: Path, count: int, follow: bool) -> None:
    """Write the last ``count`` records (0: all), then, when following, new ones as they come."""
    until = logs.end(directory)
    cursor = logs.Cursor()
    if count:
        records, cursor = logs.tail(directory, count)
        _write(records)
    while follow or cursor < until:
        records, cursor = logs.read(directory, cursor)
        _write(records)
        if not records:
            if not follow:
                return  # only a half-written last line was left
            time.sleep(_POLL_S)


def _write(records: Iterable[logs.Record]) -> None:
    for record in records:
        if record.stream == logs.TERMINAL:
            continue
        sys.stdout.buffer.write(record.text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _directory(config: Config, app: str) -> Path:
    """Where the app's segments are. A name is looked up at the running server; an id needs none."""
    if (config.logs / app).is_dir() and app.startswith("ap-"):
        return config.logs / app
    if app.startswith("ap-") and running.find(config) is None:
        raise NotFound(f"no logs of {app} in {config.logs}")
    server = running.require(config)
    return config.logs / str(find_app(running.status(config, server), app)["app_id"])
