"""Networks from a prototxt: ``--model net.prototxt --weights net.caffemodel``."""

from __future__ import annotations

from pathlib import Path

from ndengine.errors import ModelError
from ndengine.models.caffe.network import build_network
from ndengine.models.caffe.options import short
from ndengine.models.caffe.prototxt import SUFFIXES, Prototxt, read_prototxt
from ndengine.models.download import hash_file
from ndengine.models.preprocess import Preprocessing
from ndengine.models.source import Asked, Built

SAME = 0.01  # of 255: means are written with two digits, too
MEAN_BGR = (109.5388, 118.6897, 124.6901)  # of the network dissections of 2017
_UNSAID = "The prototxt does not say which mean was taken off the images"
_UNREAD = "The prototxt names {} for the mean that was taken off the images, and that file is not read"
_ASSUMED = (
    "that of the dissections of 2017 was assumed (blue 109.5388, green 118.6897, red 124.6901, of 255); give --mean, "
    "--channels and --scale if it was another."
)


def is_prototxt(model: str) -> bool:
    """Whether ``--model`` names a prototxt."""
    return model.lower().endswith(SUFFIXES)


def build_prototxt(model: str, asked: Asked) -> Built:
    """The network of a prototxt, which gets images of the size that is written there.

    Parameters
    ----------
    model : str
        The file.
    asked : Asked
        Its weights: a file, which is yet to be fitted, ``random`` or ``none``.

    Raises
    ------
    ModelError
        If the file can't be read or describes no network that can run, or ``default`` weights are asked for.
    """
    if asked.text == "default":
        raise ModelError(f"{model} has no weights of its own; give --weights FILE.caffemodel, or --weights random.")
    prototxt = read_prototxt(Path(model))
    network = build_network(prototxt.definition, random=asked.text == "random", source=model)
    layer = network.default_layer()
    return Built(
        network,
        asked.text,
        preprocessing=_preprocessing(prototxt),
        default_layers=(layer,) if layer else (),
        size=network.size,
        fixed_size=True,
        file_sha256=hash_file(Path(model)),
    )


def _preprocessing(prototxt: Prototxt) -> Preprocessing:
    """Pixels of 0 to 255 in Caffe's order of colours, less their mean, times a factor as a rule 1."""
    deviation = (1 / prototxt.factor,) * 3
    if not prototxt.mean:
        why = _UNREAD.format(short(prototxt.mean_file)) if prototxt.mean_file else _UNSAID
        return Preprocessing(MEAN_BGR, deviation, "bgr", 255.0, note=f"{why}: {_ASSUMED}")
    return Preprocessing(_of_channels(prototxt.mean), deviation, "bgr", 255.0)


def _of_channels(mean: tuple[float, ...]) -> tuple[float, float, float]:
    """A mean of three channels; one that is given once is that of each."""
    blue, green, red = mean * 3 if len(mean) == 1 else mean
    return blue, green, red


def other_mean(prototxt: Prototxt, name: str, mean: tuple[float, float, float]) -> str:
    """A note that a prototxt beside a row's weights says of the images something else than the row, which counts."""
    says = []
    if prototxt.mean:
        own = _of_channels(prototxt.mean)
        if any(abs(a - b) > SAME for a, b in zip(own, mean, strict=True)):
            says.append("another mean (" + ", ".join(f"{value:g}" for value in own) + ")")
    elif prototxt.mean_file:
        says.append(f"a file with the mean ({short(prototxt.mean_file)})")
    if prototxt.factor != 1:
        says.append(f"a factor ({prototxt.factor:g})")
    if not says:
        return ""
    kept = ", ".join(f"{value:g}" for value in mean)
    return (
        f"The prototxt beside the weights names {' and '.join(says)} for the images; those of {name} are kept ({kept}, "
        "without a factor): give --mean and --std for others."
    )
