"""The modules that hold RPC functions: the one list from which the service and the coverage table are made."""

from __future__ import annotations

from types import ModuleType

from ionian.api import (
    apps,
    blobs,
    calls,
    classes,
    containers,
    deployments,
    environments,
    functions,
    images,
    layouts,
    logs,
    mounts,
    secrets,
    tokens,
    workspaces,
)

MODULES: tuple[ModuleType, ...] = (
    apps,
    blobs,
    calls,
    classes,
    containers,
    deployments,
    environments,
    functions,
    images,
    layouts,
    logs,
    mounts,
    secrets,
    tokens,
    workspaces,
)
