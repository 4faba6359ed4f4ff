"""The engine as the check sees it: the one place to change when its interface does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from places import Read
from torch import Tensor, nn

from ndengine.models import layers as engine
from ndengine.probe import Probe


@dataclass(frozen=True)
class Listed:
    """What the engine says of a network.

    Attributes
    ----------
    shapes : dict
        Units, rows and columns by layer.
    axes : dict
        Letters by layer; empty where the engine doesn't say.
    refused : dict
        Why not, by layer.
    reader : callable
        Given names of layers, a function from a batch to their maps.
    """

    shapes: dict[str, tuple[int, int, int]]
    axes: dict[str, str]
    refused: dict[str, str]
    reader: Callable[[Sequence[str]], Read] = field(repr=False)


def ask_engine(module: nn.Module, size: tuple[int, int], name: str) -> Listed:
    """List a network's layers, and get ready to read them."""
    trace = engine.prove_layers(module, size) if hasattr(engine, "prove_layers") else None
    rows, refused = survey(module, size, name, trace)
    shapes = {row.layer: row.shape for row in rows}
    layers = {layer.name: layer for layer in engine.resolve_layers(module, list(shapes), name, size, trace)}

    def reader(names: Sequence[str]) -> Read:
        probe = Probe(module, [layers[name] for name in names])

        def read(batch: Tensor) -> dict[str, Tensor]:
            maps = probe.activations(batch)
            return {name: maps[name] if name in maps else maps[layers[name].path] for name in names}

        return read

    return Listed(shapes, {row.layer: getattr(row, "axes", "") for row in rows}, refused, reader)


def survey(
    module: nn.Module, size: tuple[int, int], name: str, trace: Any = None
) -> tuple[list[engine.LayerRow], dict[str, str]]:
    """What `ndengine layers --all` shows: rows, and why each other layer is refused."""
    if hasattr(engine, "survey_layers"):
        return engine.survey_layers(module, size, name, trace)
    rows = engine.list_layers(module, size, name)
    shown = {row.layer for row in rows}
    ran = engine.trace_model(module, size).steps
    return rows, {path: "looks like no map" for path in ran if path and path not in shown}
