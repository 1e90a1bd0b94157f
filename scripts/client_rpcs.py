"""Read from released clients which RPCs each knows and calls; write docs/client_rpcs.json. Needs packages, no server.

``client_rpcs.py [VERSION=PYTHON ...]``: an interpreter that has that client; for every other client of
docs/clients.json a virtual environment is made. A client *calls* an RPC when its source takes an attribute of that
name from something other than the protocol's own modules; it *has* the rest of what its protocol describes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MATRIX, FACTS = ROOT / "docs" / "clients.json", ROOT / "docs" / "client_rpcs.json"
UV = Path(sys.executable).with_name("uv")

# Runs inside the client's environment.
SCAN = """
import ast, json, pathlib
import modal
from modal_proto import api_pb2

known = {method.name for method in api_pb2.DESCRIPTOR.services_by_name["ModalClient"].methods}
called = set()
for path in pathlib.Path(modal.__file__).parent.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in known and "_pb2" not in ast.unparse(node.value):
            called.add(node.attr)
rpcs = {name: "calls" if name in called else "has" for name in known}
print(json.dumps({"version": modal.__version__, "rpcs": rpcs}))
"""


def scan(version: str, python: str) -> dict[str, str]:
    """``calls`` or ``has`` for each RPC that the client of this interpreter knows."""
    done = subprocess.run([python, "-c", SCAN], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    if found["version"] != version:
        raise SystemExit(f"{python} has client {found['version']}, not {version}")
    rpcs: dict[str, str] = found["rpcs"]
    return rpcs


def install(version: str, prefix: Path) -> str:
    """A new virtual environment with that client; its interpreter."""
    python = str(prefix / "bin" / "python")
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, prefix], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, f"modal=={version}"], check=True)
    return python


def main() -> None:
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    versions = list(dict.fromkeys(entry["client"] for entry in json.loads(MATRIX.read_text())))
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for version in versions:
            found[version] = scan(version, given.get(version) or install(version, Path(directory) / version))
    every = sorted({name for rpcs in found.values() for name in rpcs})
    rows = {name: {version: found[version][name] for version in versions if name in found[version]} for name in every}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    FACTS.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
