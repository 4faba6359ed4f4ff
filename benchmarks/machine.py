"""The machine's line, repeated timing, and result files."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ndengine.devices import CPU, describe_gpu, open_device
from ndengine.errors import NdengineError
from ndengine.provenance import describe_machine

RESULTS = Path(__file__).parent / "results"
UNSTABLE = 0.15  # a spread above this share of the median makes a figure unstable


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, repeated.

    Attributes
    ----------
    seconds : tuple of float
        One entry a repetition.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Distance between the quartiles as a share of the median."""
        if len(self.seconds) < 4:
            return (max(self.seconds) - min(self.seconds)) / self.median
        first, _, third = statistics.quantiles(self.seconds, n=4)
        return (third - first) / self.median

    def record(self) -> dict[str, Any]:
        """Median, spread and all repetitions as JSON values."""
        return {
            "median_seconds": self.median,
            "spread": self.spread,
            "unstable": self.spread > UNSTABLE,
            "seconds": list(self.seconds),
        }


def time_call(call: Callable[[], object], repeats: int, warm: int = 1) -> Timing:
    """Time a call after ``warm`` calls that do not count."""
    for _ in range(warm):
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds))


def device_of(name: str, parser: argparse.ArgumentParser) -> torch.device:
    """The device of a name; one that can't be used ends the script with a sentence."""
    try:
        return open_device(name)
    except NdengineError as error:
        parser.error(str(error))


def machine_line(device: torch.device = CPU) -> str:
    """Processor, GPU, cores, system and the versions that decide speed, in one line."""
    found = describe_machine()
    machine, versions = found["machine"], found["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("python", "torch", "triton", "numba", "numpy"))
    gpu = describe_gpu(device)
    name = f"{gpu['name']}, CUDA {gpu['cuda']}; " if gpu else ""
    return f"{name}{machine['processor']}, {machine['cores']} cores, {machine['system']}; {packages}"


def write_results(name: str, content: dict[str, Any], device: torch.device = CPU) -> Path:
    """Write figures, with the machine and the time, to ``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    gpu = {"gpu": describe_gpu(device)} if device.type == "cuda" else {}
    path.write_text(json.dumps({**content, **gpu, **describe_machine()}, indent=1) + "\n")
    return path
