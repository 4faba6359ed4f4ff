"""Networks: how to get them, which layers they have, what their units see.

- :mod:`ndengine.models.registry`: names and weights to a network; ``load_model``
- :mod:`ndengine.models.layers`: names and patterns to layers, outputs to maps; ``resolve_layers``,
  ``layer_maps``
- :mod:`ndengine.models.trace`: one forward pass; receptive fields with ``field_map``
- :mod:`ndengine.models.zoo`: the networks of the benchmark of 2017; ``rows``, ``find_row``
- :mod:`ndengine.models.preprocess`: pixels to input; ``Preprocessing``, ``resolve_preprocessing``
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def list_layers(model: str, size: tuple[int, int] | None = None, *, cache: Path | None = None) -> list[dict[str, Any]]:
    """Every layer of a model that can be dissected; nothing is downloaded, for shapes need no weights.

    Parameters
    ----------
    model : str
        As :func:`ndengine.models.registry.load_model` takes it.
    size : tuple of int, optional
        Rows and columns of the input; the network's own, or 224x224, where it is not given.
    cache : Path, optional
        Folder in which weights are kept. Those of a network of the benchmark that lie there decide what its layers
        are called.

    Returns
    -------
    list of dict
        In the order in which they finish: ``layer``, ``alias``, ``kind``, ``shape`` [U, h, w], ``field``,
        which is [offset, size, stride] of rows and of columns in input pixels, or None where it is not known,
        ``calls`` (how often it runs), ``axes`` (a letter a dim of its output) and ``tokens`` (the stretches taken).

    Raises
    ------
    ModelError
        If the model is unknown or has no layers at this size.
    """
    return list_layers_and_missing(model, size, cache=cache)[0]


def list_layers_and_missing(
    model: str, size: tuple[int, int] | None = None, *, cache: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The list of :func:`list_layers`, and what is not in it as it can't be computed: names, each with the reason.

    Those are layers of a Caffe network whose types are not supported, and the layers and blobs that depend on them;
    other networks have none.
    """
    return survey_model(model, size, cache=cache)[:2]


def survey_model(
    model: str, size: tuple[int, int] | None = None, *, cache: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, str]]:
    """The lists of :func:`list_layers_and_missing`, and outputs that are not shown to be maps, with reasons."""
    from ndengine.models.aliases import missing_layers
    from ndengine.models.layers import survey_layers
    from ndengine.models.registry import USUAL_SIZE, load_architecture

    module, own = load_architecture(model, cache)
    rows, refused = survey_layers(module, size or own or USUAL_SIZE, model)
    return [row.record() for row in rows], dict(missing_layers(module)), refused
