"""``ionian env``: shell export lines that point the modal client of this shell at our server."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping

from ionian.commands import options, running
from ionian.config import Config

_LOOPBACK = ("127.0.0.1", "localhost", ".localhost")


def run(arguments: list[str], home: str | None) -> int:
    options.parser("env").parse_args(arguments)
    config = options.config(home)
    for name, value in variables(config, running.require(config), os.environ).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    return 0


def variables(config: Config, server: running.Running, environ: Mapping[str, str]) -> dict[str, str]:
    """What the modal client must find in its environment. The user's own NO_PROXY entries are kept."""
    token_id, token_secret = running.token(config)
    return {
        "MODAL_SERVER_URL": f"http://{running.reachable_host(server)}:{server.port}",
        "MODAL_TOKEN_ID": token_id,
        "MODAL_TOKEN_SECRET": token_secret,
        **dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy(environ, running.reachable_host(server))),
    }


def no_proxy(environ: Mapping[str, str], host: str) -> str:
    """The user's NO_PROXY and no_proxy, in order, plus our hosts: the client dials even loopback through a proxy."""
    given = f"{environ.get('NO_PROXY', '')},{environ.get('no_proxy', '')}".split(",")
    wanted = [*(entry.strip() for entry in given), *_LOOPBACK, host]
    return ",".join(dict.fromkeys(entry for entry in wanted if entry))
