"""A row of the benchmark to a network with its weights."""

from __future__ import annotations

import re
from pathlib import Path

from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.preprocess import Preprocessing
from ndengine.models.source import Asked, Built
from ndengine.models.weights import State, read_weights
from ndengine.models.zoo.fetch import get_weights, has_weights
from ndengine.models.zoo.row import Row
from ndengine.progress import Progress

NUMBERED = re.compile(r"(features|classifier)\.([0-9]+)\.(\w+)")  # names of PyTorch's AlexNets and VGGs


def build_row(row: Row, asked: Asked, origin: str, seed: int, cache: Path, progress: Progress) -> Built:
    """The network of a row, and the weights that are to be fitted to it.

    Parameters
    ----------
    row : Row
    asked : Asked
        What was asked for as weights: by default, the row's own from the cache folder or from where they are
        published.
    origin : str
        What was asked for, for people.
    seed : int
        Seed of random weights, which a row that was never trained has by default.
    cache : Path
        The cache folder.
    progress : Progress
        Told of downloads.

    Raises
    ------
    ModelError
        If the weights are not to be had, or damaged.
    """
    draws = asked.text == "random" or (asked.text == "default" and row.is_random and not has_weights(row, cache))
    state, sha256 = None, ""
    if asked.text == "default" and not draws:
        found = get_weights(row, cache, progress)
        network = build_network(row.definition(), random=False, source=row.name)
        state, sha256 = name_by_position(read_weights(found.weights), network), found.sha256
        origin = str(found.weights)
    else:
        network = build_network(row.definition(), random=draws, source=row.name)
        if draws:
            origin = f"random, seed {seed}"
        if asked.state is not None:
            state = name_by_position(asked.state, network)
    return Built(
        network,
        origin,
        sha256,
        Preprocessing(row.mean, channels="bgr", scale=255.0),
        row.layers[-1:],
        (row.size, row.size),
        fixed_size=True,
        state=state,
        rotate=row.rotate,
        rotate_seed=row.rotate_seed,
    )


def name_by_position(state: State, network: CaffeNetwork) -> State:
    """Tensors of a PyTorch conversion by the names that they have in the network.

    Its names count all layers in turn: ``features.4.weight`` is that of the fifth, and ``classifier.0.weight`` that
    of the first fully connected one.
    """
    found = {key: NUMBERED.fullmatch(key) for key in state}
    layers = network.definition.layers
    dense = next((place for place, layer in enumerate(layers) if layer.kind == "InnerProduct"), len(layers))
    begin = {"features": 0, "classifier": dense}
    renamed: State = {}
    for key, match in found.items():
        if match is None:
            return state
        place = begin[match[1]] + int(match[2])
        path = network.paths.get(layers[place].name) if place < len(layers) else None
        renamed[f"{path}.{match[3]}" if path else key] = state[key]
    return renamed
