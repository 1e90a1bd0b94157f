"""``ionian url``: the addresses of an app's web functions, one a line."""

from __future__ import annotations

import sys
from typing import Any

from ionian.commands import options, running
from ionian.errors import NotFound


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("url")
    parser.add_argument("app", metavar="APP", help="app name or id")
    parser.add_argument("function", metavar="FUNCTION", nargs="?", help="one function; all web functions when left out")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    server = running.require(config)
    app = find_app(running.status(config, server), parsed.app)
    for address in addresses(app, parsed.function):
        sys.stdout.write(address + "\n")
    return 0


def find_app(answer: dict[str, Any], wanted: str) -> dict[str, Any]:
    """The app of that name or id in a status answer, a deployed one first. Raises NotFound, naming what is there."""
    matches: list[dict[str, Any]] = [app for app in answer["apps"] if wanted in (app["app_id"], app["name"])]
    if not matches:
        names = sorted({app["name"] or app["app_id"] for app in answer["apps"]})
        raise NotFound(f"no app {wanted!r} here; there is {', '.join(names) or 'none yet'}")
    return max(enumerate(matches), key=lambda pair: (pair[1]["state"] == "deployed", pair[0]))[1]


def addresses(app: dict[str, Any], function: str | None) -> list[str]:
    """The addresses of one or all web functions. Raises NotFound when there are none."""
    functions = app["functions"]
    if function is not None:
        functions = [found for found in functions if found["name"] == function]
        if not functions:
            names = ", ".join(found["name"] for found in app["functions"])
            raise NotFound(f"app {app['name']!r} has no function {function!r}; it has {names or 'none'}")
    urls = [url for found in functions for url in found["urls"]]
    if not urls:
        raise NotFound(f"{function or app['name']!r} has no web address: only web functions have one")
    return urls
