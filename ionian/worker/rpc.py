"""The link between server and worker: JSON messages, length first (``>I``), over one unix socket.

A request is ``{"id", "method", "params"}``; its answers are ``{"id", "part"}`` any number of times, then
``{"id", "result"}`` or ``{"id", "error": {"kind", "message"}}``. Messages without id are events of the worker.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from ionian import errors

_LENGTH = struct.Struct(">I")
MAX_MESSAGE = 256 * 1024 * 1024  # bytes
ANOTHER_RUNS = 75  # exit code of a worker on whose home another one has the lock

Message = dict[str, Any]


async def receive(reader: asyncio.StreamReader) -> Message | None:
    """The next message, or None at the end of the connection."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(4))
        if length > MAX_MESSAGE:
            raise errors.IonianError(f"message of {length} bytes on the worker link")
        message: Message = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return message


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Queue a message; the transport writes it."""
    data = json.dumps(message, separators=(",", ":")).encode()
    writer.write(_LENGTH.pack(len(data)) + data)


def error_message(error: errors.IonianError) -> Message:
    return {"kind": type(error).__name__, "message": str(error)}


def error_from(message: Message) -> errors.IonianError:
    """The error a worker reported, as the same class here."""
    kind = getattr(errors, str(message.get("kind")), errors.IonianError)
    error: errors.IonianError = kind(message.get("message", "unknown error in the worker"))
    return error
