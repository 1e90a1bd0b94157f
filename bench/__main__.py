"""``python -m bench``: a real server, the real client, bare uvicorn beside it. Prints what docs/PERFORMANCE.md keeps.

``python -m bench calls`` measures calls alone (``--help`` says how), ``objects`` dicts and queues; without a word it is
the web path, then calls, then objects.
Everything it makes lies in ``.bench/``; the server it starts is stopped again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import uv

from bench import objects, web
from bench.calls import run as calls

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".bench"
PEER = ("fastapi[standard]", "scikit-learn", "joblib", "numpy", "modal==1.6.4")
BODY = b'{"features": [5.1, 3.5, 1.4, 0.2]}'


def main() -> int:
    if sys.argv[1:2] == ["calls"]:
        return calls.main(sys.argv[2:])
    if sys.argv[1:2] == ["objects"]:
        return objects.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--demo-runs", type=int, default=3, help="warm `ionian demo --once` runs to time")
    parser.add_argument("--quick", action="store_true", help="short rounds: shows that it works, measures little")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.demo_runs = 0.5, 1
    _web(options)
    quick = ["--quick"] if options.quick else []
    return calls.main(quick) or objects.main(quick)


def _web(options: argparse.Namespace) -> None:
    python = _peer_python()
    work = _work(python)
    with _server() as home:
        measured = ["--python", str(python), "--rounds", str(options.rounds), "--seconds", str(options.seconds)]
        measured += ["--model", str(work / "iris_model.pkl"), "--app", "bench.iris_peer:app", "--path", "/"]
        many = _deploy(home, work, "iris_many.py", "bench-iris")
        print("\n# one container, 100 inputs at once (bench/apps/iris_many.py) beside bare uvicorn")
        web.main([*measured, "--connections", "1,16,64", "--ours", many])
        verbatim = _deploy(home, work, "app_modal.py", "iris-classifier")
        print("\n# the verbatim app, one input at a time in each container, as many containers as it asks for")
        web.main([*measured, "--connections", "1,16", "--ours", verbatim])
        print("\n# a redeploy without change: CPU seconds of server and worker, and the whole command by the clock")
        for _ in range(5):
            print("   {:.2f}   {:.2f}".format(*_redeploy(home, work, "iris_many.py")))
    _demo(options.demo_runs)


def _peer_python() -> Path:
    """An environment with the same packages as the image, for uvicorn and for training."""
    venv = PLACE / "venv"
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", sys.executable, str(venv)], check=True)
    subprocess.run([uv.find_uv_bin(), "pip", "install", "-q", "--python", str(python), *PEER], check=True)
    return python


def _work(python: Path) -> Path:
    """A directory with the apps and the model, as a user would have it."""
    work = PLACE / "iris"
    work.mkdir(parents=True, exist_ok=True)
    for source in (*(ROOT / "bench" / "apps").glob("iris_*.py"), *(ROOT / "examples" / "iris").glob("*.py")):
        shutil.copy(source, work)
    subprocess.run([python, "train.py"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    return work


@contextlib.contextmanager
def _server() -> Iterator[Path]:
    home = PLACE / "home"
    _ionian(home, "up", "--detach", "--port", "0")
    try:
        yield home
    finally:
        _ionian(home, "down")


def _ionian(home: Path, *words: str, cwd: Path = ROOT) -> str:
    environ = {**os.environ, "VIRTUAL_ENV": str(PLACE / "venv"), "IONIAN_HOME": str(home)}
    command = [sys.executable, "-m", "ionian", *words]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _deploy(home: Path, work: Path, program: str, app: str) -> str:
    """Deploy; returns the address that needs no name resolution, once it has answered."""
    _ionian(home, "deploy", program, cwd=work)
    url = _ionian(home, "url", app).split()[-1]
    request = urllib.request.Request(url, BODY, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["class_name"] == "setosa"
    return url


def _redeploy(home: Path, work: Path, program: str) -> tuple[float, float]:
    """CPU seconds of server and worker for one deploy, and seconds that the command took."""
    status = json.loads(_ionian(home, "status", "--json"))
    pids = (status["pid"], status["worker_pid"])
    spent, begin = sum(map(web.cpu, pids)), time.monotonic()
    _ionian(home, "deploy", program, cwd=work)
    return sum(map(web.cpu, pids)) - spent, time.monotonic() - begin


def _demo(runs: int) -> None:
    home = PLACE / "demo"
    _ionian(home, "demo", "--once")
    print("\n# warm `ionian demo --once`, whole process, seconds")
    for _ in range(runs):
        begin = time.monotonic()
        last = _ionian(home, "demo", "--once").strip().splitlines()[-1]
        print(f"  {time.monotonic() - begin:.2f}   ({last})")


if __name__ == "__main__":
    sys.exit(main())
