"""The child process: the surroundings that user code expects, then the client's entrypoint as the main program."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

from .. import environment, spec

ENTRYPOINT = "modal._container_entrypoint"
BOOT = "import sys; sys.path.insert(0, {lib!r}); from {package}.stock.child import main; main()"
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the entrypoint. Arguments of the command line are its own."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no child without its parent
    with open(os.environ["IONIAN_SPEC"], encoding="utf-8") as file:
        launch = spec.load(file.read())
    library, container_id = os.environ.get("IONIAN_LIB", ""), os.environ["IONIAN_CONTAINER_ID"]
    arguments = sys.argv[1:]
    environment.prepare(launch, library, container_id)
    sys.argv[1:] = arguments
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if launch.compat:
        environment.install_compat(library)
    runpy.run_module(ENTRYPOINT, run_name="__main__", alter_sys=True)
