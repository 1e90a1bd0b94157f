"""``ionian secret rotate-key``: another key for this home's secrets. Every other ``secret`` is the modal client's."""

from __future__ import annotations

import json
import sys

from ionian.commands import client, options, running
from ionian.config import Config
from ionian.errors import FailedPrecondition


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("secret")
    if arguments[:1] in (["-h"], ["--help"]):
        parser.add_argument("verb", metavar="rotate-key | create | list | delete", help="each of them has a --help")
        parser.parse_args(arguments)
    if arguments[:1] != ["rotate-key"]:
        return client.run(["secret", *arguments], home)
    parser.prog = "ionian secret rotate-key"
    parser.description = "Seal every secret of this home with a new key; the old one is forgotten."
    parser.add_argument(
        "--lost",
        action="store_true",
        help="the key file is gone or damaged, and there is no copy: begin with a new one; secrets must be made again",
    )
    parsed = parser.parse_args(arguments[1:])
    config = options.config(home)
    sealed, unreadable = _rotate(config, parsed.lost)
    if not parsed.lost:
        sys.stdout.write(f"{sealed} secrets have a new key, in {config.secret_key_file}\n")
    for name in unreadable:
        sys.stdout.write(f"cannot be read, and must be created again: {name}\n")
    return 0


def _rotate(config: Config, lost: bool) -> tuple[int, list[str]]:
    server = running.find(config)
    if server is None:
        from ionian import server as servers  # it is heavy, and a running one does it itself

        if not config.database.exists():
            raise FailedPrecondition(f"{config.home} has no secrets: nothing was ever started there")
        return servers.rotate_key(config, lost)
    path = "/_ionian/secret-key" + ("/lost" if lost else "")
    status, body = running.ask(config, server, "POST", path)
    if status != 200:
        raise FailedPrecondition(_detail(body))
    found = json.loads(body)
    return int(found["sealed"]), list(found["unreadable"])


def _detail(body: bytes) -> str:
    """What the server says of an error, in words."""
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text
