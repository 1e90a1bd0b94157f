"""``pip install`` lines, PURE: what uv can do in their stead, or None when anything is not fully understood.

None is never wrong: the line then really runs in the image, with the image's own pip.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from ionian.images.ops import PipInstall

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSIONS = r"(?:(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*"
_REQUIREMENT = re.compile(
    rf"^{_NAME}\s*(?:\[[A-Za-z0-9,._\s-]*\])?\s*(?:\({_VERSIONS}\)|{_VERSIONS}|@\s*https://\S+)\s*(?:;.*)?$"
)
_UV_PYTHON = re.compile(r"(?<!\S)--python \$\(command -v python\)(?!\S)")
_SWITCHES = {
    "--no-cache-dir", "--no-cache", "-n", "-q", "--quiet", "-v", "--verbose", "--compile", "--no-compile",
    "--compile-bytecode", "--no-compile-bytecode", "--system", "--disable-pip-version-check", "--no-input",
    "--break-system-packages", "--no-warn-script-location", "--prefer-binary", "--no-color", "--no-progress",
    "--no-clean", "--require-virtualenv", "--no-python-version-warning",
}  # fmt: skip
_IGNORED_VALUES = {"--progress-bar", "--timeout", "--default-timeout", "--retries", "--root-user-action", "--cache-dir"}
_FILE_OPTIONS = {"--index-url", "-i", "--extra-index-url", "--find-links", "-f", "--trusted-host"}


@dataclass(slots=True)
class _Found:
    requirements: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    index_url: str = ""
    extra: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)


def parse(command: str, files: Mapping[str, str]) -> PipInstall | None:
    """The installation that ``command`` (a shell line) asks for. ``files``: known files of the image, by path."""
    tokens = _tokens(_UV_PYTHON.sub("", command))
    head = _head(tokens) if tokens else None
    if head is None:
        return None
    found = _Found()
    if not _options(tokens[head[0] :], files, found, head[1]):
        return None
    if not found.requirements and not found.files:
        return None
    return PipInstall(
        command=command.strip(),
        requirements=tuple(found.requirements),
        files=tuple(found.files),
        constraints=tuple(found.constraints),
        index_url=found.index_url,
        extra_index_urls=tuple(found.extra),
        find_links=tuple(found.links),
        trusted_hosts=tuple(found.hosts),
        no_index="no_index" in found.flags,
        pre="pre" in found.flags,
        no_deps="no_deps" in found.flags,
        upgrade="upgrade" in found.flags,
        uv=head[1],
    )


def _tokens(command: str) -> list[str]:
    """The words of a line that a shell would pass on unchanged; none when the shell has anything to do."""
    quote = ""
    for at, char in enumerate(command):
        begins = at == 0 or command[at - 1].isspace()
        if char == quote:
            quote = ""
        elif quote:
            if char in "$`\\" and quote == '"':
                return []
        elif char in "\"'":
            quote = char
        elif char in "$`\\;&|<>(){}*?\n" or (begins and char in "~#!"):
            return []
    return [] if quote else shlex.split(command)


def _head(tokens: list[str]) -> tuple[int, bool] | None:
    """Where the arguments begin, and whether it is uv's pip."""
    if re.fullmatch(r"python3?(\.\d+)?", tokens[0]) and tokens[1:4] == ["-m", "pip", "install"]:
        return 4, False
    if re.fullmatch(r"pip3?(\.\d+)?", tokens[0]) and tokens[1:2] == ["install"]:
        return 2, False
    if tokens[0] in ("uv", "/.uv/uv") and tokens[1:3] == ["pip", "install"]:
        return 3, True
    return None


def _options(tokens: list[str], files: Mapping[str, str], found: _Found, uv: bool) -> bool:
    """Read all arguments into ``found``; False when one of them is not understood."""
    rest = iter(tokens)
    for token in rest:
        if not token.startswith("-"):
            if not _REQUIREMENT.match(token):
                return False
            found.requirements.append(token)
            continue
        if token in _SWITCHES or re.fullmatch(r"-[qv]+", token):
            continue
        if token in ("--pre", "--no-deps", "--no-index", "--upgrade", "-U"):
            found.flags.add({"-U": "upgrade"}.get(token, token.removeprefix("--").replace("-", "_")))
            continue
        name, mark, value = token.partition("=") if token.startswith("--") else (token, "", "")
        if not mark and (value := next(rest, "")) == "":
            return False
        if not _valued(name, value, files, found, uv):
            return False
    return True


def _valued(name: str, value: str, files: Mapping[str, str], found: _Found, uv: bool) -> bool:
    if name in ("-i", "--index-url", "--default-index"):
        found.index_url = value
    elif name == "--extra-index-url" or (uv and name == "--index"):
        found.extra.append(value)
    elif name in ("-f", "--find-links"):
        found.links.append(value)
        return value.startswith(("http://", "https://", "file:///"))  # a directory of the image is not ours to read
    elif name in ("--trusted-host", "--allow-insecure-host"):
        found.hosts.append(value)
    elif uv and name == "--prerelease":
        found.flags.add("pre")
        return value == "allow"
    elif name == "--only-binary":
        return value == ":all:"
    elif name == "--upgrade-strategy":
        return value == "only-if-needed"
    elif name in ("-r", "--requirement", "--requirements", "-c", "--constraint", "--constraints"):
        return _file(name, files.get(value), found)
    else:
        return name in _IGNORED_VALUES
    return True


def _file(name: str, content: str | None, found: _Found) -> bool:
    """A requirements file of known content whose every line stands on its own."""
    if content is None or not all(_line(line) for line in re.sub(r"\\\n", " ", content).splitlines()):
        return False
    (found.files if name in ("-r", "--requirement", "--requirements") else found.constraints).append(content)
    return True


def _line(line: str) -> bool:
    line = re.sub(r"(^|\s)#.*$", "", line).strip()
    line = re.sub(r"(\s+--hash[= ]sha\d+:[0-9a-f]+)+$", "", line)
    if not line.startswith("-"):
        return not line or bool(_REQUIREMENT.match(line))
    name, _, value = line.replace("=", " ", 1).partition(" ")
    if name in ("-f", "--find-links"):
        return value.strip().startswith(("http://", "https://"))
    return name in _FILE_OPTIONS or line in ("--pre", "--no-index", "--prefer-binary")
