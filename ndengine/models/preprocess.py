"""From pixels to a network's input: ``x = (pixel / 255 · scale - mean) / std``, and images in another size.

A network of one channel gets the mean of the three that a colour network would get, each with its own mean and std.
With one mean and one std for all three that is the grey value ``(r + g + b) / 3``, prepared by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ndengine.errors import SettingsError
from ndkernels.pixels import look_up_pixels

Triple = tuple[float, float, float]
CHANNELS = ("rgb", "bgr", "grey")


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input.

    Attributes
    ----------
    mean, std : tuple of float
        One a channel, in the order of ``channels`` (red, green, blue for ``grey``) and in units of ``scale``.
    channels : str
        ``rgb`` or ``bgr``: the order in which the network takes the colours; ``grey`` for one that takes their mean.
    scale : float
        The value that a white pixel has before the mean is taken off.
    given : tuple of str
        Which of ``mean``, ``std``, ``channels`` and ``scale`` were asked for; the others are the network's
        own.
    note : str
        What had to be assumed about the network, as one sentence; empty where nothing was.
    """

    mean: Triple
    std: Triple = (1.0, 1.0, 1.0)
    channels: str = "rgb"
    scale: float = 1.0
    given: tuple[str, ...] = ()
    note: str = ""

    @property
    def order(self) -> tuple[int, int, int]:
        """For each channel of the network's input, its place in an RGB pixel."""
        return (2, 1, 0) if self.channels == "bgr" else (0, 1, 2)

    def table(self) -> np.ndarray:
        """The input for every pixel value.

        Returns
        -------
        ndarray
            ``[3, 256]`` float32, channels in the order of ``channels``; computed in float64 and rounded once.
        """
        return self._table().astype(np.float32)

    def _table(self) -> np.ndarray:
        pixels = np.arange(256, dtype=np.float64)
        mean, std = (np.array(values, np.float64)[:, None] for values in (self.mean, self.std))
        table: np.ndarray = (pixels / 255 * self.scale - mean) / std
        return table

    def grey_table(self) -> np.ndarray:
        """The three channels whose mean a grey network gets, for every pixel value: ``[3, 256]`` float64."""
        return self._table()

    def record(self) -> dict[str, Any]:
        """The preprocessing as plain JSON values."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
            "scale": self.scale,
            "given": list(self.given),
            "note": self.note,
        }


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ASSUMED = replace(
    IMAGENET,
    note="The network does not say how its images were prepared: torchvision's ImageNet mean and std were assumed; "
    "give --mean, --std, --channels and --scale if it was trained otherwise.",
)


def resolve_preprocessing(
    own: Preprocessing,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels: str | None = None,
    scale: float | None = None,
    *,
    inputs: int = 3,
) -> Preprocessing:
    """What the network's own preprocessing becomes with the parts that are asked for.

    With ``mean``, nothing of the network's own mean and std is left: ``std`` is 1 unless it is given. Without
    it, the network's own values are kept, in the order and the units that are asked for. ``channels`` and
    ``scale`` are the network's own unless given.

    Parameters
    ----------
    own : Preprocessing
        The network's.
    mean, std : sequence of float, optional
        Three values, in the order of ``channels`` and in units of ``scale``; for ``grey`` one will do.
    channels : str, optional
        ``rgb``, ``bgr`` or ``grey``.
    scale : float, optional
        The value of a white pixel: 1 and 255 are customary.
    inputs : int
        Channels that the network takes; one makes ``channels`` grey.

    Raises
    ------
    SettingsError
        If there are not three values, one is no number, a std is not positive, the mean lies above the scale,
        or a scale is given without a mean: alone it would change the units and nothing else.
    """
    parts = {"mean": mean, "std": std, "channels": channels, "scale": scale}
    given = tuple(name for name, part in parts.items() if part is not None)
    channels = ("grey" if inputs == 1 else own.channels) if channels is None else channels
    if channels not in CHANNELS:
        raise SettingsError(f"channels is {channels!r}; use one of {', '.join(CHANNELS)}.")
    is_grey = channels == "grey"
    if scale is None:
        scale = own.scale
    elif not (isfinite(scale) and scale > 0):
        raise SettingsError(f"scale is {scale:g}; use the value of a white pixel, such as 1 or 255.")
    elif mean is None and scale != own.scale:
        raise SettingsError(
            f"scale {scale:g} is given without a mean in its units; give --mean too (0,0,0 takes nothing off)."
        )
    if mean is not None:
        means = _triple("mean", mean, is_grey)
        if max(means) > scale:
            raise SettingsError(
                f"mean {_text(means)} lies above white, which is {scale:g}; give --scale too (255 for such a mean)."
            )
        deviations: Triple = (1.0, 1.0, 1.0)
    else:
        is_turned = (channels == "bgr") != (own.channels == "bgr")
        means, deviations = (v[::-1] if is_turned else v for v in (own.mean, own.std))
    if std is not None:
        deviations = _triple("std", std, is_grey)
        if min(deviations) <= 0:
            raise SettingsError(f"std is {_text(deviations)}; it divides, so use positive values.")
    note = "" if mean is not None else own.note
    return Preprocessing(means, deviations, channels, float(scale), given, note)


def resize_images(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whole images in another size, by Pillow's bilinear filter; the proportions are not kept.

    Parameters
    ----------
    images : ndarray
        ``[B, ih, iw, 3]`` uint8.
    size : tuple of int
        Rows h and columns w.

    Returns
    -------
    ndarray
        ``[B, h, w, 3]`` uint8; the images themselves where they have that size.
    """
    if images.shape[1:3] == tuple(size):
        return images
    resized = np.empty((len(images), *size, 3), np.uint8)
    for image, out in zip(images, resized, strict=True):
        out[:] = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    return resized


def make_batch(
    images: np.ndarray,
    preprocessing: Preprocessing,
    table: np.ndarray | None = None,
    *,
    device: torch.device,
    threads: int,
) -> Tensor:
    """A network's input.

    Parameters
    ----------
    images : ndarray
        ``[B, h, w, 3]`` uint8, in the network's size.
    preprocessing : Preprocessing
        How a pixel becomes a number.
    table : ndarray, optional
        Its table, where it is at hand.
    device : torch.device
        Where the batch is wanted.
    threads : int
        Threads, on a CPU.

    Returns
    -------
    Tensor
        ``[B, 3, h, w]`` float32 in channels-last order; for a grey network ``[B, 1, h, w]``, the channels' mean
        computed in float64 and rounded once.
    """
    if preprocessing.channels != "grey":
        table = preprocessing.table() if table is None else table
        return look_up_pixels(images, table, preprocessing.order, device=device, threads=threads)
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    red, green, blue = torch.from_numpy(preprocessing.grey_table()).to(device)
    total = red[pixels[..., 0].int()] + green[pixels[..., 1].int()] + blue[pixels[..., 2].int()]
    # By a tensor: a GPU would multiply by the reciprocal of a number.
    mean: Tensor = total / torch.full((), 3.0, dtype=torch.float64, device=device)
    return mean.float()[:, None]


def _triple(name: str, values: Sequence[float], is_grey: bool) -> Triple:
    if is_grey and len(values) == 1:
        values = [*values] * 3
    if len(values) != 3 and is_grey:
        raise SettingsError(f"{name} has {len(values)} values; give one, or three, separated by commas.")
    if len(values) != 3:
        raise SettingsError(f"{name} has {len(values)} values; give three, one a channel, separated by commas.")
    if not all(map(isfinite, values)):
        raise SettingsError(f"{name} is {_text(values)}; use finite numbers.")
    first, second, third = map(float, values)
    return first, second, third


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
