"""What a result says of how it came about, besides its settings."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("ndengine", "torch", "torchvision", "numpy", "scipy", "numba", "triton", "h5py", "pillow")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, system and versions, as plain JSON values."""
    return {
        "machine": {"processor": processor_name(), "cores": usable_cores(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), **versions_of(PACKAGES)},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of packages, by name."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            versions[name] = "not installed"
    return versions


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def processor_name() -> str:
    """What the processor is called."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
