"""Network Dissection, exact and fast: which human concepts the units of a vision network detect.

Importing this package is cheap: names below are loaded when they are first used.

Examples
--------
>>> from pathlib import Path
>>> import ndengine
>>> settings = ndengine.Settings(model="vgg16", layers=("conv5_3",), data="broden1_224")
>>> dissection = ndengine.dissect_network(settings, Path("out"), cache=Path("cache"))  # doctest: +SKIP
>>> dissection = ndengine.load("out")  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndengine.compare import Comparison as Comparison
    from ndengine.compare import compare_results as compare_results
    from ndengine.dissect import dissect_network as dissect_network
    from ndengine.errors import NdengineError as NdengineError
    from ndengine.experiments import reproduce_paper as reproduce_paper
    from ndengine.result import Dissection as Dissection
    from ndengine.result import load as load
    from ndengine.series import Series as Series
    from ndengine.series import SeriesRun as SeriesRun
    from ndengine.series import read_series as read_series
    from ndengine.series import run_series as run_series
    from ndengine.settings import PRESETS as PRESETS
    from ndengine.settings import Knobs as Knobs
    from ndengine.settings import Settings as Settings
    from ndengine.settings import knobs_of as knobs_of

    __version__: str

_HOME = {
    "Comparison": "compare",
    "Dissection": "result",
    "Knobs": "settings",
    "NdengineError": "errors",
    "PRESETS": "settings",
    "Series": "series",
    "SeriesRun": "series",
    "Settings": "settings",
    "compare_results": "compare",
    "dissect_network": "dissect",
    "knobs_of": "settings",
    "load": "result",
    "read_series": "series",
    "reproduce_paper": "experiments",
    "run_series": "series",
}

__all__ = [
    "PRESETS",
    "Comparison",
    "Dissection",
    "Knobs",
    "NdengineError",
    "Series",
    "SeriesRun",
    "Settings",
    "compare_results",
    "dissect_network",
    "knobs_of",
    "load",
    "read_series",
    "reproduce_paper",
    "run_series",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ndengine")
    if name in _HOME:
        return getattr(import_module(f"ndengine.{_HOME[name]}"), name)
    raise AttributeError(f"module 'ndengine' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
