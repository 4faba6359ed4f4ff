"""Naming a device: what is accepted, what is refused with a sentence, and what a run on a GPU sets."""

from __future__ import annotations

import sys

import pytest
import torch

from ndengine.devices import CPU, describe_gpu, exact_arithmetic, idle_gpu_note, open_device
from ndengine.errors import SettingsError
from ndengine.settings import Settings


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CUDA", "", "mps", "cuda:0x"])
def test_names_that_are_not_understood(name: str) -> None:
    with pytest.raises(SettingsError, match="use cpu, cuda or cuda:N") as caught:
        Settings(device=name)
    assert caught.value.exit_code == 2


def test_the_cpu_is_always_there() -> None:
    assert open_device("cpu") == CPU
    assert describe_gpu(CPU) is None


def test_a_torch_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(SettingsError, match="is a build for CPUs alone; install one for your GPU, or use --device cpu"):
        open_device("cuda")


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(SettingsError, match="torch finds no GPU or no driver; use --device cpu"):
        open_device("cuda:0")


@pytest.mark.usefixtures("two_gpus")
def test_which_gpu() -> None:
    pytest.importorskip("triton")
    assert open_device("cuda") == torch.device("cuda:1")
    assert open_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(SettingsError, match="cuda:2 does not exist: the last one is cuda:1; use one up to there"):
        open_device("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ndkernels") and name.endswith("gpu")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(SettingsError, match=r"device cuda needs the package triton \(.*\); install it"):
        open_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_an_idle_gpu_is_mentioned() -> None:
    assert idle_gpu_note(CPU) == "Some GPU is idle; --device cuda computes on it."
    assert idle_gpu_note(torch.device("cuda:0")) == ""


def test_no_gpu_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert idle_gpu_note(CPU) == ""


def test_a_pass_on_a_gpu_is_exact() -> None:
    """No TF32, no kernel chosen by timing; and afterwards everything is as it was."""
    cudnn = torch.backends.cudnn

    def state() -> tuple[object, ...]:
        return cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, torch.get_float32_matmul_precision()

    before = state()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic(torch.device("cuda:0")):
            assert state() == (False, True, False, "highest")
        assert state() == (*before[:3], "high")
        with exact_arithmetic(CPU):
            assert state() == (*before[:3], "high")
    finally:
        torch.set_float32_matmul_precision(before[3])  # type: ignore[arg-type]


def test_results_of_two_devices_are_not_the_same() -> None:
    on_cpu, on_gpu = Settings().record(), Settings(device="cuda:1").record()
    assert Settings(device="cuda").differences(on_gpu) == []
    assert Settings(device="cuda").differences(on_cpu) == ["device"]
    old = {name: value for name, value in on_cpu.items() if name != "device"}
    assert Settings().differences(old) == []
    assert Settings(device="cuda").differences(old) == ["device"]
