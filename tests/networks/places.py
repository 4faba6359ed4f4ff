"""Which place of the image each position of a map answers to.

An image is changed a little by noise, once evenly, once by the same noise times a ramp that grows from -1 at the
first row to 1 at the last, once by a ramp along the columns. Where a network is local and the change small, what a
position answers to the ramp is what it answers to the even noise times the ramp's height at its own place: four images
tell the places of all positions of all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TURNS = 4  # of noise; what the ramp's height does not explain averages out
AMPLITUDE = 0.005  # of the change, in deviations of the image; deep networks without shortcuts amplify it

FEWEST_UNITS = 8  # of which a few can be said to be places


@dataclass(frozen=True)
class Places:
    """Where the positions of a map lie along rows or columns.

    Attributes
    ----------
    place : Tensor
        ``[h, w]``: the middle of what a position answers to, from -1 at one end of the image to 1 at the other.
    spread : Tensor
        ``[h, w]``: the deviation of what it answers to about that; 0.58 where it answers to everything alike.
    heard : Tensor
        ``[h, w]`` bool: the positions that answer to anything.
    """

    place: Tensor
    spread: Tensor
    heard: Tensor


@dataclass(frozen=True)
class Answers:
    """What one layer answers to rows and columns.

    Attributes
    ----------
    rows, columns : Places
    unit_places : bool
        Whether it is the units that tell places apart.
    """

    rows: Places
    columns: Places
    unit_places: bool


Read = Callable[[Tensor], dict[str, Tensor]]


def find_places(read: Read, size: tuple[int, int], channels: int = 3) -> dict[str, Answers]:
    """Where the positions of all maps lie.

    Parameters
    ----------
    read : callable
        Gives the maps ``[N, U, h, w]`` of a batch by layer.
    size : tuple of int
        Rows and columns of the image.
    channels : int
        Channels of the image.

    Raises
    ------
    ValueError
        If there is not one map an image.
    """
    generator = torch.Generator().manual_seed(1)
    ramps = [(torch.arange(length) + 0.5) / length * 2 - 1 for length in size]
    sums: dict[str, Tensor] = {}
    units: dict[str, Tensor] = {}
    for _ in range(TURNS):
        base, noise = torch.randn(2, channels, *size, generator=generator)
        noise = noise * AMPLITUDE
        batch = torch.stack([base, base + noise, base + noise * ramps[0][:, None], base + noise * ramps[1]])
        for name, maps in read(batch).items():
            if len(maps) != len(batch):
                raise ValueError(f"{name} gives {len(maps)} maps for {len(batch)} images")
            even, *steep = (maps[1:] - maps[:1]).double()
            products = [even * even, *(even * ramp for ramp in steep), *(ramp * ramp for ramp in steep)]
            sums[name] = sums.get(name, 0) + torch.stack([product.sum(0) for product in products])
            units[name] = units.get(name, 0) + torch.stack([product.sum((1, 2)) for product in products])
    return {name: _answers(sums[name], units[name]) for name in sums}


def _answers(sums: Tensor, units: Tensor) -> Answers:
    """Places from sums by position ``[5, h, w]`` and by unit ``[5, U]``."""
    by_unit = any(_tell_apart(_places(units, axis)) for axis in (0, 1))
    return Answers(_places(sums, 0), _places(sums, 1), by_unit)


def _places(sums: Tensor, axis: int) -> Places:
    even, ramp, square = sums[0], sums[1 + axis], sums[3 + axis]
    heard = even > even.max().clamp_min(1e-30) * 1e-12
    place = ramp / even.clamp_min(1e-30)
    spread = (square / even.clamp_min(1e-30) - place**2).clamp_min(0).sqrt()
    return Places(place, spread, heard)


def _tell_apart(units: Places) -> bool:
    """Whether each unit answers to one place, and different ones to different places."""
    place, spread = units.place[units.heard], units.spread[units.heard]
    return len(place) >= FEWEST_UNITS and float(spread.median()) < 0.1 and float(place.std()) > 0.3
