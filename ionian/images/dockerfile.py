"""Dockerfile text, PURE: instructions out of lines, words and variables out of instructions. It runs nothing."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ionian.errors import InvalidRequest

_CONTINUED = re.compile(r"\\[ \t]*$")
_DIRECTIVE = re.compile(r"^#\s*(\w+)\s*=\s*(.*?)\s*$")
_HEREDOC = re.compile(r"<<-?\s*[\"']?[A-Za-z_]")
_VARIABLE = re.compile(r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<how>:[-+])(?P<word>[^}]*))?\})")


@dataclass(frozen=True, slots=True)
class Instruction:
    keyword: str  # upper case
    rest: str  # everything after the keyword, continuation lines joined
    text: str  # as one line, for messages and logs


def instructions(commands: Iterable[str]) -> tuple[Instruction, ...]:
    """The instructions of a Dockerfile given as lines (or pieces with newlines). Raises InvalidRequest."""
    found: list[Instruction] = []
    pending = ""
    for line in "\n".join(commands).split("\n"):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            _refuse_directive(stripped, bool(found or pending))
            continue
        joined = pending + (line if pending else line.lstrip())
        if _CONTINUED.search(joined):
            pending = _CONTINUED.sub("", joined)
            continue
        found.append(_instruction(joined))
        pending = ""
    if pending:
        found.append(_instruction(pending))
    return tuple(found)


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.strip().partition(" ")
    keyword, rest = keyword.upper(), rest.strip()
    if keyword in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest):
        raise InvalidRequest(f"heredocs are not supported in image commands; put the text in a file: {line.strip()}")
    return Instruction(keyword, rest, f"{keyword} {rest}".strip())


def _refuse_directive(line: str, begun: bool) -> None:
    """``# escape=`` changes what every later line means; it counts only above the first instruction."""
    match = _DIRECTIVE.match(line)
    if match and not begun and match.group(1).lower() == "escape" and match.group(2) != "\\":
        raise InvalidRequest("the Dockerfile directive '# escape=' is not supported; use backslashes")


def words(text: str) -> list[str]:
    """``text`` split at unquoted blanks; quotes and backslashes stay (``expand`` takes them off)."""
    found: list[str] = []
    word, quote, escaped = "", "", False
    for char in text:
        if escaped:
            word, escaped = word + char, False
        elif char == "\\" and quote != "'":
            word, escaped = word + char, True
        elif quote:
            word, quote = word + char, "" if char == quote else quote
        elif char in "\"'":
            word, quote = word + char, char
        elif char in " \t":
            found, word = [*found, word] if word else found, ""
        else:
            word += char
    if quote:
        raise InvalidRequest(f"unclosed quote in {text!r}")
    return [*found, word] if word else found


def expand(word: str, variables: Mapping[str, str]) -> str:
    """``word`` without its quotes, with ``$NAME`` and ``${NAME:-default}`` replaced as a Dockerfile does."""
    out, quote, at = "", "", 0
    while at < len(word):
        char = word[at]
        if char == "'" and quote != '"':
            quote = "" if quote else "'"
        elif char == '"' and quote != "'":
            quote = "" if quote else '"'
        elif char == "\\" and quote != "'" and at + 1 < len(word):
            at += 1
            keep = quote == '"' and word[at] not in '"$\\'
            out += ("\\" if keep else "") + word[at]
        elif char == "$" and quote != "'" and (match := _VARIABLE.match(word, at)):
            out += _value(match, variables)
            at = match.end() - 1
        else:
            out += char
        at += 1
    return out


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    value = variables.get(match["name"] or match["braced"], "")
    if match["how"] == ":-":
        return value or expand(match["word"], variables)
    if match["how"] == ":+":
        return expand(match["word"], variables) if value else ""
    return value


def pairs(text: str) -> tuple[tuple[str, str], ...]:
    """The raw pairs of ``ENV``: ``A=1 B="two words"``, or the old form ``A the rest``. Raises InvalidRequest."""
    parts = words(text)
    if parts and "=" not in parts[0]:
        name, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidRequest(f"ENV {text}: a value is missing")
        return ((name, value.strip()),)
    split = [part.partition("=") for part in parts]
    if not split or any(not name or not mark for name, mark, _ in split):
        raise InvalidRequest(f"ENV {text}: write NAME=value, with quotes around values that have blanks")
    return tuple((name, value) for name, _, value in split)


def rooted(path: str) -> str:
    """``path`` from the root of the context, where every source of COPY lies: ``/a`` for ``a``, ``./a`` and ``/a``."""
    return "/" + posixpath.normpath(posixpath.join("/", path)).lstrip("/")


def json_array(text: str) -> tuple[str, ...] | None:
    """The exec form ``["a", "b"]``, or None when ``text`` is in shell form."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None
