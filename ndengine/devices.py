"""The device of a run: the CPU, or one CUDA (or ROCm) GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from subprocess import SubprocessError
from typing import Any

import torch

from ndengine.errors import SettingsError
from ndengine.settings import Precision

CPU = torch.device("cpu")
# What torch calls the instructions that multiply bfloat16: Intel's and AMD's, and ARM's.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def open_device(name: str) -> torch.device:
    """The device of a name that ``Settings`` has accepted, made sure of.

    Raises
    ------
    SettingsError
        If this torch has no such device, or the compiler of its kernels is missing or too old.
    """
    if name == "cpu":
        return CPU
    if not torch.cuda.is_available():
        if torch.version.cuda or torch.version.hip:
            raise SettingsError(f"device {name} can't be used: torch finds no GPU or no driver; use --device cpu.")
        raise SettingsError(
            f"device {name} can't be used: torch {torch.__version__} is a build for CPUs alone; "
            "install one for your GPU, or use --device cpu."
        )
    count, index = torch.cuda.device_count(), name.partition(":")[2]
    number = int(index) if index else torch.cuda.current_device()
    if number >= count:
        raise SettingsError(f"device {name} does not exist: the last one is cuda:{count - 1}; use one up to there.")
    try:
        found = version("triton")
    except PackageNotFoundError:
        found = "0"
    if [int(part) for part in re.findall("[0-9]+", found)[:2]] < [3, 5]:
        what = f"not {found}" if found != "0" else "which is not installed"
        raise SettingsError(f"device {name} needs triton 3.5 or newer, {what}; install it, or use --device cpu.")
    return torch.device("cuda", number)


@contextmanager
def explaining_full_memory(device: torch.device) -> Iterator[None]:
    """Turn a GPU's memory running out into a SettingsError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise SettingsError(
            f"The memory of {device} is full ({_first_line(error)}); use a smaller --batch-size, or --device cpu."
        ) from error


@contextmanager
def explaining_compilers(device: torch.device) -> Iterator[None]:
    """Turn a failure of Triton's first launch into a SettingsError: it needs a C compiler, Python.h and the driver."""
    try:
        yield
    except (RuntimeError, OSError, SubprocessError, AssertionError, ImportError) as error:
        if device.type == "cpu" or isinstance(error, torch.OutOfMemoryError):
            raise
        raise SettingsError(
            f"The kernels can't be compiled for {device} ({_first_line(error)}); triton needs a C compiler and "
            "Python's headers: install them, or use --device cpu."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def idle_gpu_note(device: torch.device) -> str:
    """A sentence for whoever has a GPU and does not use it; empty where there is none, or it is used."""
    if device.type == "cuda" or not torch.cuda.is_available():
        return ""
    return "A GPU is idle; --device cuda computes on it."


def multiplies_bfloat16(device: torch.device) -> bool | None:
    """Whether a device has instructions that multiply bfloat16; None where torch can't tell.

    ``torch.ops.mkldnn._is_mkldnn_bf16_supported`` is another question: it is true of any AVX-512, where oneDNN
    computes in float32 and converts.
    """
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is None:  # an older torch
        return None
    found = ask()
    return any(found.get(name, False) for name in BFLOAT16)


def slow_bfloat16_note(precision: Precision, device: torch.device) -> str:
    """A sentence for whoever asks a device for bfloat16 that is slower with it than without; empty for others."""
    if precision == "float32" or multiplies_bfloat16(device) is not False:
        return ""
    what = "This GPU" if device.type == "cuda" else "This processor"
    return f"{what} has no instructions for bfloat16: expect it to be slower than --precision float32."


def finish_work(device: torch.device) -> None:
    """Wait until a GPU has done all that it was told to; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak_memory(device: torch.device) -> None:
    """Let a run's peak use of a GPU begin now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def describe_gpu(device: torch.device) -> dict[str, Any] | None:
    """Name, memory and peak use of a GPU as JSON values; None for the CPU."""
    if device.type != "cuda":
        return None
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_bytes": found.total_memory,
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device),
        "cuda": torch.version.cuda or torch.version.hip,
    }


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Full float32 in a forward pass, and the same bits in every run: no TF32, no kernel chosen by a stopwatch."""
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    places: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]
    precisions = [place.fp32_precision for place in places]
    chosen = cudnn.deterministic, cudnn.benchmark
    try:
        for place in places:
            place.fp32_precision = "ieee"
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        for place, precision in zip(places, precisions, strict=True):
            place.fp32_precision = precision
        cudnn.deterministic, cudnn.benchmark = chosen
