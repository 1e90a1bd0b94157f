"""``ionian prune``: remove what no live app and no recent build needs from the disk. The server must be stopped."""

from __future__ import annotations

import sys

from ionian.commands import options, running
from ionian.errors import FailedPrecondition

DAYS = 7.0
_MIB = 1024 * 1024


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("prune")
    parser.add_argument("--days", type=float, default=DAYS, help="keep images built in the last DAYS days (default 7)")
    parser.add_argument("--cache", action="store_true", help="remove downloads too: the next build fetches anew")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    if running.find(config) is not None:
        raise FailedPrecondition(f"a server runs on {config.home}: stop it first, with `ionian down`")
    from ionian import server  # it is heavy, and not needed to refuse

    count, size = server.prune(config, parsed.days * 24 * 3600, cache=parsed.cache)
    sys.stdout.write(f"removed {count} layers, mounts and caches: {size / _MIB:.0f} MiB\n")
    return 0
