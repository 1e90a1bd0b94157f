"""``ionian doctor``: what works on this machine, and a fix for what does not. Exit code 1: the main job won't work."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from ionian.commands import interpreter, options, running
from ionian.config import Config
from ionian.doctor import check, deep, examination
from ionian.errors import IonianError


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("doctor")
    parser.add_argument("--json", action="store_true", help="every check as JSON")
    parser.add_argument("--deep", action="store_true", help="also read all that is kept, and compare checksums")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    checks = examination.examine(config, interpreter.find(os.environ, Path.cwd()), _serving(config), os.environ)
    if parsed.deep:
        checks += deep.checks(config)
    healthy = check.healthy(checks)
    if parsed.json:
        answer = {"healthy": healthy, "checks": [asdict(found) for found in checks]}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.write(check.table(checks))
    return 0 if healthy else 1


def _serving(config: Config) -> examination.Serving:
    server = running.find(config)
    if server is None:
        return examination.Serving()
    try:
        answer = running.status(config, server)
    except IonianError as error:
        return examination.Serving(server.url, error=str(error))
    return examination.Serving(server.url, str(answer["version"]))
