"""The only importer of ``modal_proto``: the service, header names, what differs per client version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from modal_proto import api_pb2
from modal_proto import task_command_router_pb2 as router_pb2

__all__ = ["Message", "api_pb2", "router_pb2"]

TOKEN_ID = "x-modal-token-id"
TOKEN_SECRET = "x-modal-token-secret"
CLIENT_VERSION = "x-modal-client-version"
CLIENT_TYPE = "x-modal-client-type"
CLIENT_IN_CONTAINER = api_pb2.CLIENT_TYPE_CONTAINER
CLIENT_HOST = "x-modal-host"  # the host name that the client dialled
IDEMPOTENCY_KEY = "x-idempotency-key"
RETRY_ATTEMPT = "x-retry-attempt"  # "0": the first

_LABEL_REPEATED = 3  # of FieldDescriptor, before protobuf 7

# Inline arguments and results up to this size, sync and async: one message instead of a blob round trip.
MAX_INLINE_BYTES = 4 * 1024 * 1024

# Of clients before 0.73, which make one more function per method of a class: fields that the protocol has lost since.
# By message: the id of the class's own function, and the method's name.
_OLD_METHOD = {"Function": (54, 55), "FunctionPrecreateRequest": (6, 7)}
_OLD_TARGET = 40  # of FunctionHandleMetadata: the function to call instead
_LENGTH_DELIMITED = 2  # the wire type of texts

# Which image builder a client gets, by its version (a client refuses one it does not know). First match from the top.
BUILDER_VERSIONS: tuple[tuple[tuple[int, int], str], ...] = (
    ((1, 2), "2025.06"),
    ((1, 0), "2024.10"),
    ((0, 0), "2024.04"),  # 2024.04 brings FastAPI, which programs of that time take for granted
)


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of the service."""

    name: str
    path: str
    request: type[Message]
    response: type[Message]
    streams: bool  # the server answers with a stream
    takes_stream: bool = False  # the client sends a stream


def rpcs() -> list[Rpc]:
    """Every RPC of the installed protocol, in order of declaration. No client-streaming one exists in this service."""
    return _rpcs(api_pb2.DESCRIPTOR.services_by_name["ModalClient"])


def router_rpcs() -> list[Rpc]:
    """Every RPC of the command router, through which clients since 1.5 run commands in containers."""
    return _rpcs(router_pb2.DESCRIPTOR.services_by_name["TaskCommandRouter"])


def _rpcs(service: Any) -> list[Rpc]:
    return [
        Rpc(
            name=method.name,
            path=f"/{service.full_name}/{method.name}",
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            streams=method.server_streaming,
            takes_stream=method.client_streaming,
        )
        for method in service.methods
    ]


def version_tuple(version: str) -> tuple[int, ...]:
    """``1.6.4`` -> (1, 6, 4); what is not a number ends it."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def builder_version(client_version: str) -> str:
    """The image builder version for a client; an unknown client gets the newest."""
    numbers = version_tuple(client_version)
    if not numbers:
        return BUILDER_VERSIONS[0][1]
    return next(builder for first, builder in BUILDER_VERSIONS if numbers >= first)


def routes_without_tls(client_version: str) -> bool:
    """Whether the client speaks to a command router without TLS (on the same machine). Before 1.5 it wants TLS."""
    numbers = version_tuple(client_version)
    return not numbers or numbers >= (1, 5)


def shows_function_warnings(client_version: str) -> bool:
    """Whether the client shows the warnings of FunctionCreate. Before 0.75 it shows only those of AppPublish."""
    numbers = version_tuple(client_version)
    return not numbers or numbers >= (0, 75)


def set_old_web_url(response: Message, url: str) -> None:
    """Fill the field from which clients up to 0.64 read a function's address (its name defies plain Python)."""
    setattr(response, "__deprecated_web_url", url)


def unknown_fields(message: Message) -> list[int]:
    """Numbers of fields that this protocol does not know: the client is newer."""
    known = _OLD_METHOD.get(message.DESCRIPTOR.name, ())
    return sorted(_unknown(message).keys() - set(known))


def _unknown(message: Message) -> dict[int, Any]:
    found: Any = UnknownFieldSet(message)
    return {entry.field_number: entry.data for entry in found}


def old_method(message: Message) -> tuple[str, str]:
    """The class's own function (its id) and the method's name that this function stands for; empty for all others."""
    unknown = _unknown(message)
    target, name = (unknown.get(number, b"") for number in _OLD_METHOD[message.DESCRIPTOR.name])
    return target.decode(), name.decode()


def set_old_target(handle: Message, function_id: str) -> None:
    """Let clients before 0.73 call that function instead of this one. The id has less than 128 letters."""
    key, text = _OLD_TARGET << 3 | _LENGTH_DELIMITED, function_id.encode()
    handle.MergeFromString(bytes([key & 0x7F | 0x80, key >> 7, len(text)]) + text)


def given_fields(message: Message) -> list[str]:
    """Names of fields that are not at their default. A nested message that holds only defaults counts as default."""
    return [field.name for field, value in message.ListFields() if _given(field, value)]


def _given(field: FieldDescriptor, value: Any) -> bool:
    if field.message_type is None or is_repeated(field):
        return True
    return bool(value.ListFields())


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or a map (asked differently since protobuf 6)."""
    known = getattr(field, "is_repeated", None)
    return bool(getattr(field, "label") == _LABEL_REPEATED if known is None else known)  # noqa: B009 - gone in protobuf 7


def field_names(message: type[Message]) -> set[str]:
    """All field names of a message type."""
    return {field.name for field in message.DESCRIPTOR.fields}
