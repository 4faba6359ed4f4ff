"""Activations that can't be counted, told by layer, unit and image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ndengine.errors import ModelError
from ndengine.models.layers import Layer
from ndengine.plan import Run
from ndengine.probe import Probe, read_batches
from ndengine.spool import Spool
from ndkernels.sieve import LARGEST_ACTIVATION, NonFiniteError


@contextmanager
def naming_non_finite(run: Run, layer: Layer, spool: Spool) -> Iterator[None]:
    """Turn an activation that is not finite into a ModelError that names layer, unit and image."""
    try:
        yield
    except NonFiniteError as error:
        place = spool.images + error.image
        image = run.dataset.image_names[run.indices[place]]
        # A rotation spreads it over all units: which one it came from shows without.
        found = _before_rotation(run, layer, place) if run.rotate else (error.unit, error.value)
        if found is None:
            raise ModelError(
                f"Layer {layer.name} has activations on image {image} that are too large to be rotated as float32; "
                "leave the layer out, or use --rotate 0."
            ) from None
        raise ModelError(
            f"Layer {layer.name} gives {found[1]} in unit {found[0] + 1} on image {image}; "
            "check the weights, and --mean, --std and --scale."
        ) from None


def _before_rotation(run: Run, layer: Layer, place: int) -> tuple[int, float] | None:
    """The first unit of an image that can't be counted as the network gives it, and its value; None without one."""
    probe = Probe(run.model.module, [layer], run.device, run.settings.precision)
    (_, batch), *_ = read_batches(
        run.dataset.images,
        run.indices[place : place + 1],
        run.preprocessing,
        size=run.size,
        batch_size=1,
        device=run.device,
        threads=run.settings.threads,
    )
    units = probe.activations(batch)[layer.name][0].flatten(1).cpu().numpy()
    bad = ~(np.abs(units) <= LARGEST_ACTIVATION)
    if not bad.any():
        return None
    unit = int(bad.any(1).argmax())
    return unit, float(units[unit][bad[unit]][0])
