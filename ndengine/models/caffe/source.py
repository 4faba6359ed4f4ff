"""Networks from a prototxt: ``--model net.prototxt --weights net.caffemodel``."""

from __future__ import annotations

from pathlib import Path

from ndengine.errors import ModelError
from ndengine.models.caffe.network import build_network
from ndengine.models.caffe.prototxt import SUFFIXES, Prototxt, read_prototxt
from ndengine.models.download import hash_file
from ndengine.models.preprocess import Preprocessing
from ndengine.models.source import Asked, Built

MEAN_BGR = (109.5388, 118.6897, 124.6901)  # of the network dissections of 2017
_UNSAID = (
    "The prototxt does not say which mean was taken off the images: that of the dissections of 2017 was assumed (blue "
    "109.5388, green 118.6897, red 124.6901, of 255); give --mean, --channels and --scale if it was another."
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
        return Preprocessing(MEAN_BGR, deviation, "bgr", 255.0, note=_UNSAID)
    blue, green, red = prototxt.mean * 3 if len(prototxt.mean) == 1 else prototxt.mean
    return Preprocessing((blue, green, red), deviation, "bgr", 255.0)
