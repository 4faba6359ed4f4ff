"""Whether maps that somebody reads out of a network are what they are taken for; nothing of the engine is used here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from places import Answers, Places, Read, find_places
from torch import Tensor, nn

ALIKE = 0.85  # correlation of said and found places
LEAST_SLOPE = 0.05
ROUGHLY_ALIKE = 0.6  # the same where what a position answers to is wide
SHARP = 0.2  # spread up to which it is not
SHARE = 0.9  # of positions that must lie where they are said to
LOCAL = 0.35  # spread up to which an answer is evidence against a place
FEW = 0.25  # share of positions that may say nothing

Outcome = Literal["right", "wrong", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What the check says of one layer.

    Attributes
    ----------
    outcome : str
    why : str
        What was found; empty where all is right.
    letters : str
        The order of the output's dims (``nuhw``, ``nhwu``, ``ntu``, ``nut``, ``nu``) that gives the maps.
    first : int
        The first token of the grid.
    """

    outcome: Outcome
    why: str = ""
    letters: str = ""
    first: int = 0


@dataclass(frozen=True)
class Documented:
    """What is documented of a network's tokens.

    Attributes
    ----------
    first, last : int
        Tokens before and behind those of the grid.
    placeless : sequence of str
        Patterns of layers whose outputs have no places, whatever they look like.
    """

    first: int = 0
    last: int = 0
    placeless: Sequence[str] = field(default=())


UNSAID = Documented()


def make_images(size: tuple[int, int], channels: int = 3) -> Tensor:
    """Two images of noise ``[2, C, height, width]``."""
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def judge(
    module: nn.Module,
    reader: Callable[[Sequence[str]], Read],
    shapes: Mapping[str, tuple[int, int, int]],
    size: tuple[int, int],
    documented: Documented = UNSAID,
    channels: int = 3,
) -> dict[str, Verdict]:
    """Judge all maps of a network that :func:`quiet.make_local` has made local, under ``local_attention``.

    Parameters
    ----------
    module : nn.Module
    reader : callable
        Given names of layers, a function from a batch of images to the maps that somebody takes the layers for.
    shapes : mapping
        Units, rows and columns that the layers are said to have.
    size : tuple of int
        Rows and columns of an image.
    documented : Documented
    channels : int

    Returns
    -------
    dict of str to Verdict
    """
    found: dict[str, Verdict] = {}
    for name, (_, rows, columns) in shapes.items():
        if any(fnmatchcase(name, pattern) for pattern in documented.placeless):
            found[name] = Verdict("wrong", "its positions have no place in the image")
        elif rows > size[0] or columns > size[1]:
            found[name] = Verdict("wrong", f"has a grid of {rows}x{columns} on an image of {size[0]}x{size[1]}")
    names = [name for name in shapes if name not in found]
    try:
        layouts = read_layouts(module, reader(names), names, make_images(size, channels), documented)
        answers = find_places(reader(names), size, channels)
    except Exception as error:  # one that can't be read shall not hide the others
        if len(names) == 1:
            return found | {names[0]: Verdict("wrong", f"can't be read: {str(error)[:200]}")}
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            found |= judge(module, reader, {name: shapes[name] for name in half}, size, documented, channels)
        names = []
    for name in names:
        layout = layouts[name]
        if layout is None:
            found[name] = Verdict("wrong", "is not the module's output in any order of its dims")
            continue
        letters, first, fits = layout
        verdict = weigh(answers[name], exact="t" in letters)
        if verdict.outcome != "wrong" and not fits:
            verdict = Verdict(
                "wrong", f"begins with token {first}; {documented.first} come before the grid, {documented.last} behind"
            )
        found[name] = Verdict(verdict.outcome, verdict.why, letters, first)
    return {name: found[name] for name in shapes}


def units_change(first: Mapping[str, tuple[int, int, int]], then: Mapping[str, tuple[int, int, int]]) -> list[str]:
    """Layers that have another number of units at another size of images: what they have are no units."""
    return [name for name in first if name in then and first[name][0] != then[name][0]]


def weigh(answers: Answers, *, exact: bool) -> Verdict:
    """A verdict on a map from where its positions were found to lie.

    Parameters
    ----------
    answers : Answers
    exact : bool
        Whether a position can't be off by one: a map made of tokens, where that is what a mistake looks like. Other
        maps may lie a little off, for they are shorter than the image is (convolutions without padding).
    """
    if answers.unit_places:
        return Verdict("wrong", "its units are places")
    if answers.rows.place.numel() == 1:
        silent = not bool(answers.rows.heard.any())
        return Verdict("undecided", "answers to nothing") if silent else Verdict("right")
    silent = 1 - float((answers.rows.heard & answers.columns.heard).double().mean())
    if silent > FEW:
        return Verdict("undecided", f"{silent:.0%} of positions answer to nothing")
    problems, local = [], False
    for what, places, dim in (("rows", answers.rows, 0), ("columns", answers.columns, 1)):
        if places.place.shape[dim] == 1:
            continue
        fit = agreement(places, dim)
        if not fit.holds(exact):
            problems.append(f"{what}: {fit}")
            local = local or fit.spread < LOCAL
    if problems:
        return Verdict("wrong" if local else "undecided", "; ".join(problems))
    return Verdict("right")


