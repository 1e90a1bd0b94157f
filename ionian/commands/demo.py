"""``ionian demo``: the main job from nothing to a prediction over HTTP. Exit code 0 only when the answers were right.

Every step is the real thing: our server, the real client, the example's own files. What this command started, it stops.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ionian.commands import client, down, options, running, up, url
from ionian.commands.steps import Steps
from ionian.config import Config
from ionian.errors import IonianError, NotFound, Unavailable
from ionian.images.uvtool import uv_tool

APP = "iris-classifier"
FUNCTION = "predict"
_FILES = ("app_modal.py", "app.py", "train.py", "sample_data.json", "test_modal.sh")
_REQUEST_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of the demo. ``owned``: the server was started by it, so it is stopped by it."""

    config: Config
    console: Console
    directory: Path  # a working copy of the example
    owned: bool


def run(arguments: list[str], home: str | None) -> int:
    parser = options.parser("demo")
    parser.add_argument("--once", action="store_true", help="stop after the prediction and leave nothing running")
    parsed = parser.parse_args(arguments)
    config = options.config(home)
    demo = Demo(config, Console(), config.home / "demo" / "iris", owned=running.find(config) is None)
    with _stopped_by_signals():
        try:
            try:
                base = _show(demo, parsed.once)
                if parsed.once:
                    return 0
                _stay(demo, base)
            finally:
                if demo.owned:
                    _stop_server(config)
        except KeyboardInterrupt:
            demo.console.print("\nstopped")
            return 130 if parsed.once else 0
    return 0


def _show(demo: Demo, once: bool) -> str:
    """All steps; returns the function's address. Raises IonianError with the reason when one fails."""
    began = time.perf_counter()
    with Steps(demo.console, 5) as steps:
        server = _server(demo, steps)
        deployed_before = _is_deployed(demo.config, server)
        try:
            _model(demo, steps)
            _deploy(demo, steps)
            address = _predict(demo, steps, server)
        finally:
            if once and not deployed_before:
                _stop_app(demo)
    demo.console.print(f"right, {time.perf_counter() - began:.2f} s in all", highlight=False)
    return address


def _server(demo: Demo, steps: Steps) -> running.Running:
    steps.begin("server")
    found = running.find(demo.config)
    server = found or up.start(demo.config, port=_port(demo.config))
    steps.done(f"{'already at' if found else 'up at'} {server.url}, isolation: {server.isolation}")
    if server.isolation != "namespaces":
        for line in running.isolation_lines(server.isolation, server.details):
            demo.console.print(line, highlight=False, markup=False, soft_wrap=True)
    return server


def _port(config: Config) -> int:
    """The configured port, or 0 (any free one) when another program has it: a demo need not be at a known address."""
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError:
            return 0
    return config.port


def _model(demo: Demo, steps: Steps) -> None:
    """A working copy of the example, and its model, trained unless it is there from an earlier run."""
    steps.begin("model")
    demo.directory.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy2(example() / name, demo.directory / name)
    if (demo.directory / "iris_model.pkl").is_file():
        steps.done("trained before")
        return
    tool = uv_tool(demo.config, os.environ)  # the cache that image builds use: packages are fetched once for both
    command = [str(tool.binary), "run", "--no-project", "--python", sys.executable, "--script", "train.py"]
    said: list[str] = []

    def each(line: str) -> None:
        steps.note(line)
        said.append(line)

    _call(command, demo.directory, tool.environ, "training the model", each)
    steps.done(next((line for line in said if line.startswith("accuracy")), "trained"))


def example() -> Path:
    """The iris example: beside the package in a checkout, inside it when installed. Raises NotFound."""
    package = Path(__file__).parents[1]
    for place in (package / "_examples" / "iris", package.parent / "examples" / "iris"):
        if (place / "app_modal.py").is_file():
            return place
    raise NotFound(f"the iris example is neither in {package} nor beside it; install Ionian again")


