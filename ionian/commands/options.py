"""The argument parser that our verbs share."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ionian.commands import VERBS
from ionian.config import Config, load


def parser(verb: str) -> argparse.ArgumentParser:
    """A parser for one verb. ``--home`` is taken out before, and shown here for the help."""
    made = argparse.ArgumentParser(prog=f"ionian {verb}", description=VERBS[verb].capitalize() + ".")
    made.add_argument("--home", metavar="DIR", help="where everything lives (default: $IONIAN_HOME, else ~/.ionian)")
    return made


def config(home: str | None, **flags: Any) -> Config:
    """The configuration in force for this command."""
    return load({"home": home, **flags}, os.environ)
