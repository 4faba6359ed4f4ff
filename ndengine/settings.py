"""Every knob of a dissection in one frozen record, and the presets that set them together."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ndengine.errors import SettingsError

Geometry = Literal["receptive-field", "receptive-field-floor", "half-pixel", "align-corners"]
Overlap = Literal["once", "twice"]
Area = Literal["category", "touched", "all"]
Comparison = Literal[">", ">="]
Precision = Literal["float32", "bfloat16"]
SpoolKind = Literal["auto", "memory", "disk", "dense"]

GEOMETRIES: tuple[Geometry, ...] = ("receptive-field", "receptive-field-floor", "half-pixel", "align-corners")
OVERLAPS: tuple[Overlap, ...] = ("once", "twice")
AREAS: tuple[Area, ...] = ("category", "touched", "all")
COMPARISONS: tuple[Comparison, ...] = (">", ">=")
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SPOOLS: tuple[SpoolKind, ...] = ("auto", "memory", "disk", "dense")


@dataclass(frozen=True)
class Knobs:
    """What decides the numbers once the activations are given.

    Attributes
    ----------
    quantile : str
        The share q of positions that may exceed a unit's threshold, as decimal text: ``m = floor(q·n)`` is
        computed from these digits, not from a binary fraction.
    geometry : str
        Where the activation samples sit on the segmentation grid.
    overlap : str
        Whether a concept that two maps put on one pixel counts there ``once`` or ``twice``.
    area : str
        The images over which a unit's area is counted for a category: those with the ``category``, those where
        the mask itself ``touched`` a label of it, or ``all``.
    detector : str
        How the best IoU is compared with ``iou_threshold``.
    iou_threshold : float
        The IoU a detector must pass.
    """

    quantile: str = "0.005"
    geometry: Geometry = "receptive-field-floor"
    overlap: Overlap = "twice"
    area: Area = "category"
    detector: Comparison = ">"
    iou_threshold: float = 0.04

    def __post_init__(self) -> None:
        # 0.0050, 5e-3 and the float 0.005 are one quantile: its shortest decimal digits.
        try:
            digits = format(Decimal(str(self.quantile)).normalize(), "f")
        except (InvalidOperation, ValueError):
            digits = str(self.quantile)  # refused with a sentence by Settings
        object.__setattr__(self, "quantile", digits)
        object.__setattr__(self, "iou_threshold", float(self.iou_threshold))


PRESETS: dict[str, Knobs] = {
    "netdissect": Knobs(),
    "paper": Knobs(geometry="receptive-field", overlap="once"),
    "lite": Knobs(geometry="half-pixel", area="touched", detector=">="),
    # CompExp ranks by IoU alone and has no detector rule of its own; the paper's is used.
    "compexp": Knobs(geometry="half-pixel", overlap="once", area="all"),
}

# How a run is carried out: the same activations give the same counts whatever these are, so two runs that differ in
# them are the same run. (A network may round its own sums in another order in batches of another size.)
HOW = ("batch_size", "threads", "spool")

MOST = 2**31 - 1  # of images, pixels, threads: beyond it nothing counts
SEEDS = (-(2**63), 2**64 - 1)  # what torch's generator takes


@dataclass(frozen=True)
class Settings:
    """All settings of one run; every one of them is written into the result.

    Attributes
    ----------
    model, weights : str
        What was dissected: see ``ndengine run --help``.
    layers : tuple of str
        Layer names or patterns as they were asked for.
    data : str
        ``scenes``, a folder in Broden's layout or a packed file.
    preset : str
        The name of the preset that ``knobs`` started from.
    knobs : Knobs
        The knobs in force.
    min_images : int or None
        Images that a concept needs to be scored; None stands for 0 on Broden and 10 elsewhere.
    categories : tuple of str
        Categories that are scored; empty means all.
    split : str
        The split of the dataset that is used; empty means all images.
    limit : int or None
        Use only the first ``limit`` images.
    seed : int
        Seed of random weights, from -2^63 to 2^64 - 1.
    size : tuple of int or None
        Height and width of the network's input in pixels; None means the dataset's own.
    mean, std : tuple of float or None
        Per channel, in units of ``scale`` and in the order of ``channels``; None means the model's own.
    channels : str or None
        ``rgb`` or ``bgr``; None means the model's own.
    scale : float or None
        The value that a white pixel has before the mean is taken off; None means the model's own.
    top_images : int
        Images shown for each unit.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``: where the network runs and its activations are counted. Counts of the same
        activations do not depend on it, but a network rounds otherwise on a GPU.
    precision : str
        What the network computes in: ``float32``, or ``bfloat16`` where torch's autocast takes it to be good enough.
        Activations are counted as float32 either way, but they are not the same ones.
    rotate : float or None
        The power α, from 0 to 1, of the random rotation that a layer's units are put through before they are counted;
        None means the network's own, which is 0, no rotation, but for the benchmark's rotated networks.
    rotate_seed : int or None
        Seed of the rotation, from 0 to 2^32 - 1; None means the network's own, which is 1.
    axes : str
        How the layers' outputs are read, a letter a dim (n images, u units, h rows, w columns, t tokens, 1 for a dim of
        length one), as the user says; empty where it is shown by the network itself.
    tokens : str
        With ``axes``, the first and one past the last token of the grid, as ``FIRST:LAST``; empty means all.
    grid : tuple of int or None
        With ``axes``, rows and columns that the tokens fill; None means a grid of the image's proportions.
    batch_size, threads, spool
        How the run is carried out; counts of the same activations do not depend on them.
    """

    model: str = "scenesnet"
    weights: str = "default"
    layers: tuple[str, ...] = ()
    data: str = "scenes"
    preset: str = "netdissect"
    knobs: Knobs = field(default_factory=Knobs)
    min_images: int | None = None
    categories: tuple[str, ...] = ()
    split: str = ""
    limit: int | None = None
    seed: int = 0
    size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    scale: float | None = None
    top_images: int = 5
    device: str = "cpu"
    precision: Precision = "float32"
    rotate: float | None = None
    rotate_seed: int | None = None
    axes: str = ""
    tokens: str = ""
    grid: tuple[int, int] | None = None
    batch_size: int = 32
    threads: int = 1
    spool: SpoolKind = "auto"

    def __post_init__(self) -> None:
        for name in ("model", "weights", "data", "device"):
            object.__setattr__(self, name, str(getattr(self, name)))  # a Path will do, and a torch.device
        for name in ("layers", "categories"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise SettingsError(f"{name} is the text {value!r}; use a tuple of names.")
            object.__setattr__(self, name, tuple(value))
        check_quantile(self.knobs.quantile)
        if not re.fullmatch(r"cpu|cuda(:(0|[1-9][0-9]?))?", self.device):
            raise SettingsError(f"device is {self.device!r}; use cpu, cuda or cuda:N.")
        for name, value, allowed in (
            ("preset", self.preset, tuple(PRESETS)),
            ("geometry", self.knobs.geometry, GEOMETRIES),
            ("overlap", self.knobs.overlap, OVERLAPS),
            ("area", self.knobs.area, AREAS),
            ("detector", self.knobs.detector, COMPARISONS),
            ("precision", self.precision, PRECISIONS),
            ("spool", self.spool, SPOOLS),
            ("channels", self.channels, (None, "rgb", "bgr")),
        ):
            if value not in allowed:
                raise SettingsError(f"{name} is {value!r}; use one of {', '.join(map(str, allowed))}.")
        for name, number, least in (
            ("min_images", self.min_images, 0),
            ("limit", self.limit, 1),
            ("batch_size", self.batch_size, 1),
            ("threads", self.threads, 1),
            ("top_images", self.top_images, 1),
        ):
            if number is not None and number < least:
                raise SettingsError(f"{name} is {_short(number)}; use {least} or more.")
            if number is not None and number > MOST:
                raise SettingsError(f"{name} is {_short(number)}; use {MOST} at most.")
        if not SEEDS[0] <= self.seed <= SEEDS[1]:
            raise SettingsError(f"seed is {_short(self.seed)}; use a whole number from {SEEDS[0]} to {SEEDS[1]}.")
        for name, values, positive in (("mean", self.mean, False), ("std", self.std, True)):
            if values is not None and not all(math.isfinite(v) and (v > 0 or not positive) for v in values):
                kind = "positive numbers" if positive else "finite numbers"
                raise SettingsError(
                    f"{name} is {','.join(f'{v:g}' for v in values)}; use {kind}, one for each channel."
                )
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise SettingsError(f"scale is {self.scale:g}; use the value of a white pixel, such as 1 or 255.")
        if not 0 <= self.knobs.iou_threshold <= 1:
            raise SettingsError(f"iou_threshold is {self.knobs.iou_threshold}; use a number from 0 to 1.")
        if self.size is not None and min(self.size) < 1:
            raise SettingsError(f"size is {self.size[0]}x{self.size[1]}; use positive pixels.")
        if self.size is not None and max(self.size) > MOST:
            raise SettingsError(f"size is {'x'.join(map(_short, self.size))}; use {MOST} pixels at most.")
        check_layout(self.axes, self.tokens, self.grid)
        if self.rotate is not None:
            # Beyond 1 there is nothing to see: the rotation itself is as far from the units as any.
            if not (math.isfinite(self.rotate) and 0 <= self.rotate <= 1):
                raise SettingsError(f"rotate is {self.rotate}; use a number from 0 to 1.")
            object.__setattr__(self, "rotate", float(self.rotate) + 0.0)  # -0 is 0
        if self.rotate_seed is not None and not 0 <= self.rotate_seed < 2**32:
            raise SettingsError(f"rotate_seed is {_short(self.rotate_seed)}; use a whole number from 0 to {2**32 - 1}.")

    def rotation(self, own: tuple[float | None, int | None] = (None, None)) -> tuple[float, int]:
        """The power and the seed in force.

        Parameters
        ----------
        own : tuple of float or None, int or None
            The network's own, None where it has none.

        Raises
        ------
        SettingsError
            If there is a seed and nothing to rotate.
        """
        alpha, seed = _rotation((self.rotate, self.rotate_seed), own)
        if self.rotate is None and self.rotate_seed is not None and not alpha:
            raise SettingsError(f"rotate_seed is {self.rotate_seed} and nothing is rotated; use it with --rotate.")
        return alpha, seed

    def differences(self, other: dict[str, Any], provenance: dict[str, Any] | None = None) -> list[str]:
        """Names of the settings in which this run differs from a recorded one, those of how it ran aside.

        Parameters
        ----------
        other : dict
            Settings as :meth:`record` gave them.
        provenance : dict, optional
            That of the result with these settings, which knows the network's own rotation.

        Returns
        -------
        list of str
            Dotted names, sorted; empty when both runs compute the same.
        """
        own = own_rotation(provenance or {})
        # One GPU is as good as another; a result of before there was a choice is a CPU's.
        mine, theirs = (
            _flat(
                {
                    **record,
                    "device": record.get("device", "cpu").split(":")[0],
                    "precision": precision_of(record),
                    **{name: record.get(name) or None for name in ("axes", "tokens", "grid")},
                    **_decisive(*_rotation((record.get("rotate"), record.get("rotate_seed")), own)),
                }
            )
            for record in (self.record(), other)
        )
        names = set(mine) | set(theirs)
        return sorted(n for n in names if mine.get(n) != theirs.get(n) and n not in HOW) + (
            ["spool"]
            if "dense" in (mine["spool"], theirs.get("spool")) and mine["spool"] != theirs.get("spool")
            else []
        )

    def record(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {k: _plain(v) for k, v in asdict(self).items()}


def knobs_of(preset: str, **changes: Any) -> Knobs:
    """The knobs of a preset with those that are given (not None) changed.

    Raises
    ------
    SettingsError
        If the preset is unknown.
    """
    if preset not in PRESETS:
        raise SettingsError(f"preset is {preset!r}; use one of {', '.join(PRESETS)}.")
    return replace(PRESETS[preset], **{k: v for k, v in changes.items() if v is not None})


def preset_label(record: dict[str, Any]) -> str:
    """The preset of recorded settings, and the knobs that were set against it: ``paper, overlap twice``."""
    usual = asdict(PRESETS[record["preset"]])
    changed = [f"{name.replace('_', ' ')} {value}" for name, value in record["knobs"].items() if value != usual[name]]
    return ", ".join([record["preset"], *changed])


def precision_of(record: dict[str, Any]) -> str:
    """The precision of recorded settings; those of before there was a choice are float32."""
    return str(record.get("precision", "float32"))


def own_rotation(provenance: dict[str, Any]) -> tuple[float | None, int | None]:
    """The power and the seed of the rotation of a result's network, None where it has none of its own."""
    found = provenance.get("model") or {}
    return found.get("rotate"), found.get("rotate_seed")


