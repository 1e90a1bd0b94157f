"""What a function asks for with ``gpu=``, and the refusal that says which GPUs this machine has. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ionian.errors import InvalidRequest, IonianError, Unimplemented
from ionian.wire import api_pb2

_OLD_PREFIX = "GPU_TYPE_"


def asked(request: api_pb2.FunctionCreateRequest) -> list[str]:
    """``gpu=`` as users write it ("T4", "A100:2"), in their order of preference; empty for a function without one."""
    ranked = [entry.function.resources for entry in request.function_data.ranked_functions]
    return list(named([request.function.resources, *ranked]))


def named(given: Iterable[api_pb2.Resources]) -> Iterable[str]:
    """GPUs as users write them, of whatever asks for resources."""
    for config in (resources.gpu_config for resources in given):
        if not (config.gpu_type or config.type or config.count):
            continue
        old = api_pb2.GPUType.Name(config.type).removeprefix(_OLD_PREFIX).replace("_", "-")
        name = config.gpu_type or (old if config.type else "any")
        yield f"{name}:{config.count}" if config.count > 1 else name


def refusal(function: str, wanted: Sequence[str], have: Sequence[str]) -> IonianError:
    """The error for a function that asks for one of the GPUs ``wanted`` on a machine that has those in ``have``."""
    asks = f"{function}: gpu={' or '.join(wanted)}"
    if not have:
        return InvalidRequest(
            f"{asks} cannot run here: this machine has no GPU (none found); remove gpu= to deploy here"
        )
    listed = ", ".join(f"{have.count(name)} x {name}" for name in dict.fromkeys(have))
    return Unimplemented(
        f"{asks} cannot run here: this machine has {listed}, but GPUs are not built in this server yet; "
        "remove gpu= to deploy here"
    )
