"""The modules that hold RPC functions: the lists from which the two services and the coverage table are made."""

from __future__ import annotations

from types import ModuleType

from ionian.api import (
    apps,
    autoscaler,
    bindings,
    blobs,
    callgraph,
    calls,
    classes,
    containers,
    deployments,
    dicts,
    environments,
    execs,
    functions,
    images,
    layouts,
    logs,
    mounts,
    queues,
    router,
    sandboxes,
    secrets,
    tokens,
    workspaces,
)

MODULES: tuple[ModuleType, ...] = (
    apps,
    autoscaler,
    bindings,
    blobs,
    callgraph,
    calls,
    classes,
    containers,
    deployments,
    dicts,
    environments,
    execs,
    functions,
    images,
    layouts,
    logs,
    mounts,
    queues,
    sandboxes,
    secrets,
    tokens,
    workspaces,
)

ROUTER_MODULES: tuple[ModuleType, ...] = (router, sandboxes)