def rotation_of(provenance: dict[str, Any]) -> tuple[float, int]:
    """The power and the seed of the rotation that a result was made with; without a record of one, none."""
    found = provenance.get("rotation") or {}
    return float(found.get("power", 0.0)), int(found.get("seed", 1))


def rotation_label(provenance: dict[str, Any]) -> str:
    """The rotation of a result, as in ``0.6`` or ``0.6, seed 7``; empty where nothing was rotated."""
    alpha, seed = rotation_of(provenance)
    return ", ".join([f"{alpha:g}", *([f"seed {seed}"] if seed != 1 else [])]) if alpha else ""


def check_layout(axes: str, tokens: str, grid: tuple[int, int] | None) -> None:
    """Refuse what does not say how an output is read.

    Raises
    ------
    SettingsError
    """
    if axes and "".join(sorted(axes.replace("1", ""))) not in ("nu", "hnuw", "ntu"):
        raise SettingsError(
            f"axes is {axes!r}; give one letter a dim in the order of the layer's output: n images, u units, and h "
            "rows with w columns or t tokens, such as nuhw, nhwu or ntu (1 for a dim of length one)."
        )
    if (tokens or grid) and "t" not in axes:
        raise SettingsError(
            "tokens and grid say which tokens make up a map; use them with axes that have t, such as ntu."
        )
    if tokens and not re.fullmatch(r"(-?[0-9]{1,9})?:(-?[0-9]{1,9})?", tokens):
        raise SettingsError(f"tokens is {tokens!r}; use FIRST:LAST, such as 1: or 0:196 (LAST is not taken itself).")
    if grid is not None and min(grid) < 1:
        raise SettingsError(f"grid is {grid[0]}x{grid[1]}; use positive numbers of rows and columns.")


def check_quantile(text: str) -> Decimal:
    """The quantile as an exact decimal.

    Raises
    ------
    SettingsError
        If it is no decimal number strictly between 0 and 1.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise SettingsError(f"quantile is {text!r}; use a decimal number between 0 and 1, such as 0.005.") from None
    if not (value.is_finite() and 0 < value < 1):
        raise SettingsError(f"quantile is {text}; use a decimal number between 0 and 1, such as 0.005.")
    return value


def _rotation(asked: tuple[float | None, int | None], own: tuple[float | None, int | None]) -> tuple[float, int]:
    alpha, seed = (a if a is not None else o for a, o in zip(asked, own, strict=True))
    return float(alpha or 0.0), 1 if seed is None else int(seed)


def _decisive(alpha: float, seed: int) -> dict[str, Any]:
    """What of a rotation decides the numbers: without one, no seed does."""
    return {"rotate": alpha, "rotate_seed": seed if alpha else None}


def _short(number: int) -> str:
    """A whole number for a sentence; Python writes none of more than 4,300 digits."""
    return str(number) if number.bit_length() < 200 else f"a number of {number.bit_length():,} bits"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out
