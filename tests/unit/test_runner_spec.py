"""The runner's launch spec, import path, version bands and kept frames."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ionian.model import RunnerSpec, WebKind, WebSettings
from ionian.runner import client, environment, frames, spec
from ionian.runner.control import Control


def runner_spec() -> RunnerSpec:
    return RunnerSpec(
        function_id="fu-1",
        app_id="ap-1",
        app_name="iris",
        function_name="predict",
        module_name="app_modal",
        client_version="1.6.4",
        web=WebSettings(kind=WebKind.FUNCTION, method="POST"),
        supported_output_formats=(1, 4),
    )


def test_every_runner_setting_reaches_the_container() -> None:
    launch = spec.load(spec.dump(spec.launch(runner_spec(), code_root="/c", compat=True)))
    assert launch.web == spec.Web(kind="function", method="POST")
    assert (launch.code_root, launch.client_path, launch.compat) == ("/c", "/pkg", True)
    for name in RunnerSpec.__dataclass_fields__:
        if name != "web":
            assert getattr(launch, name) == getattr(runner_spec(), name)


def test_a_spec_of_a_newer_server_is_understood() -> None:
    values = json.loads(spec.dump(spec.launch(runner_spec())))
    values["new_setting"] = values["web"]["new_setting"] = 1
    assert spec.load(json.dumps(values)) == spec.launch(runner_spec())


def test_import_path_order() -> None:
    launch = spec.launch(runner_spec(), deps_path="/deps")
    found = environment.search_path(launch, "/lib", ["/lib", "", "/usr/lib/python3.11", "/deps", "/site", "/root"])
    assert found == ["/root", "/pkg", "/usr/lib/python3.11", "/site", "/deps"]


@pytest.mark.parametrize(
    ("version", "below"),
    [("0.64.3", (0, 65)), ("0.73.173", (0, 78)), ("1.0.5", (1, 2)), ("1.5.0.dev1", (1, 6)), ("1.6.4", (9999, 0)),
     ("2.0rc1", (9999, 0)), ("7", (9999, 0))],
)  # fmt: skip
def test_version_bands(version: str, below: tuple[int, int]) -> None:
    assert client.band_of(version).below == below


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.parser = frames.Parser()
        self.sent: list[tuple[int, str]] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        for kind, payload in self.parser.feed(bytes(data)):
            self.sent.append((kind, frames.split_control(payload)[0].get("id", "")))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def fileno(self) -> int:
        return -1  # nobody writes to it: all is on one thread here


@given(st.lists(st.tuples(st.sampled_from(["input", "item", "output", "ack", "server"]), st.integers(0, 3))))
def test_every_new_server_gets_what_no_server_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, a new server is sent exactly the frames that are not acknowledged, in order."""

    async def play() -> None:
        control = Control(on_inputs=lambda i: None, on_cancel=lambda i: None, on_stop=lambda g: None)
        control.greeting = lambda working: frames.control(frames.READY, {})
        working: set[str] = set()
        kept: dict[str, list[tuple[int, str]]] = {}
        for step, number in [*steps, ("server", 0)]:
            name = str(number)
            if step == "input":
                control.receive(*frames.Parser().feed(frames.control(frames.INPUT, {"id": name}))[0])
                if name not in kept:
                    working.add(name)
            elif step == "item" and name in working:
                control.item(name, 1, 1, b"")
                kept.setdefault(name, []).append((frames.ITEM, name))
            elif step == "output" and name in working:
                control.output({"id": name}, b"")
                working.discard(name)
                kept.setdefault(name, []).append((frames.OUTPUT, name))
            elif step == "ack" and name not in working:
                control.receive(*frames.Parser().feed(frames.control(frames.ACK, {"id": name}))[0])
                kept.pop(name, None)
            elif step == "server":
                pipe = Pipe()
                control.connect().connection_made(pipe)
                assert pipe.sent == [(frames.READY, ""), *[frame for one in kept.values() for frame in one]]
            assert control.busy == bool(working or kept)

    asyncio.run(play())
