"""GPUs: what a machine has, what a function asks for, and what its user is told when it cannot have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ionian.api import gpus as asking
from ionian.errors import InvalidRequest, Unimplemented
from ionian.runtimes import gpus
from ionian.wire import api_pb2


def _request(*configs: api_pb2.GPUConfig) -> api_pb2.FunctionCreateRequest:
    if len(configs) == 1:
        return api_pb2.FunctionCreateRequest(
            function=api_pb2.Function(resources=api_pb2.Resources(gpu_config=configs[0]))
        )
    ranked = [
        api_pb2.FunctionData.RankedFunction(
            rank=rank, function=api_pb2.Function(resources=api_pb2.Resources(gpu_config=config))
        )
        for rank, config in enumerate(configs)
    ]
    return api_pb2.FunctionCreateRequest(function_data=api_pb2.FunctionData(ranked_functions=ranked))


def test_names_are_those_of_the_driver(tmp_path: Path) -> None:
    for number, model in enumerate(["NVIDIA T4", "NVIDIA H100 80GB HBM3"]):
        directory = tmp_path / f"proc/driver/nvidia/gpus/0000:0{number}:00.0"
        directory.mkdir(parents=True)
        (directory / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 42\n")
    assert gpus.names(tmp_path) == ("NVIDIA T4", "NVIDIA H100 80GB HBM3")


def test_devices_count_where_nobody_knows_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.names(tmp_path) == ("an NVIDIA GPU (/dev/nvidia0)",)


def test_the_drivers_own_program_is_asked_where_its_files_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus.names(tmp_path) == ("NVIDIA L4",)
    program.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert gpus.names(tmp_path) == ("an NVIDIA GPU (/dev/nvidia0)",)


def test_a_machine_without_one_has_none(tmp_path: Path) -> None:
    assert gpus.names(tmp_path) == ()


@pytest.mark.parametrize(
    ("configs", "written"),
    [
        ([api_pb2.GPUConfig()], []),
        ([api_pb2.GPUConfig(gpu_type="T4", count=1)], ["T4"]),
        ([api_pb2.GPUConfig(gpu_type="A100", count=2)], ["A100:2"]),
        ([api_pb2.GPUConfig(type=api_pb2.GPU_TYPE_A100_80GB, count=1)], ["A100-80GB"]),
        ([api_pb2.GPUConfig(type=api_pb2.GPU_TYPE_ANY, count=1)], ["ANY"]),
        ([api_pb2.GPUConfig(gpu_type="T4", count=1), api_pb2.GPUConfig(gpu_type="L4", count=1)], ["T4", "L4"]),
    ],
)
def test_what_is_asked_for_reads_as_users_write_it(configs: list[api_pb2.GPUConfig], written: list[str]) -> None:
    assert asking.asked(_request(*configs)) == written


def test_the_refusal_lists_what_the_machine_has() -> None:
    none, some = asking.refusal("f", ["T4"], []), asking.refusal("f", ["T4", "L4"], ["B", "A", "B"])
    assert isinstance(none, InvalidRequest)
    assert "f: gpu=T4" in str(none)
    assert "no GPU" in str(none)
    assert isinstance(some, Unimplemented)
    assert "gpu=T4 or L4" in str(some)
    assert "2 x B, 1 x A" in str(some)
