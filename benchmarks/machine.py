"""The machine's line, timings, and result files."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping
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
        return spread_of(self.seconds)

    def record(self) -> dict[str, Any]:
        """Median, spread and all repetitions as JSON values."""
        return {
            "median_seconds": self.median,
            "spread": self.spread,
            "unstable": self.spread > UNSTABLE,
            "seconds": list(self.seconds),
        }


def spread_of(figures: tuple[float, ...]) -> float:
    """Distance between the quartiles as a share of the median; of fewer than four, between the ends."""
    median = statistics.median(figures)
    if len(figures) < 4:
        return (max(figures) - min(figures)) / median
    first, _, third = statistics.quantiles(figures, n=4)
    return (third - first) / median


def device_of(name: str, parser: argparse.ArgumentParser) -> torch.device:
    """The device of a name; one that can't be used ends the script with a sentence."""
    try:
        return open_device(name)
    except NdengineError as error:
        parser.error(str(error))


def machine_line(device: torch.device = CPU) -> str:
    """Processor, GPU, cores, system and the versions that decide speed, in one line."""
    return line_of({**describe_machine(), "gpu": describe_gpu(device)})


def line_of(record: Mapping[str, Any]) -> str:
    """The machine's line from what a result file says of it."""
    machine, versions, gpu = record["machine"], record["versions"], record.get("gpu")
    decisive = [name for name in ("python", "torch", "triton", "numba", "numpy") if name in versions]
    name = f"{gpu['name']}, CUDA {gpu['cuda']}; " if gpu else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in decisive)
    return f"{name}{machine['processor']}, {machine['cores']} cores, {machine['system']}; {packages}"


def write_results(name: str, content: Mapping[str, Any], device: torch.device = CPU, folder: Path = RESULTS) -> Path:
    """Write figures, with the machine and the time, to ``NAME.json`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    gpu = {"gpu": describe_gpu(device)} if device.type == "cuda" else {}
    path.write_text(json.dumps({**content, **gpu, **describe_machine()}, indent=1) + "\n")
    return path