@dataclass(frozen=True)
class Fit:
    """How found places depend on said ones.

    Attributes
    ----------
    alike : float
        Their correlation.
    slope, shift : float
        Of the line through them; the shift in positions, in the middle.
    near, about : float
        Share of positions within three quarters of a position of it, and of those for which that holds when the
        spread is added.
    spread : float
        Median deviation of what a position answers to.
    """

    alike: float
    slope: float
    shift: float
    near: float
    about: float
    spread: float

    def holds(self, exact: bool) -> bool:
        """Whether positions lie where they are said to."""
        if exact:
            whole = abs(self.slope - 1) <= 0.2 or self.spread >= SHARP  # else the grid is not the image's
            slope = whole and self.slope >= LEAST_SLOPE
            return slope and self.alike >= ALIKE and self.near >= SHARE and abs(self.shift) < 1
        alike = ALIKE if self.spread < SHARP else ROUGHLY_ALIKE
        return self.alike >= alike and self.slope >= LEAST_SLOPE and self.about >= SHARE and abs(self.shift) <= 1.5

    def __str__(self) -> str:
        return (
            f"correlation {self.alike:.2f} of said and found places, slope {self.slope:.2f}, shift {self.shift:.2f}, "
            f"{self.near:.0%} near the line, spread {self.spread:.2f}"
        )


def agreement(places: Places, dim: int) -> Fit:
    """Compare where positions are found with where a map has them along rows (0) or columns (1)."""
    count = places.place.shape[dim]
    said = (torch.arange(count, dtype=torch.double) + 0.5) / count * 2 - 1
    said = (said[:, None] if dim == 0 else said).expand(places.place.shape)[places.heard]
    found, spread = places.place[places.heard], float(places.spread[places.heard].median())
    if said.std() == 0 or found.std() == 0:
        return Fit(0.0, 0.0, 0.0, 0.0, 0.0, spread)
    alike = float(torch.corrcoef(torch.stack([said, found]))[0, 1])
    slope = alike * float(found.std() / said.std())
    shift = float(found.mean() - slope * said.mean())
    off = (found - shift - slope * said).abs()
    cell = max(slope, 0.0) * 2 / count
    near = float((off <= 0.75 * cell).double().mean())
    about = float((off <= 0.75 * cell + 1.5 * places.spread[places.heard]).double().mean())
    return Fit(alike, slope, shift * count / 2, near, about, spread)


def read_layouts(
    module: nn.Module, read: Read, names: Sequence[str], batch: Tensor, documented: Documented
) -> dict[str, tuple[str, int, bool] | None]:
    """The order of the true output's dims that gives the maps: letters, first token, and whether that is documented."""
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    handles = []
    for name in names:
        path, _, part = name.partition("@")[0].partition("/")

        def keep(module: nn.Module, inputs: Any, output: Any, name: str = name, part: str = part) -> None:
            kept[name].append([(key, tensor.clone()) for key, tensor in tensors_of(output) if part in ("", key)])

        handles.append(module.get_submodule(path).register_forward_hook(keep))
    try:
        maps = read(batch)
    finally:
        for handle in handles:
            handle.remove()
    found: dict[str, tuple[str, int, bool] | None] = {}
    for name in names:
        calls = kept[name]
        call = int(name.partition("@")[2] or len(calls))
        tensors = [tensor for _, tensor in calls[call - 1]]
        orders = (order_of(tensor, maps[name], documented) for tensor in tensors)
        found[name] = next((order for order in orders if order), None)
    return found


def tensors_of(output: Any, prefix: str = "") -> list[tuple[str, Tensor]]:
    """All tensors of an output with their names: keys of dicts, numbers of tuples and lists, joined by slashes."""
    if isinstance(output, Tensor):
        return [(prefix, output)]
    items: Any = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, tuple | list):
        items = enumerate(output)
    return [pair for key, value in items for pair in tensors_of(value, f"{prefix}/{key}".strip("/"))]


def order_of(output: Tensor, maps: Tensor, documented: Documented) -> tuple[str, int, bool] | None:
    """The order of an output's dims whose rearrangement the maps are, to the last bit; None where none is.

    Dims of length one are left out one by one until some order fits.
    """
    while (found := _order_of(output, maps, documented)) is None and 1 in output.shape[1:]:
        output = output.squeeze(1 + list(output.shape[1:]).index(1))
    return found


def _order_of(output: Tensor, maps: Tensor, documented: Documented) -> tuple[str, int, bool] | None:
    units, rows, columns = maps.shape[1:]
    places = rows * columns
    output = output.float()
    if output.dim() == 2:
        return ("nu", 0, True) if _same(output[..., None, None], maps) else None
    if output.dim() == 4:
        for letters, moved in (("nuhw", output), ("nhwu", output.movedim(-1, 1))):
            if _same(moved, maps):
                return letters, 0, True
        orders = {"nuwh": (0, 1, 3, 2), "nwhu": (0, 3, 2, 1), "nhuw": (0, 2, 1, 3), "nwuh": (0, 2, 3, 1)}
        for letters, order in orders.items():
            if _same(output.permute(order), maps):
                return letters, 0, True
    if output.dim() == 3:
        for letters, tokens in (("ntu", output), ("nut", output.transpose(1, 2))):
            if tokens.shape[2] != units or tokens.shape[1] < places:
                continue
            for first in range(tokens.shape[1] - places + 1):
                grid = tokens[:, first : first + places].unflatten(1, (rows, columns)).movedim(-1, 1)
                if _same(grid, maps):
                    said = {0: 0, documented.first + documented.last: documented.first}
                    return letters, first, said.get(tokens.shape[1] - places) == first
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