def _deploy(demo: Demo, steps: Steps) -> None:
    """Image and app are one command of the client; its output tells when the first is done."""
    steps.begin("image")
    arguments = ["deploy", "app_modal.py"]
    environ = client.environment(demo.config, arguments, os.environ)
    environ |= {"PYTHONIOENCODING": "utf-8"}  # it is read here, not by a terminal
    command = client.command_line(sys.executable, arguments)

    def each(line: str) -> None:
        steps.note(line)
        if steps.title == "image" and "Created" in line:
            steps.done("ready")
            steps.begin("deploy")

    _call(command, demo.directory, environ, "deploying the app", each)
    if steps.title == "image":
        raise Unavailable("the client said nothing of what it created, though it ended well")
    steps.done("app_modal.py, through the modal client")


def _predict(demo: Demo, steps: Steps, server: running.Running) -> str:
    """Ask for every sample; all answers must be right. Returns the function's address without name resolution."""
    steps.begin("prediction")
    addresses = url.addresses(url.find_app(running.status(demo.config, server), APP), FUNCTION)
    samples = json.loads((demo.directory / "sample_data.json").read_text())
    label = next((address.partition("/_web/")[2] for address in addresses if "/_web/" in address), "")
    if not label:
        raise Unavailable(f"the server names no address that needs no name resolution, only {', '.join(addresses)}")
    for sample in samples:
        expected = {"prediction": sample["prediction"], "class_name": sample["class_name"]}
        status, answer = _post(server, f"/_web/{label}/{FUNCTION}", {"features": sample["features"]})
        if (status, answer) != (200, expected):
            raise Unavailable(f"{sample['features']} should be {expected}, but status {status} came back: {answer}")
    first = samples[0]
    steps.done(f"{first['features']} is {first['class_name']}; {len(samples)} of {len(samples)} right")
    return addresses[0]


def _post(server: running.Running, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """Status and JSON (or text) of one request. Raises Unavailable when there is no answer."""
    connection = http.client.HTTPConnection(running.reachable_host(server), server.port, timeout=_REQUEST_TIMEOUT_S)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"no answer from {server.url}{path}: {error}") from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text[:500]


def _is_deployed(config: Config, server: running.Running) -> bool:
    apps = running.status(config, server)["apps"]
    return any(app["name"] == APP and app["state"] == "deployed" for app in apps)


def _stop_app(demo: Demo) -> None:
    """Stop the app again, so that nothing of it stays in this home. A failure here hides no earlier one."""
    arguments = ["app", "stop", "--yes", APP]
    with contextlib.suppress(IonianError):
        environ = client.environment(demo.config, arguments, os.environ)
        subprocess.run(client.command_line(sys.executable, arguments), env=environ, capture_output=True)


def _stop_server(config: Config) -> None:
    down.stop(config)
    with contextlib.suppress(ChildProcessError):  # our child: not left as a zombie for whoever inherits it
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stay(demo: Demo, address: str) -> None:
    """Say how to go on, then wait for Ctrl-C."""
    name, option = running.program(), running.home_option(demo.config)
    body = json.dumps({"features": [5.1, 3.5, 1.4, 0.2]})
    demo.console.print(
        f"\ncurl -X POST {address}/{FUNCTION} -H 'Content-Type: application/json' -d '{body}'\n"
        f"{name} logs {APP}{option}\n"
        f"{name} status{option}\n\nthe example is in {demo.directory}\nCtrl-C stops"
        f"{' the server' if demo.owned else ' this demo; the server goes on'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    threading.Event().wait()


def _call(command: list[str], cwd: Path, environ: Mapping[str, str], doing: str, each: Callable[[str], None]) -> None:
    """Run a command and hand over its output line by line. Raises Unavailable, with its last lines, when it fails."""
    last: list[str] = []
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                last = [*last[-14:], line.rstrip()]
                each(line.rstrip())
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        text = "\n".join(f"  {line}" for line in last)
        raise Unavailable(f"{doing} failed (exit code {child.returncode}):\n{text}")


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does, also where a shell's `&` had SIGINT ignored."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(name, signal.signal(name, interrupt)) for name in names]
    try:
        yield
    finally:
        for name, handler in before:
            signal.signal(name, handler)
