"""Our web path against bare uvicorn serving the same FastAPI application: ratios of interleaved rounds.

``python bench/web.py`` starts one uvicorn, another one as control, and gateway + runner without the rest of the server.
``--ours URL`` measures a deployed function instead (same body and answers as ``web_app.py``). Every response is
checked. Trust only ratios of one run, and only as far as the control stays near 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
LABEL = "local--bench-predict.localhost"
TICKS = os.sysconf("SC_CLK_TCK")
Target = tuple[str, int, str, str]  # address, port, path, Host header


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    with contextlib.ExitStack() as stack:
        targets, processes = _start(options, stack)
        for target in targets.values():
            _wait(target)
        for _ in range(3):  # as many containers as there will be, with everything imported
            _load(targets["ours"], max(options.connections), 2.0)
        for connections in options.connections:
            _load(next(iter(targets.values())), connections, 0.5)  # warm up the machine
            _compare(options, targets, processes, connections)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter with fastapi and uvicorn (and the model's packages)"
    )
    parser.add_argument(
        "--model", default="", help="a joblib file to predict with; without it the application costs almost nothing"
    )
    parser.add_argument(
        "--ours", default="", help="URL of a deployed function to measure instead of gateway + runner alone"
    )
    parser.add_argument("--uvicorn", default="", help="more arguments for uvicorn: '--loop asyncio --http h11'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=lambda text: [int(part) for part in text.split(",")], default=[1, 16, 64])
    parser.add_argument("--app", default="web_app:app", help="the application for uvicorn, as MODULE:NAME")
    parser.add_argument("--path", default="/predict", help="where it answers")
    return parser.parse_args(arguments)


def _start(options: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[dict[str, Target], dict[str, int]]:
    """Start what is compared. Also the processes of ours, whose CPU is reported."""
    environ = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE}", "BENCH_MODEL": options.model}
    targets: dict[str, Target] = {}
    processes: dict[str, int] = {}
    for name in ("uvicorn", "control"):
        port = _free_port()
        command = [options.python, "-m", "uvicorn", options.app, "--port", str(port), "--log-level", "warning"]
        command += ["--no-access-log", *options.uvicorn.split()]
        processes[name] = stack.enter_context(_process(command, environ)).pid
        targets[name] = ("127.0.0.1", port, options.path, "localhost")
    if options.ours:
        url = urlsplit(options.ours)
        port, path = url.port or 80, url.path or "/"
        targets["ours"] = (
            "127.0.0.1" if str(url.hostname).endswith("localhost") else str(url.hostname),
            port,
            path,
            url.netloc,
        )
    else:
        path = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "web.sock")
        port = _free_port()
        runner = [options.python, str(HERE / "web_runner.py"), path, "web_app:app"]
        gateway = [sys.executable, str(HERE / "web_gateway.py"), str(port), path]
        processes["runner"] = stack.enter_context(_process(runner, environ)).pid
        processes["gateway"] = stack.enter_context(_process(gateway, environ)).pid
        targets["ours"] = ("127.0.0.1", port, "/predict", LABEL)
    return targets, processes


@contextlib.contextmanager
def _process(command: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environ)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(target: Target) -> None:
    """Until the target answers; raises when it never does."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            if not _load(target, 1, 0.05)["wrong"]:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"{target} does not answer")
        time.sleep(0.2)


def _load(target: Target, connections: int, seconds: float) -> dict[str, Any]:
    address, port, path, host = target
    command = [
        sys.executable,
        str(HERE / "web_load.py"),
        address,
        str(port),
        path,
        str(connections),
        str(seconds),
        host,
    ]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output)
    return result


def _compare(
    options: argparse.Namespace, targets: dict[str, Target], processes: dict[str, int], connections: int
) -> None:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
    spent_before = {name: cpu(pid) for name, pid in processes.items()}
    names = list(targets)
    for turn in range(options.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            results[name].append(_load(targets[name], connections, options.seconds))
    wrong = [result["example"] for group in results.values() for result in group if result["wrong"]]
    if wrong:
        raise SystemExit(f"wrong answers: {wrong[0]}")
    spent_cpu = {name: cpu(pid) - spent_before[name] for name, pid in processes.items()}
    base = _median(results["uvicorn"], "per_second")
    print(f"{connections} connections, {options.rounds} rounds of {options.seconds:g} s, uvicorn {base:.0f} requests/s")
    usual = _median(results["uvicorn"], "p50_us")
    for name, group in results.items():
        count = sum(result["requests"] for result in group)
        spent = [part for part in (("runner", "gateway") if name == "ours" else (name,)) if part in spent_cpu]
        pairs = zip(group, results["uvicorn"], strict=True)
        ratios = [result["per_second"] / other["per_second"] for result, other in pairs]
        p50 = _median(group, "p50_us")
        print(
            f"  {name:8} {statistics.median(ratios):5.2f} x uvicorn ({min(ratios):.2f} to {max(ratios):.2f})"
            f"   p50 {p50:6.0f} us ({p50 - usual:+.0f})   p99 {_median(group, 'p99_us'):6.0f} us"
            f"   CPU us/request: {', '.join(f'{part} {spent_cpu[part] / count * 1e6:.0f}' for part in spent) or '-'}"
        )


def _median(group: list[dict[str, Any]], key: str) -> float:
    return statistics.median(result[key] for result in group)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    sys.exit(main())
