"""Programs of 2024 under the installed client, in fresh interpreters: what they register, and in a container too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMPAT = Path(__file__).parents[2] / "ionian" / "compat"

IRIS = """
import modal

app = modal.App("iris-classifier")

@app.function(
    image=modal.Image.debian_slim().pip_install("scikit-learn", "joblib", "numpy"),
    mounts=[modal.Mount.from_local_file("iris_model.pkl", remote_path="/root/iris_model.pkl")]
)
@modal.web_endpoint(method="POST")
def predict(item: dict):
    return {}
"""

# Imports the program under the hook and prints what the client was told about its function, as JSON.
PROBE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("ionian_compat", {init!r}, submodule_search_locations=[{compat!r}])
compat = sys.modules["ionian_compat"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.install()
import program
from modal._utils.async_utils import synchronizer

def look(object, found):
    for entry in getattr(object, "_entries", None) or []:
        try:
            found["files"] += sorted([str(local), str(remote)] for local, remote in entry.get_files_to_upload())
        except FileNotFoundError as error:
            found["missing"].append(str(error))
    load = getattr(object, "_load", None)
    for cell in getattr(load, "__closure__", None) or []:
        value = cell.cell_contents
        if getattr(value, "__name__", "") == "build_dockerfile":
            found["commands"] += value("2025.06").commands[1:]
        elif callable(value) and getattr(value, "__qualname__", "") == "_Image._copy_mount.<locals>.<lambda>":
            look(value("2025.06"), found)
    for dependency in object._deps() if callable(getattr(object, "_deps", None)) else []:
        look(dependency, found)
    return found

from modal import Function
for name, value in sorted(vars(program).items()):
    if isinstance(value, Function):
        inner = synchronizer._translate_in(value)
        found = look(inner._spec.image, dict(files=[], missing=[], commands=[])) if inner._spec.image else dict()
        web = inner._webhook_config
        found["web"] = [web.method, web.requested_suffix, web.web_endpoint_docs] if web else None
        print("FOUND", name, json.dumps(found))
"""


def run(where: Path, program: str, **env: str) -> tuple[dict[str, Any], str]:
    """What each function of the program was registered with, and stderr."""
    (where / "program.py").write_text(program)
    (where / "probe.py").write_text(PROBE.format(init=str(COMPAT / "__init__.py"), compat=str(COMPAT)))
    result = python(where, "probe.py", **env)
    assert result.returncode == 0, result.stderr
    found = {}
    for line in result.stdout.splitlines():
        if line.startswith("FOUND "):
            _, name, text = line.split(" ", 2)
            found[name] = json.loads(text)
    return found, result.stderr


def python(where: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    base = {"PATH": os.environ["PATH"], "HOME": str(where), "MODAL_CONFIG_PATH": str(where / "none.toml")}
    base |= {"MODAL_SERVER_URL": "http://127.0.0.1:1", "PYTHONPATH": str(where)}
    return subprocess.run(
        [sys.executable, *args], cwd=where, env=base | env, capture_output=True, text=True, timeout=120, check=False
    )


def test_iris_program_of_2024(tmp_path: Path) -> None:
    (tmp_path / "iris_model.pkl").write_bytes(b"model")
    found, said = run(tmp_path, IRIS)
    predict = found["predict"]
    assert predict["files"] == [[str(tmp_path / "iris_model.pkl"), "/root/iris_model.pkl"]]
    assert predict["web"] == ["POST", "", False]
    installs = [command for command in predict["commands"] if "pip install" in command]
    assert any("fastapi[standard]" in command for command in installs)
    assert any("scikit-learn" in command for command in installs)
    assert said.count("web_endpoint is retired: predict") == 1
    assert said.count("modal.Mount is retired") == 1
    assert "DeprecationError" not in said


def test_missing_file_is_the_clients_error(tmp_path: Path) -> None:
    found, _ = run(tmp_path, IRIS)
    assert found["predict"]["missing"] == [f"local file {tmp_path / 'iris_model.pkl'} does not exist"]


def test_in_a_container_nothing_local_is_needed_and_nothing_is_said(tmp_path: Path) -> None:
    program = IRIS + 'modal.Mount.from_local_dir("~/no/such/dir")\nmodal.Mount.from_local_python_packages("no_such")\n'
    found, said = run(tmp_path, program, MODAL_IS_REMOTE="1")
    assert found["predict"]["files"] == []
    assert said == ""


def test_directories_defaults_and_renamed_settings(tmp_path: Path) -> None:
    for name in ("a.txt", "b.bin", "sub/c.txt"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    program = """
import modal
stub = modal.Stub("old", mounts=[modal.Mount.from_local_dir("data", condition=lambda path: path.endswith(".txt"))])

@stub.function(keep_warm=2, concurrency_limit=5, container_idle_timeout=30, allow_concurrent_inputs=7)
def everything():
    pass

@stub.function(mounts=[modal.Mount.from_local_dir("data", remote_path="/d", recursive=False)], secrets=[])
@modal.asgi_app(wait_for_response=True)
def flat():
    pass
"""
    found, said = run(tmp_path, program)
    data = str(tmp_path / "data")
    recursive = [[data + "/a.txt", "/data/a.txt"], [data + "/sub/c.txt", "/data/sub/c.txt"]]
    assert found["everything"]["files"] == recursive
    assert found["flat"]["files"] == [*recursive, [data + "/a.txt", "/d/a.txt"], [data + "/b.bin", "/d/b.bin"]]
    assert not any("fastapi" in command for command in found["flat"]["commands"])
    for old in ("keep_warm=", "concurrency_limit=", "container_idle_timeout=", "allow_concurrent_inputs="):
        assert said.count(f"ionian: {old} is retired") == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("modal.web_endpoint('GET')", "Positional arguments are not allowed"),
        ("modal.web_endpoint(wait_for_response=False)", "wait_for_response=False"),
        ("modal.build()", "modal.build was retired"),
        ("modal.Mount.from_name('x')", "Mount.from_name('x')"),
        ("modal.App(mounts=['x']).function(serialized=True)(lambda: 1)", "mounts= takes modal.Mount objects"),
    ],
)
def test_what_has_no_successor_is_refused_by_name(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "program.py").write_text("import modal\n" + line)
    (tmp_path / "probe.py").write_text(PROBE.format(init=str(COMPAT / "__init__.py"), compat=str(COMPAT)))
    result = python(tmp_path, "probe.py")
    assert result.returncode == 1
    assert expected in result.stderr.splitlines()[-1]


