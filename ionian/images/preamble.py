"""The commands that the client itself sends for ``Image.debian_slim()``, PURE. Golden-tested per builder version.

Run literally they cost tens of seconds, a network and a package manager, and give what the host base has already.
Recognised only as a whole: any other command, or the same ones in another order, is the user's and really runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ionian.images.dockerfile import Instruction
from ionian.images.ops import Base

_FROM = re.compile(r"^FROM python:(?P<python>3\.\d+(?:\.\d+)?(?:rc\d+)?)-slim-(?P<codename>[a-z]+)$")
_INSTALL = re.compile(r"^RUN (?P<install>(?:uv )?pip install (?:--?[\w-]+ )*-r /modal_requirements\.txt)$")
_PREAMBLE: tuple[tuple[re.Pattern[str], bool], ...] = (  # in this order; True: always there
    (re.compile(r"^COPY /modal_requirements\.txt /modal_requirements\.txt$"), False),
    (re.compile(r"^RUN apt-get update$"), True),
    (re.compile(r"^RUN apt-get install -y gcc gfortran build-essential$"), True),
    (re.compile(r"^RUN pip install --upgrade pip(?: wheel)?(?: uv)?$"), True),
    (_INSTALL, False),
    (re.compile(r"^RUN echo 'debconf debconf/frontend select Noninteractive' \| debconf-set-selections$"), True),
    (re.compile(r"^RUN rm /modal_requirements\.txt$"), False),
    (re.compile(r'^CMD \["sleep", "\d+"\]$'), False),
)


@dataclass(frozen=True, slots=True)
class ClientBase:
    op: Base
    install: str  # the command that installs the client's pinned requirements, "" for builders after 2024.10
    length: int  # instructions that it takes up


def client_base(found: Sequence[Instruction]) -> ClientBase | None:
    """The client's base image at the beginning of ``found``, or None when it is something else."""
    head = _FROM.match(found[0].text) if found else None
    if head is None:
        return None
    at, install = 1, ""
    for pattern, required in _PREAMBLE:
        match = pattern.match(found[at].text) if at < len(found) else None
        if match:
            at += 1
            install = match["install"] if pattern is _INSTALL else install
        elif required:
            return None
    done = tuple(i.text for i in found[:at] if not _INSTALL.match(i.text))
    return ClientBase(Base(head["python"], head["codename"], done), install, at)
