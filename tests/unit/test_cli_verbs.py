"""The command line against a stand-in server: arguments, what is printed, and how it refuses."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ionian import __version__
from ionian.cli import main, split_home
from ionian.commands import VERBS
from ionian.commands.env import no_proxy
from ionian.commands.running import find, home_option
from ionian.config import Config
from ionian.errors import InvalidRequest
from ionian.logs import STDERR, STDOUT, Record, Writer
from tests.unit.cli_server import TOKEN, FakeServer, app, fake_server, write_server_file

URLS = ("http://local--iris-predict.localhost:9", "http://local--iris.localhost:9/predict", "http://127.0.0.1:9/_web/x")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with fake_server(tmp_path / "home") as fake:
        yield fake


def on(server: FakeServer, *arguments: str) -> int:
    return main([*arguments, "--home", str(server.config.home)])


@pytest.mark.parametrize(
    ("given", "home", "rest"),
    [
        (["--home", "/h", "status"], "/h", ["status"]),
        (["run", "a.py", "--home=/h", "--x"], "/h", ["run", "a.py", "--x"]),
        (["deploy", "a.py"], None, ["deploy", "a.py"]),
        (["shell", "--", "ls", "--home", "/x"], None, ["shell", "--", "ls", "--home", "/x"]),
    ],
)
def test_home_is_taken_out_anywhere(given: list[str], home: str | None, rest: list[str]) -> None:
    assert split_home(given) == (home, rest)


@pytest.mark.parametrize("given", [["status", "--home"], ["status", "--home="]])
def test_home_without_a_directory_is_refused(given: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="needs a directory"):
        split_home(given)


@pytest.mark.parametrize("given", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 0
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert "--home DIR" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ionian {__version__}\n"


def test_unknown_option_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--colour"]) == 1
    assert capsys.readouterr().err == "ionian: unknown option --colour; see `ionian --help`\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IONIAN_DEBUG", "1")
    with pytest.raises(InvalidRequest):
        main(["--colour"])


@pytest.mark.parametrize("verb", ["status", "env", "url x", "logs x", "deploy x.py"])
def test_without_a_server_says_how_to_start_one(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--home", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"ionian: no server on {tmp_path}: run ")
    assert f"up --home {tmp_path}" in error


def test_status_json_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "--home", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out) == {"running": False, "home": str(tmp_path)}


def test_status_shows_where_how_isolated_and_counts(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.apps.append(app("iris", "ap-1"))
    assert on(server, "status") == 0
    out = capsys.readouterr().out
    assert f"Ionian 9.9.9 at {server.url}" in out
    assert str(server.config.home) in out
    assert "isolation  process" in out
    assert "no user namespaces here" in out
    assert out.splitlines()[-1].split() == ["iris", "deployed", "predict", "2", "3", "4"]


def test_status_json_is_the_servers_answer(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert on(server, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"running": True, **server.status()}


def test_status_with_a_foreign_token_says_so(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.config.token_file.write_text('{"token_id": "ak-other", "token_secret": "as-other"}')
    assert on(server, "status") == 1
    assert "answered 401" in capsys.readouterr().err


def test_a_later_process_with_the_servers_pid_is_not_the_server(tmp_path: Path) -> None:
    with fake_server(tmp_path) as fake:
        assert find(fake.config) is not None
        write_server_file(fake.config, fake.port, os.getpid(), start_time=1)
        assert find(fake.config) is None


def test_a_server_that_does_not_answer_is_named(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        write_server_file(server.config, taken.getsockname()[1], os.getpid())
        assert on(server, "status") == 1
    assert f"(pid {os.getpid()}) does not answer" in capsys.readouterr().err


def test_env_survives_a_shell(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert on(server, "env") == 0
    script = capsys.readouterr().out + "env -0"
    shell_env = {"PATH": os.environ["PATH"], "NO_PROXY": "intra.example, 10.0.0.0/8", "no_proxy": "other.example"}
    done = subprocess.run(["sh", "-c", script], env=shell_env, capture_output=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if line)
    assert found["MODAL_SERVER_URL"] == server.url
    assert (found["MODAL_TOKEN_ID"], found["MODAL_TOKEN_SECRET"]) == TOKEN


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, "127.0.0.1,localhost,.localhost"),
        ({"NO_PROXY": "a, b"}, "a,b,127.0.0.1,localhost,.localhost"),
        ({"NO_PROXY": "a", "no_proxy": "c,localhost"}, "a,c,localhost,127.0.0.1,.localhost"),
    ],
)
def test_no_proxy_is_extended_not_replaced(environ: dict[str, str], wanted: str) -> None:
    assert no_proxy(environ, "127.0.0.1") == wanted


def test_no_proxy_has_the_address_listened_on() -> None:
    assert no_proxy({}, "10.1.2.3").split(",")[-1] == "10.1.2.3"


def test_url_prints_every_address(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.apps += [app("other", "ap-0", urls=("http://no",)), app("iris", "ap-1", urls=URLS)]
    assert on(server, "url", "iris", "predict") == 0
    assert tuple(capsys.readouterr().out.splitlines()) == URLS
    assert on(server, "url", "ap-1") == 0
    assert tuple(capsys.readouterr().out.splitlines()) == URLS


def test_url_prefers_the_deployed_app_of_a_name(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = app("iris", "ap-2", state="stopped", urls=("http://old",))
    server.apps += [stopped, app("iris", "ap-1", urls=("http://live",)), stopped]
    assert on(server, "url", "iris") == 0
    assert capsys.readouterr().out == "http://live\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "no app 'nope' here; there is iris"),
        (["iris", "nope"], "no function 'nope'; it has predict"),
        (["iris"], "only web functions have one"),
    ],
)
def test_url_says_what_is_missing(
    server: FakeServer, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.apps.append(app("iris", "ap-1"))
    assert on(server, "url", *arguments) == 1
    assert said in capsys.readouterr().err


def _write_logs(home: Path, app_id: str, count: int) -> None:
    writer = Writer(home / "logs" / app_id, segment_bytes=200)  # several segments
    for number in range(count):
        stream = STDOUT if number % 2 else STDERR
        writer.append([Record(1000 + number, "ta-1", "fu-1", stream, f"line {number} é\n")])
    writer.close()


def test_logs_by_name_in_order(server: FakeServer, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    server.apps.append(app("iris", "ap-1"))
    _write_logs(server.config.home, "ap-1", 30)
    assert on(server, "logs", "iris", "-n", "0") == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == [f"line {number} é" for number in range(30)]


@pytest.mark.parametrize("count", [1, 7, 30, 1000])
def test_logs_tail(count: int, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    _write_logs(tmp_path, "ap-1", 30)
    assert main(["logs", "ap-1", "--tail", str(count), "--home", str(tmp_path)]) == 0
    wanted = [f"line {number} é" for number in range(30)][-count:]
    assert capfdbinary.readouterr().out.decode().splitlines() == wanted


def test_logs_of_an_unknown_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "ap-none", "--home", str(tmp_path)]) == 1
    assert "no logs of ap-none" in capsys.readouterr().err


def test_up_refuses_a_home_that_is_served(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert on(server, "up") == 1
    error = capsys.readouterr().err
    assert f"pid {os.getpid()}" in error
    assert server.url in error


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_up_refuses_what_is_not_a_port(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--port", port, "--home", str(tmp_path)]) == 1
    assert "is not a port" in capsys.readouterr().err


def test_the_next_lines_are_quoted_for_a_shell(tmp_path: Path) -> None:
    assert home_option(Config(home=tmp_path / "a b")) == f" --home {shlex.quote(str(tmp_path / 'a b'))}"
