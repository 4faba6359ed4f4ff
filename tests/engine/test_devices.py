"""Naming a device: what is accepted, what is refused with a sentence, and what a run on a GPU sets."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from ndengine import devices
from ndengine.devices import (
    CPU,
    describe_gpu,
    exact_arithmetic,
    finish_work,
    idle_gpu_note,
    open_device,
    slow_bfloat16_note,
)
from ndengine.errors import SettingsError
from ndengine.settings import Settings


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "CUDA", "", "mps", "cuda:0x", "cuda:007", "cuda:256"])
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
@pytest.mark.parametrize(("found", "words"), [(None, "which is not installed"), ("3.3.1", "not 3.3.1")])
def test_no_triton_that_will_do(found: str | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(devices, "version", version)
    with pytest.raises(SettingsError, match=f"device cuda needs triton 3.5 or newer, {words}; install it"):
        open_device("cuda")


def test_what_a_gpu_fails_with_becomes_a_sentence() -> None:
    gpu = torch.device("cuda:0")
    with (
        pytest.raises(SettingsError, match=r"The memory of cuda:0 is full .tried 2 GiB.; use a smaller --batch-size"),
        devices.explaining_full_memory(gpu),
    ):
        raise torch.OutOfMemoryError("tried 2 GiB\nand more")
    for error in (RuntimeError("no cc"), FileNotFoundError("no cc"), AssertionError("no cc")):
        with (
            pytest.raises(SettingsError, match=r"can't be compiled for cuda:0 .no cc.; triton needs a C compiler"),
            devices.explaining_compilers(gpu),
        ):
            raise error
    with pytest.raises(RuntimeError, match="a bug of ours"), devices.explaining_compilers(CPU):
        raise RuntimeError("a bug of ours")


@pytest.mark.usefixtures("two_gpus")
def test_an_idle_gpu_is_mentioned() -> None:
    assert idle_gpu_note(CPU) == "A GPU is idle; --device cuda computes on it."
    assert idle_gpu_note(torch.device("cuda:0")) == ""


def test_no_gpu_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert idle_gpu_note(CPU) == ""


def test_a_pass_on_a_gpu_is_exact() -> None:
    """No TF32, no kernel chosen by timing; and afterwards everything is as it was, whatever a caller has set."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def state() -> list[object]:
        precisions = [place.fp32_precision for place in (cudnn.conv, cudnn.rnn, matmul)]
        return [*precisions, cudnn.deterministic, cudnn.benchmark]

    usual = state()
    try:
        for conv, product in ((usual[0], usual[2]), ("tf32", "tf32"), ("ieee", "none")):
            cudnn.conv.fp32_precision, matmul.fp32_precision = conv, product
            before = state()
            with exact_arithmetic(torch.device("cuda:0")):
                assert state() == ["ieee", "ieee", "ieee", True, False]
            assert state() == before
            with exact_arithmetic(CPU):
                assert state() == before
    finally:
        cudnn.conv.fp32_precision, matmul.fp32_precision = usual[0], usual[2]


@pytest.mark.parametrize("has", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_processor_with_bfloat16_gets_no_note(has: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, has: True})
    assert slow_bfloat16_note("bfloat16", CPU) == ""


def test_a_device_without_bfloat16_is_slower_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX-512 alone is not enough: there, oneDNN converts and computes in float32."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "amx_bf16": False, "fma3": True})
    note = slow_bfloat16_note("bfloat16", CPU)
    assert note == "This processor has no instructions for bfloat16: expect it to be slower than --precision float32."
    assert slow_bfloat16_note("float32", CPU) == ""
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert slow_bfloat16_note("bfloat16", CPU) == "", "an older torch can't tell"
    for capability, slow in (((7, 5), True), ((8, 0), False), ((12, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert slow_bfloat16_note("bfloat16", torch.device("cuda:0")).startswith("This GPU has no") is slow


def test_only_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    for device in (CPU, torch.device("cuda:1")):
        finish_work(device)
    assert waited == [torch.device("cuda:1")]


def test_results_of_two_devices_are_not_the_same() -> None:
    on_cpu, on_gpu = Settings().record(), Settings(device="cuda:1").record()
    assert Settings(device="cuda").differences(on_gpu) == []
    assert Settings(device="cuda").differences(on_cpu) == ["device"]
    old = {name: value for name, value in on_cpu.items() if name != "device"}
    assert Settings().differences(old) == []
    assert Settings(device="cuda").differences(old) == ["device"]
