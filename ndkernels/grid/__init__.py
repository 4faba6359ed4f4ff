"""Where activation samples sit on the segmentation grid: every geometry becomes two tables an axis.

A kernel sees only the tables, so each geometry costs the same (Network Dissection, section 2: activation maps
are scaled up to the input's resolution by bilinear interpolation anchored at the receptive fields' centres).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ndkernels import devices
from ndkernels.arrays import Array, as_tensor, find_non_finite, refuse_nan
from ndkernels.devices import check_devices
from ndkernels.threads import run_work

Geometry = Literal["receptive-field", "receptive-field-floor", "half-pixel", "align-corners"]

# The largest fraction a table holds. Below it, `a + f·(b - a)` in float32 never exceeds max(a, b).
LARGEST_FRACTION = np.float32(1 - 2.0**-23)


@dataclass(frozen=True)
class Field:
    """The receptive field of a layer along one axis, in input pixels.

    Attributes
    ----------
    offset : int
        Position of the first pixel that sample 0 sees (negative with padding).
    size : int
        How many pixels a sample sees.
    stride : int
        Pixels from one sample to the next.
    """

    offset: int
    size: int
    stride: int


@dataclass(frozen=True)
class Axis:
    """Interpolation tables of one axis with S positions over n samples.

    Attributes
    ----------
    lower : Tensor
        ``[S]`` int32: the sample at or before each position.
    fraction : Tensor
        ``[S]`` float32 in [0, 1 - 2^-23]: how far on towards the next sample; 0 at the last one.
    samples : int
        n, the activation samples along this axis.
    """

    lower: Tensor
    fraction: Tensor
    samples: int


@dataclass(frozen=True)
class Grid:
    """Tables for both axes, and how they came about.

    Attributes
    ----------
    rows, columns : Axis
        Tables for H label rows over h samples and W label columns over w samples.
    geometry : str
        The geometry in force, which differs from the one asked for where that one does not exist.
    note : str
        Why it differs, as one sentence; empty where it does not.
    """

    rows: Axis
    columns: Axis
    geometry: Geometry
    note: str = ""

    def to(self, device: torch.device | str) -> Grid:
        """The same with its tables on a device."""
        rows, columns = (Axis(a.lower.to(device), a.fraction.to(device), a.samples) for a in (self.rows, self.columns))
        return Grid(rows, columns, self.geometry, self.note)


def make_axis(first: Fraction, step: Fraction, samples: int, size: int) -> Axis:
    """Tables of one axis whose samples sit at ``first + k·step`` on the label grid.

    Parameters
    ----------
    first, step : Fraction
        Position of sample 0 and distance between samples, in label pixels.
    samples : int
        n, the number of samples.
    size : int
        Label pixels along the axis.

    Returns
    -------
    Axis
        Positions outside the samples take the edge value. Everything is exact until one rounding to float32.

    Raises
    ------
    ValueError
        If a size is not positive, or samples do not advance.
    """
    _check_axis(samples, size)
    if samples > 1 and step <= 0:
        raise ValueError(f"samples must advance along the axis, not by {step}")
    lower = np.zeros(size, np.int32)
    fraction = np.zeros(size, np.float32)
    for x in range(size):
        position = (x - first) / step if samples > 1 else Fraction(0)
        if position <= 0:
            continue
        below = min(floor(position), samples - 1)
        rest = _float32(position - below) if below < samples - 1 else np.float32(0)
        if rest > LARGEST_FRACTION:
            below, rest = below + 1, np.float32(0)
        lower[x], fraction[x] = below, rest
    return Axis(torch.from_numpy(lower), torch.from_numpy(fraction), samples)


def make_grid(
    geometry: Geometry,
    *,
    maps: tuple[int, int],  # h, w
    labels: tuple[int, int],  # H, W
    inputs: tuple[int, int] | None = None,  # ih, iw
    field: tuple[Field, Field] | None = None,
) -> Grid:
    """Interpolation tables for maps of h×w on labels of H×W.

    Parameters
    ----------
    geometry : str
        ``receptive-field``, ``receptive-field-floor``, ``half-pixel`` or ``align-corners``.
    maps, labels, inputs : tuple of int
        Rows and columns of the activation maps, the label maps and the network's input.
    field : tuple of Field
        The layer's receptive field along rows and columns; the receptive-field geometries need it, and fall
        back to ``half-pixel`` with a note where it is not known.

    Returns
    -------
    Grid

    Raises
    ------
    ValueError
        If the geometry is unknown, a size is not positive, samples do not advance, or a receptive-field
        geometry is asked for without ``inputs``.
    """
    if geometry not in get_args(Geometry):
        raise ValueError(f"geometry must be one of {', '.join(get_args(Geometry))}, not {geometry!r}")
    for samples, size in zip(maps, labels, strict=True):
        _check_axis(samples, size)
    if tuple(maps) == (1, 1):  # constant wherever the one sample sits
        rows, columns = (make_axis(Fraction(0), Fraction(1), 1, size) for size in labels)
        return Grid(rows, columns, geometry)
    note = ""
    if geometry.startswith("receptive-field"):
        if field is None:
            note = f"geometry {geometry} fell back to half-pixel: the layer's receptive field is not known"
            geometry = "half-pixel"
        elif inputs is None:
            raise ValueError(f"geometry {geometry} needs the input size")
        elif geometry == "receptive-field-floor" and not _has_floor_steps(field, inputs, labels):
            note = "geometry receptive-field-floor fell back to receptive-field: its steps would be 0 pixels"
            geometry = "receptive-field"
    axes = []
    for i in range(2):
        first, step = _centres(geometry, maps[i], labels[i], inputs[i] if inputs else 0, field[i] if field else None)
        axes.append(make_axis(first, step, maps[i], labels[i]))
    return Grid(axes[0], axes[1], geometry, note)


def centres(geometry: Geometry, samples: int, size: int, inputs: int = 0, field: Field | None = None) -> list[Fraction]:
    """Exact positions of the samples of one axis on the label grid, in label pixels; no geometry falls back.

    Raises
    ------
    ValueError
        If a size is not positive, or the geometry is unknown or does not exist for these sizes.
    """
    _check_axis(samples, size)
    first, step = _centres(geometry, samples, size, inputs, field)
    return [first + k * step for k in range(samples)]


def _centres(geometry: str, samples: int, size: int, inputs: int, field: Field | None) -> tuple[Fraction, Fraction]:
    if geometry == "half-pixel":
        step = Fraction(size, samples)
        return step / 2 - Fraction(1, 2), step
    if geometry == "align-corners":
        return Fraction(0), Fraction(size - 1, samples - 1) if samples > 1 and size > 1 else Fraction(1)
    if geometry not in get_args(Geometry):
        raise ValueError(f"geometry must be one of {', '.join(get_args(Geometry))}, not {geometry!r}")
    if field is None or inputs < 1:
        raise ValueError(f"geometry {geometry} needs the input size and the layer's receptive field")
    if geometry == "receptive-field":
        ratio = Fraction(inputs, size)
        first = (field.offset + Fraction(field.size - 1, 2) + Fraction(1, 2)) / ratio - Fraction(1, 2)
        return first, field.stride / ratio
    whole = _round(Fraction(inputs, size))
    if whole < 1:
        raise ValueError(f"geometry {geometry} needs an input of at least half the labels' size")
    return Fraction((field.size // 2 + field.offset) // whole), Fraction(field.stride // whole)


def _check_axis(samples: int, size: int) -> None:
    if samples < 1 or size < 1:
        raise ValueError(f"an axis needs at least one sample and one position, not {samples} and {size}")


def _has_floor_steps(field: Sequence[Field], inputs: tuple[int, int], labels: tuple[int, int]) -> bool:
    ratios = [_round(Fraction(i, s)) for i, s in zip(inputs, labels, strict=True)]
    return all(r >= 1 and f.stride // r >= 1 for r, f in zip(ratios, field, strict=True))


def _float32(value: Fraction) -> np.float32:
    """One rounding, to nearest even; going through float64 would round twice."""
    if value == 0:
        return np.float32(0)
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if value < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return np.float32(float(round(value / unit) * unit))


def _round(value: Fraction) -> int:
    return floor(value + Fraction(1, 2))


def mask_maps(maps: Array, thresholds: Array, grid: Grid, *, threads: int = 1) -> Tensor:
    """Masks of activation maps on the label grid: upsampled first, then compared, strictly greater.

    Parameters
    ----------
    maps : Tensor or ndarray
        ``[A, h, w]`` float32 activation maps, finite, magnitudes up to 2^126.
    thresholds : Tensor or ndarray
        ``[A]`` float32, one a map, on the maps' device; no NaN.
    grid : Grid
        Tables for h×w on H×W, on any device.
    threads : int
        Threads, which split the maps, on a CPU.

    Returns
    -------
    Tensor
        ``[A, H, W]`` bool, on the maps' device.

    Raises
    ------
    ValueError
        If shapes or types do not fit, a threshold is NaN, or a map holds a value that is not finite or above 2^126.
    """
    maps, thresholds = as_tensor("maps", maps), as_tensor("thresholds", thresholds)
    _check_masks(maps, thresholds, grid)
    refuse_nan("thresholds", thresholds)
    if found := find_non_finite(maps):
        raise ValueError(f"map {found[0]} holds {found[1]}, which is not finite or above 2^126")
    return _mask_maps(maps, thresholds, grid, threads)


def mask_finite_maps(maps: Tensor, thresholds: Tensor, grid: Grid, *, threads: int = 1) -> Tensor:
    """The same for tensors that are known to be finite, such as a sieve's: nobody looks again."""
    _check_masks(maps, thresholds, grid)
    return _mask_maps(maps, thresholds, grid, threads)


