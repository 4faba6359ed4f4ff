"""The device of a run: the CPU, or one CUDA (or ROCm) GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ndengine.errors import SettingsError

CPU = torch.device("cpu")


def open_device(name: str) -> torch.device:
    """The device of a name that ``Settings`` has accepted, made sure of.

    Raises
    ------
    SettingsError
        If this torch has no such device, or the compiler of its kernels is missing.
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
    device = torch.device(name if ":" in name else f"cuda:{torch.cuda.current_device()}")
    if device.index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise SettingsError(f"device {name} does not exist: the last one is cuda:{last}; use one up to there.")
    try:
        import ndkernels.tally.gpu  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"device {name} needs the package triton ({error}); install it, or use --device cpu."
        ) from None
    return device


def idle_gpu_note(device: torch.device) -> str:
    """A sentence for whoever has a GPU and does not use it; empty where there is none, or it is used."""
    if device.type == "cuda" or not torch.cuda.is_available():
        return ""
    return f"{torch.cuda.get_device_name()} is idle; --device cuda computes on it."


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
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
