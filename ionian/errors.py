"""The errors Ionian raises on purpose. Each knows the gRPC and the HTTP status it becomes at the edge.

Raise them anywhere below the edge; only ``api/guard.py`` and the gateway turn them into a wire status.
The message is for the person who can act: it says what happened and what to do.
"""

from __future__ import annotations

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what an OSError has when there is no room


class IonianError(Exception):
    """Base of all deliberate errors. ``grpc`` is the name of a gRPC status code, ``http`` an HTTP status."""

    grpc = "INTERNAL"
    http = 500


class InvalidRequest(IonianError):
    """The request can never work as it is: a bad value, or an option that this server refuses by name."""

    grpc = "INVALID_ARGUMENT"
    http = 400


class Unauthenticated(IonianError):
    """The token is missing or wrong."""

    grpc = "UNAUTHENTICATED"
    http = 401


class PermissionDenied(IonianError):
    """The caller is known, and this is not for them. The message says for whom it is."""

    grpc = "PERMISSION_DENIED"
    http = 403


class NotFound(IonianError):
    """The named thing does not exist (or not in this environment)."""

    grpc = "NOT_FOUND"
    http = 404


class AlreadyExists(IonianError):
    """The name is taken and the caller asked for a new thing."""

    grpc = "ALREADY_EXISTS"
    http = 409


class FailedPrecondition(IonianError):
    """The request is fine but the state of the thing forbids it now."""

    grpc = "FAILED_PRECONDITION"
    http = 409


class Unimplemented(IonianError):
    """An RPC or an option that is not built yet. The message names it."""

    grpc = "UNIMPLEMENTED"
    http = 501


class ResourceExhausted(IonianError):
    """A limit or a queue is full."""

    grpc = "RESOURCE_EXHAUSTED"
    http = 429


class Unavailable(IonianError):
    """Cannot answer now, may later: no worker, draining, a container that does not start."""

    grpc = "UNAVAILABLE"
    http = 503


class WorkerAway(Unavailable):
    """The worker has gone while it was asked, or is not there yet: nobody knows what it has done of it."""


class DeadlineExceeded(IonianError):
    """The time allowed for it is over."""

    grpc = "DEADLINE_EXCEEDED"
    http = 504


class ContainerFailed(IonianError):
    """A container could not start, or ended while it was working. Carries what the user needs to see."""

    grpc = "INTERNAL"
    http = 502


class BuildFailed(IonianError):
    """An image step failed. The message has the step, its command and the last lines of its output."""

    grpc = "FAILED_PRECONDITION"
    http = 500
