"""``ionian approve``: approve a ``modal token new`` that waits, by the code it shows, with this home's token."""

from __future__ import annotations

import json
import sys

from ionian.commands import options, running
from ionian.errors import InvalidRequest


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("approve")
    parser.add_argument("code", metavar="CODE", help="the code that `modal token new` shows")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    body = json.dumps({"code": parsed.code}).encode()
    status, answer = running.ask(config, running.require(config), "POST", "/_ionian/token", body)
    if status != 200:
        raise InvalidRequest(answer.decode(errors="replace").strip())
    sys.stdout.write("approved; `modal token new` has its token now\n")
    return 0
