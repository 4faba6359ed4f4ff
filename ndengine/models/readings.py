"""What the places of a tensor's elements say about its dims: images, units, rows and columns, or tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ndengine.models.places import COLUMN, IMAGE, KEY_COLUMN, KEY_ROW, ROW, Places, core, known, varies

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Reading:
    """How a tensor is read as maps, or why it can't be.

    Attributes
    ----------
    axes : str
        A letter a dim: n images, u units, h rows, w columns, t tokens, 1 for a dim of length one that is none of
        these. Empty where the tensor is no set of maps.
    shape : tuple of int
        U units, h rows and w columns.
    tokens : tuple of (int, int)
        First and one past the last of the tokens that have a place, in stretches; empty without tokens.
    rows, columns : tuple of float
        Pixels of the image at the middle of each row and column; empty along an axis without places.
    refusal : str
        What was found instead of maps.
    is_lost : bool
        Whether the places could not be followed so far, so that nothing is shown either way.
    """

    axes: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    tokens: Ranges = ()
    rows: tuple[float, ...] = ()
    columns: tuple[float, ...] = ()
    refusal: str = ""
    is_lost: bool = False


def read_places(places: Places, images: int) -> Reading:
    """Read a tensor's dims from where its elements lie.

    Parameters
    ----------
    places : Places
    images : int
        Images in the batch.
    """
    if places.lost:
        return Reading(refusal=f"its order can't be followed from the image ({places.lost})", is_lost=True)
    batch = _batch(places, images)
    if batch is None:
        return Reading(refusal=_no_batch(places))
    if any(places.of[which] is not None for which in (KEY_ROW, KEY_COLUMN)):
        return Reading(refusal="each element relates two places, as attention weights do")
    along = {which: [d for d in range(len(places.shape)) if varies(places.of[which], d)] for which in (ROW, COLUMN)}
    if batch in along[ROW] + along[COLUMN] or max(map(len, along.values())) > 1:
        return Reading(refusal="rows and columns of the image are spread over its dims, as windows and patches do")
    rest = [d for d in range(len(places.shape)) if d != batch]
    if along[ROW] == along[COLUMN]:
        return _tokens(places, batch, rest, along[ROW][0]) if along[ROW] else _vector(places, batch, rest)
    return _maps(places, batch, rest, along)


def _batch(places: Places, images: int) -> int | None:
    """The dim that runs along the images, one by one; None where there is none."""
    values = places.of[IMAGE]
    dims = [d for d in range(len(places.shape)) if varies(values, d)]
    if values is None or len(dims) != 1 or places.shape[dims[0]] != images:
        return None
    return dims[0] if _profile(values, dims[0]).tolist() == list(range(images)) else None


def _no_batch(places: Places) -> str:
    if places.nowhere:
        return "it does not depend on the image"
    return "images and places share a dim, as windows do"


def _units(rest: list[int], places: Places) -> tuple[list[str], int] | None:
    """Letters for dims without places, one of which is the units'; None where several could be."""
    long = [d for d in rest if places.shape[d] > 1]
    if len(long) > 1 or not rest:
        return None
    return [], (long or rest)[0]


def _vector(places: Places, batch: int, rest: list[int]) -> Reading:
    found = _units(rest, places)
    shape = ", ".join("N" if d == batch else str(n) for d, n in enumerate(places.shape))
    if found is None:
        what = "has no units" if not rest else "has no places in the image, and more than one dim besides the batch"
        return Reading(refusal=f"[{shape}] {what}")
    unit = found[1]
    spare = [d for d in rest if d != unit]
    letters = {batch: "n", unit: "u", **dict(zip(spare, "hw" if len(spare) == 2 else "1" * len(spare), strict=True))}
    return Reading(_write(letters), (places.shape[unit], 1, 1))


def _maps(places: Places, batch: int, rest: list[int], along: dict[int, list[int]]) -> Reading:
    letters = {batch: "n"}
    centres: dict[int, tuple[float, ...]] = {ROW: (), COLUMN: ()}
    for which, letter in ((ROW, "h"), (COLUMN, "w")):
        for dim in along[which]:
            letters[dim] = letter
            line = _line(places.of[which], dim)
            if line is None:
                return Reading(refusal="not every position along its rows and columns has a place in the image")
            centres[which] = line
            if not _climbs(line):
                return Reading(refusal=f"its {'rows' if which == ROW else 'columns'} do not stand in the image's order")
    found = _units([d for d in rest if d not in letters], places)
    if found is None:
        return Reading(refusal="more than one of its dims is neither the batch nor a side of the image")
    letters[found[1]] = "u"
    for letter, which in (("h", ROW), ("w", COLUMN)):
        spare = [d for d in rest if d not in letters]
        if not along[which] and spare:
            letters[spare[0]] = letter
    letters |= {d: "1" for d in rest if d not in letters}
    h, w = (len(centres[which]) or 1 for which in (ROW, COLUMN))
    return Reading(_write(letters), (places.shape[found[1]], h, w), (), centres[ROW], centres[COLUMN])


def _tokens(places: Places, batch: int, rest: list[int], dim: int) -> Reading:
    if rest == [dim]:
        return Reading(refusal="units and places share a dim, as after flattening")
    found = _units([d for d in rest if d != dim], places)
    if found is None:
        return Reading(refusal="besides tokens and batch it has more than one dim, as the heads of attention do")
    rows, columns = (_profile(places.of[which], dim) for which in (ROW, COLUMN))
    kept = ~(rows.isnan() | columns.isnan())
    row, column = rows[kept], columns[kept]
    sides = [sorted({round(v, 2) for v in line.tolist()}) for line in (row, column)]
    h, w = map(len, sides)
    if h * w != len(row):
        return Reading(refusal=f"the {len(row)} tokens that have a place fill no grid ({h} rows, {w} columns)")
    grid = torch.tensor(sides[0])[:, None].expand(h, w).flatten(), torch.tensor(sides[1]).repeat(h)
    if max(float((grid[0] - row).abs().max()), float((grid[1] - column).abs().max())) > 0.05:
        return Reading(refusal=f"its {h}x{w} tokens do not stand in the order of the image, row by row")
    letters = {batch: "n", dim: "t", found[1]: "u"} | {d: "1" for d in rest if d not in (dim, found[1])}
    return Reading(_write(letters), (places.shape[found[1]], h, w), _stretches(kept), tuple(sides[0]), tuple(sides[1]))


def _write(letters: dict[int, str]) -> str:
    return "".join(letters[d] for d in range(len(letters)))


def _profile(values: Tensor | None, dim: int) -> Tensor:
    """A coordinate along the only dim that it changes along."""
    assert values is not None
    others = [d for d in range(values.dim()) if d != dim]
    line = known(core(values), others).flatten() if others else values
    return torch.where(line.isinf(), float("nan"), line)


def _line(values: Tensor | None, dim: int) -> tuple[float, ...] | None:
    line = _profile(values, dim)
    return None if bool(line.isnan().any()) else tuple(line.tolist())


def _climbs(line: tuple[float, ...]) -> bool:
    """Whether positions follow each other at about equal steps."""
    steps = [b - a for a, b in pairwise(line)]
    return min(steps) > 0 and max(steps) <= 3 * min(steps)


def _stretches(kept: Tensor) -> Ranges:
    places = kept.nonzero().flatten().tolist()
    ranges: list[tuple[int, int]] = []
    for place in places:
        if ranges and ranges[-1][1] == place:
            ranges[-1] = (ranges[-1][0], place + 1)
        else:
            ranges.append((place, place + 1))
    return tuple(ranges)