def test_copy_methods(tmp_path: Path) -> None:
    program = """
import modal
image = modal.Image.debian_slim().copy_local_file("probe.py").copy_local_file("probe.py", "/opt/x.py")
image = image.copy_local_dir(".", "/opt/all").pip_install("numpy")
app = modal.App()
@app.function(image=image)
def f(): pass
"""
    found, said = run(tmp_path, program)
    targets = [remote for _, remote in found["f"]["files"]]
    assert "/root/probe.py" in targets
    assert "/opt/x.py" in targets
    assert "/opt/all/probe.py" in targets
    assert said.count("copy_local_file is retired") == 1


def test_launcher_runs_the_real_command_line(tmp_path: Path) -> None:
    result = python(tmp_path, str(COMPAT / "launch.py"), "--version")
    assert result.returncode == 0, result.stderr
    assert "modal client version" in result.stdout
    result = python(tmp_path, str(COMPAT / "launch.py"), "deploy", "no_such_file.py")
    assert result.returncode != 0
    assert "no_such_file.py" in result.stdout + result.stderr


def test_launcher_prepares_spawned_processes(tmp_path: Path) -> None:
    """``modal serve`` reloads a program in spawned processes; a client that spawns at once stands in for it."""
    package = tmp_path / "modal"
    package.mkdir()
    (package / "__init__.py").write_text("class App: function = cls = None\nclass Image: pass\n"
                                         "asgi_app = wsgi_app = fastapi_endpoint = None\n")  # fmt: skip
    (package / "child.py").write_text(
        "import sys\n"
        "def run():\n"
        "    import modal\n"
        "    print('child', modal.Mount.__module__, [p for p in sys.path if 'compat' in p])\n"
    )
    (package / "__main__.py").write_text(
        "import multiprocessing, sys\n"
        "from modal.child import run\n"
        "run()\n"
        "print(sys.argv)\n"
        "process = multiprocessing.get_context('spawn').Process(target=run)\n"
        "process.start()\n"
        "process.join()\n"
    )
    result = python(tmp_path, str(COMPAT / "launch.py"), "serve", "x.py")
    assert result.stdout.splitlines() == [
        "child ionian_compat.mounts []",
        "['modal', 'serve', 'x.py']",
        "child ionian_compat.mounts []",
    ], result.stderr


@pytest.mark.parametrize("fault", ["raise RuntimeError('This version of Modal does not support Python 3.13+')", "pass"])
@pytest.mark.parametrize(("version", "advised"), [("0.64.3", True), ("1.0.5", False)])
def test_launcher_says_what_to_use_instead_of_a_client_too_old_for_this_python(
    tmp_path: Path, fault: str, version: str, advised: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 13, 0, 'final', 0)\n")
    (tmp_path / "modal").mkdir()
    (tmp_path / "modal" / "__init__.py").write_text(fault + "\nApp = Mount = Image = type('Any', (), {})\n")
    (tmp_path / "modal" / "__main__.py").write_text("import sys; sys.exit(1 if 'deploy' in sys.argv else 0)\n")
    (tmp_path / f"modal-{version}.dist-info").mkdir()
    (tmp_path / f"modal-{version}.dist-info" / "METADATA").write_text(f"Name: modal\nVersion: {version}\n")
    result = python(tmp_path, str(COMPAT / "launch.py"), "deploy", "x.py")
    assert result.returncode == 1
    text = f"modal {version} supports Python up to 3.12, and this is Python 3.13. Use it with Python 3.12"
    assert (text in result.stderr) == advised, result.stderr
    if fault == "pass":
        well = python(tmp_path, str(COMPAT / "launch.py"), "app", "list")
        assert (well.returncode, well.stderr) == (0, "")
