"""From pixels to a network's input: ``x = (pixel / 255 · scale - mean) / std``, and images in another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import numpy as np
from PIL import Image

from ndengine.errors import SettingsError

Triple = tuple[float, float, float]
CHANNELS = ("rgb", "bgr")


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become a network's input.

    Attributes
    ----------
    mean, std : tuple of float
        One a channel, in the order of ``channels`` and in units of ``scale``.
    channels : str
        ``rgb`` or ``bgr``: the order in which the network takes the colours.
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
        return (0, 1, 2) if self.channels == "rgb" else (2, 1, 0)

    def table(self) -> np.ndarray:
        """The input for every pixel value.

        Returns
        -------
        ndarray
            ``[3, 256]`` float32, channels in the order of ``channels``; computed in float64 and rounded once.
        """
        pixels = np.arange(256, dtype=np.float64)
        mean, std = (np.array(values, np.float64)[:, None] for values in (self.mean, self.std))
        return ((pixels / 255 * self.scale - mean) / std).astype(np.float32)

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
        Three values, in the order of ``channels`` and in units of ``scale``.
    channels : str, optional
        ``rgb`` or ``bgr``.
    scale : float, optional
        The value of a white pixel: 1 and 255 are customary.

    Raises
    ------
    SettingsError
        If there are not three values, one is no number, a std is not positive, the mean lies above the scale,
        or a scale is given without a mean: alone it would change the units and nothing else.
    """
    parts = {"mean": mean, "std": std, "channels": channels, "scale": scale}
    given = tuple(name for name, part in parts.items() if part is not None)
    channels = own.channels if channels is None else channels
    if channels not in CHANNELS:
        raise SettingsError(f"channels is {channels!r}; use one of {', '.join(CHANNELS)}.")
    if scale is None:
        scale = own.scale
    elif not (isfinite(scale) and scale > 0):
        raise SettingsError(f"scale is {scale:g}; use the value of a white pixel, such as 1 or 255.")
    elif mean is None and scale != own.scale:
        raise SettingsError(
            f"scale {scale:g} is given without a mean in its units; give --mean too (0,0,0 takes nothing off)."
        )
    if mean is not None:
        means = _triple("mean", mean)
        if max(means) > scale:
            raise SettingsError(
                f"mean {_text(means)} lies above white, which is {scale:g}; give --scale too (255 for such a mean)."
            )
        deviations: Triple = (1.0, 1.0, 1.0)
    else:
        means, deviations = (v if channels == own.channels else v[::-1] for v in (own.mean, own.std))
    if std is not None:
        deviations = _triple("std", std)
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


def _triple(name: str, values: Sequence[float]) -> Triple:
    if len(values) != 3:
        raise SettingsError(f"{name} has {len(values)} values; give three, one a channel, separated by commas.")
    if not all(map(isfinite, values)):
        raise SettingsError(f"{name} is {_text(values)}; use finite numbers.")
    first, second, third = map(float, values)
    return first, second, third


def _text(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