def _check_masks(maps: Tensor, thresholds: Tensor, grid: Grid) -> None:
    check_maps(maps, grid)
    check_devices(maps=maps, thresholds=thresholds)
    if thresholds.shape != maps.shape[:1] or thresholds.dtype != torch.float32:
        raise ValueError(f"thresholds must be float32 [{len(maps)}], not {thresholds.dtype} {list(thresholds.shape)}")


def _mask_maps(maps: Tensor, thresholds: Tensor, grid: Grid, threads: int) -> Tensor:
    if devices.on_gpu(maps):
        from ndkernels.grid import gpu

        there = grid.to(maps.device)
        return gpu.mask_maps(
            maps.contiguous(), thresholds.contiguous(),
            there.rows.lower, there.rows.fraction, there.columns.lower, there.columns.fraction,
        )  # fmt: skip
    from ndkernels.grid import cpu

    out = np.empty((len(maps), len(grid.rows.lower), len(grid.columns.lower)), np.bool_)
    values, limits = maps.contiguous().numpy(), thresholds.contiguous().numpy()

    def mask_part(first: int, last: int) -> None:
        part = slice(first, last)
        cpu.mask_maps(values[part], limits[part], *tables(grid), out[part])

    run_work(len(maps), threads, mask_part, least=16)
    return torch.from_numpy(out)


def check_maps(maps: Tensor, grid: Grid) -> None:
    """Raise ValueError unless maps are float32 ``[A, h, w]`` of the grid's h and w."""
    expected = (grid.rows.samples, grid.columns.samples)
    if maps.dim() != 3 or maps.dtype != torch.float32 or tuple(maps.shape[1:]) != expected:
        raise ValueError(f"maps must be float32 [A, {expected[0]}, {expected[1]}], not {maps.dtype} {list(maps.shape)}")


def tables(grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four tables as NumPy arrays: lower and fraction of rows, lower and fraction of columns."""
    return (
        grid.rows.lower.numpy(),
        grid.rows.fraction.numpy(),
        grid.columns.lower.numpy(),
        grid.columns.fraction.numpy(),
    )
