"""How the programs say what came of a call: one line each, to a file, for the terminal shows containers' output too."""

import os
import traceback

FILE = "ORACLE_TOLD"  # variable that names the file


def tell(name, call):
    try:
        said = repr(call())
    except BaseException as error:
        said = "raised " + described(error)
    say(f"{name}: {said}")


def described(error):
    """Type, message, notes, causes, and the lines of the program that it passed through."""
    kind = type(error)
    text = f"{kind.__module__}.{kind.__name__}({str(error)!r}) args={len(error.args)}"
    notes = getattr(error, "__notes__", [])
    frames = [
        (frame.filename.split("/")[-1], frame.lineno, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
        if ":/root/" in frame.filename or frame.filename.startswith("/root/")
    ]
    text += f" notes={notes!r} frames={frames!r}"
    for word, other in (("cause", error.__cause__), ("context", error.__context__)):
        if other is not None and "/site-packages/" not in str(getattr(other, "__traceback__", "")):
            text += f" {word}={type(other).__name__}({str(other)!r})"
    return text


def told_app(app):
    say(f"app {app.app_id}")


def say(line):
    with open(os.environ[FILE], "a", encoding="utf-8") as file:
        file.write(line + "\n")
