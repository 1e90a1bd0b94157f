"""``python launch.py ARGS...``: the client's own command line, with the retired names given back to the program.

Runs in the interpreter of the user's project. Also the main module of the processes that ``modal serve`` spawns.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_TOO_NEW_FOR_OLD = (3, 13)  # the first Python for which clients before 1.0 cannot build images


def prepare() -> None:
    """Load this directory as the package ``ionian_compat``, without putting it on the import path, and install it."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]
    if "ionian_compat" not in sys.modules:
        init = os.path.join(_HERE, "__init__.py")
        spec = importlib.util.spec_from_file_location("ionian_compat", init, submodule_search_locations=[_HERE])
        if spec is None or spec.loader is None:
            raise ImportError("cannot load " + init)
        module = importlib.util.module_from_spec(spec)
        sys.modules["ionian_compat"] = module
        spec.loader.exec_module(module)
    sys.modules["ionian_compat"].install()


def main() -> None:
    """Run the client's command line in this process."""
    prepare()
    sys.argv[0] = "modal"
    try:
        # alter_sys stays False: this file remains __main__, so spawned processes start with it and are prepared too
        runpy.run_module("modal", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            sys.stderr.write(advice())
        raise
    except RuntimeError as error:  # the oldest clients refuse to be imported
        if "does not support Python" not in str(error):
            raise
        sys.stderr.write("Error: " + str(error) + "\n" + advice())
        sys.exit(1)


def advice() -> str:
    """Which Python or client to use, where this pair of them cannot work; else empty."""
    if sys.version_info < _TOO_NEW_FOR_OLD:
        return ""
    from importlib import metadata

    try:
        version = metadata.version("modal")
    except metadata.PackageNotFoundError:
        return ""
    if not version.startswith("0."):
        return ""
    series = ".".join(map(str, sys.version_info[:2]))
    return (
        f"ionian: modal {version} supports Python up to 3.12, and this is Python {series}. "
        "Use it with Python 3.12 (`uv venv --python 3.12`), or use modal 1.0 or newer.\n"
    )


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    prepare()
