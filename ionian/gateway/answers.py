"""Bodies that the gateway itself writes: errors, for machines and people alike, and the page at ``/``."""

from __future__ import annotations

import json

from ionian.gateway.headers import REASONS


def error(status: int, detail: str, request_id: bytes) -> bytes:
    """A JSON error body: what kind, what happened and what to do, and the id that finds it in the logs."""
    reason = REASONS.get(status, "Error")
    body = {"error": reason, "detail": detail, "request_id": request_id.decode()}
    return json.dumps(body, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def welcome(host: str, workspace: str) -> bytes:
    """What somebody sees who opens the plain address."""
    return (
        f"Ionian: an open server for the modal client.\n\n"
        f"This port speaks gRPC to the client and HTTP to web functions.\n"
        f"A web function answers at http://{workspace}--APP-FUNCTION.localhost:PORT or at\n"
        f"http://{host}/_web/{workspace}--APP/FUNCTION. To list addresses: ionian url APP\n"
    ).encode()
