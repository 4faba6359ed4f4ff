"""A row of the benchmark to a network with its weights."""

from __future__ import annotations

import re
from pathlib import Path

from ndengine.errors import ModelError
from ndengine.models.caffe.caffemodel import SUFFIX, Blobs, read_caffemodel
from ndengine.models.caffe.definition import CaffeDefinition, path_of
from ndengine.models.caffe.network import CaffeNetwork, build_network
from ndengine.models.caffe.options import short
from ndengine.models.caffe.prototxt import Prototxt, read_prototxt
from ndengine.models.caffe.source import other_mean
from ndengine.models.download import hash_file
from ndengine.models.preprocess import Preprocessing
from ndengine.models.source import Asked, Built
from ndengine.models.weights import State, read_weights, strange_layers
from ndengine.models.zoo.fetch import get_weights, has_weights
from ndengine.models.zoo.files import beside
from ndengine.models.zoo.row import Row
from ndengine.progress import Progress

OWN = "ndengine's definition"
NUMBERED = re.compile(r"(features|classifier)\.([0-9]+)\.(\w+)")  # names in PyTorch's AlexNets and VGGs


def build_row(row: Row, asked: Asked, seed: int, cache: Path, progress: Progress) -> Built:
    """The network of a row, and the weights that are to be fitted to it.

    Parameters
    ----------
    row : Row
    asked : Asked
        What was asked for as weights: by default, the row's own from the cache folder or from where they are
        published. A prototxt beside a caffemodel decides what the network is.
    seed : int
        Of random weights, which a row that was never trained has by default.
    cache : Path
        The cache folder.
    progress : Progress
        Told of downloads.

    Raises
    ------
    ModelError
        If the weights are not to be had, or a file is damaged.
    """
    is_default = asked.text == "default"
    draws = asked.text == "random" or (is_default and row.is_random and not has_weights(row, cache))
    if is_default and not draws:
        asked = _own(row, cache, progress)
    at_hand = next((edition for edition in row.editions if edition.find(cache)), None) if asked.text == "none" else None
    source = Path(asked.text) if asked.blobs is not None else at_hand and at_hand.find(cache)
    prototxt = beside(source) if source and source.suffix.lower() == SUFFIX else None
    try:
        said = read_prototxt(prototxt) if prototxt else None
        definition = _define(row, asked, said, at_hand.naming if at_hand else "")
        network = build_network(definition, random=draws, source=str(prototxt or row.name))
    except ModelError as error:
        if prototxt is None:
            raise
        raise ModelError(
            f"{str(error).partition(';')[0].rstrip('.')}; lying beside {source}, it decides what {row.name} is: "
            "correct it, or put it elsewhere."
        ) from None
    state = asked.state and _name(asked.state, network, row, asked.text)
    origin = asked.text
    if asked.blobs is not None:
        state = network.state_of(asked.blobs)
        origin = f"{asked.text} with {prototxt.name if prototxt else OWN}"
        if prototxt is None:
            refuse_strange_layers(asked.blobs, network, row.name, asked.text)
    return Built(
        network,
        f"random, seed {seed}" if draws else origin,
        asked.sha256,
        Preprocessing(row.mean, channels="bgr", scale=255.0, note=_notes(row, network, said)),
        row.layers[-1:],
        network.size,
        fixed_size=True,
        file_sha256=hash_file(prototxt) if prototxt else "",
        state=state,
        rotate=row.rotate,
        rotate_seed=row.rotate_seed,
        listed=str(prototxt or ""),
    )


def _notes(row: Row, network: CaffeNetwork, said: Prototxt | None) -> str:
    """What a prototxt beside a row's weights says of the images that the row does not."""
    if said is None:
        return ""
    (height, width), size = network.size, row.size
    other = (
        f"The prototxt beside the weights takes images of {height}x{width} where {row.name} takes {size}x{size}; the "
        f"prototxt's count: give --size {size} for the others."
        if (height, width) != (size, size)
        else ""
    )
    return " ".join(filter(None, (other_mean(said, row.name, row.mean), other)))


def _own(row: Row, cache: Path, progress: Progress) -> Asked:
    """A row's own weights."""
    found = get_weights(row, cache, progress)
    if found.weights.suffix == SUFFIX:
        return Asked(str(found.weights), blobs=read_caffemodel(found.weights), sha256=found.sha256)
    return Asked(str(found.weights), read_weights(found.weights), sha256=found.sha256)


def _define(row: Row, asked: Asked, said: Prototxt | None, naming: str) -> CaffeDefinition:
    """What a prototxt says, else that one of a row's own definitions whose layers the weights have most of."""
    if said is not None:
        return row.name_layers(said.definition)
    if naming:
        return row.definition(naming)
    definitions = [row.definition(naming) for naming in row.definers]
    names = set(asked.blobs or ()) | {key.rpartition(".")[0].rpartition(".")[2] for key in asked.state or ()}
    return max(definitions, key=lambda d: len(names & {n for layer in d.layers for n in _spellings(layer.name)}))


def _spellings(name: str) -> tuple[str, str]:
    """A layer's name, and as keys of state dicts write it, in which dots part modules."""
    return name, path_of(name)


def _name(state: State, network: CaffeNetwork, row: Row, source: str) -> State:
    """A state dict by the network's names; names by position are known of conversions alone."""
    by_position = next((key for key in state if NUMBERED.fullmatch(key)), "")
    if by_position and not any(edition.is_converted for edition in row.editions):
        raise ModelError(
            f"{source} names its layers by position ({short(by_position)}), as torchvision's networks do, which are "
            f"other ones than {row.name} and get other images; give --model torchvision's name, or --weights a file "
            f"with Caffe's names ({next(iter(network.state_dict()))})."
        )
    return name_by_position(state, network)


def refuse_strange_layers(blobs: Blobs, network: CaffeNetwork, name: str, source: str) -> None:
    """Raise ModelError if a caffemodel has layers on the way that the network lacks."""
    strange = strange_layers(blobs, list(network.paths))
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        named = ", ".join(map(short, strange[:3]))
        raise ModelError(
            f"{source} has layers that {OWN} of {name} lacks ({named}{more}); put its prototxt beside it, under the "
            "same name, or give that as --model."
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
