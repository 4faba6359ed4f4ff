"""Names to networks: what ``--model`` and ``--weights`` stand for."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from ndengine.errors import ModelError
from ndengine.models import scenesnet
from ndengine.models.aliases import layer_aliases
from ndengine.models.arrange import Layout
from ndengine.models.caffe.caffemodel import SUFFIX as CAFFEMODEL
from ndengine.models.caffe.caffemodel import read_caffemodel
from ndengine.models.caffe.network import CaffeNetwork
from ndengine.models.caffe.source import build_prototxt, is_prototxt
from ndengine.models.download import download, expected_digits, hash_file, is_intact
from ndengine.models.factory import build_from_factory
from ndengine.models.layers import Layer, default_layers, resolve_layers
from ndengine.models.preprocess import ASSUMED, Preprocessing
from ndengine.models.proof import prove_layers
from ndengine.models.small.build import build_small
from ndengine.models.small.rows import find_network, network_names
from ndengine.models.source import Asked, Built
from ndengine.models.torchvision_import import torchvision_models
from ndengine.models.weights import State, fit_weights, hash_state, read_weights
from ndengine.models.zoo.build import build_row
from ndengine.models.zoo.rows import find_row, rows
from ndengine.progress import SILENT, Progress

USUAL_SIZE = (224, 224)  # where neither the caller nor the network names one


@dataclass(frozen=True)
class LoadedModel:
    """A network ready to be dissected.

    Attributes
    ----------
    module : nn.Module
        On the CPU, float32, in eval mode, without gradients.
    name : str
        As it was asked for.
    weights : str
        Where its weights come from, for people.
    weights_sha256 : str
        Of the weights file, or of the state dict where there is no file.
    preprocessing : Preprocessing
        The network's own.
    default_layers : tuple of str
        What to dissect where nothing is asked for; empty where that is not known.
    size : tuple of int or None
        Rows and columns of the input that it was made for; None where that is not known.
    input_size : tuple of int
        Those that it gets: its layers were found with them.
    layers : tuple of Layer
        The layers that were asked for, or the default ones.
    file_sha256 : str
        Of the file that defines the network; empty where that is code.
    rotate : float or None
        The power of the rotation that the benchmark puts the network's units through; None for none.
    rotate_seed : int or None
        Seed of that rotation.
    """

    module: nn.Module
    name: str
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing
    default_layers: tuple[str, ...]
    size: tuple[int, int] | None
    input_size: tuple[int, int]
    layers: tuple[Layer, ...]
    file_sha256: str = ""
    rotate: float | None = None
    rotate_seed: int | None = None


def load_model(
    model: str,
    weights: str = "default",
    layers: Sequence[str] = (),
    *,
    size: tuple[int, int] | None = None,
    usual_size: tuple[int, int] | None = None,
    seed: int = 0,
    layout: Layout | None = None,
    cache: Path,
    progress: Progress = SILENT,
) -> LoadedModel:
    """Build a network, give it its weights and find its layers.

    Parameters
    ----------
    model : str
        A torchvision name, ``scenesnet``, a network of the benchmark (:mod:`ndengine.models.zoo.rows`),
        ``timm:NAME``, ``package.module:factory``, ``file.py:factory`` or a Caffe network's ``FILE.prototxt``.
    weights : str
        ``default`` (the published ones; as the factory returns them), ``random``, or a file.
    layers : sequence of str
        Layers as :func:`ndengine.models.layers.resolve_layers` takes them; empty for the network's default
        ones. A weights file must fit up to the deepest of them, and everywhere where there are none.
    size : tuple of int, optional
        Rows and columns of the input that are asked for.
    usual_size : tuple of int, optional
        Those where none are asked for and the network does not insist on its own; without them, its own or
        224x224.
    seed : int
        Seed of random weights, and of whatever a factory draws; torch's own generator is left alone.
    layout : Layout, optional
        How the layers' outputs are read, instead of what the network shows.
    cache : Path
        The folder in which downloads are kept.
    progress : Progress
        Told of downloads, and of what patterns leave out.

    Raises
    ------
    ModelError
        If the model or a layer is unknown, a factory fails, or the weights are missing, damaged or another
        network's.
    """
    asked = _read(weights)
    built = _build(model, asked, seed, cache, progress)
    size = size or (built.size if built.fixed_size else usual_size) or built.size or USUAL_SIZE
    trace = prove_layers(built.module, size)
    usual = built.default_layers or default_layers(built.module, trace)
    found = resolve_layers(
        built.module,
        layers or usual,
        model,
        size,
        trace,
        listed=built.listed,
        layout=layout,
        tell=progress.note,
    )
    state = built.state if built.state is not None or built.sha256 else _state_for(built.module, asked, model)
    if state is not None:
        source = weights if built.state is None else built.weights
        spare = _spare(built.module) if isinstance(built.module, CaffeNetwork) else None
        fit_weights(built.module, state, trace, found, model_name=model, source=source, spare=spare)
    return LoadedModel(
        built.module,
        model,
        built.weights,
        built.sha256 or asked.sha256 or hash_state(built.module),
        built.preprocessing,
        usual,
        built.size,
        size,
        tuple(found),
        built.file_sha256,
        built.rotate,
        built.rotate_seed,
    )


def _spare(network: CaffeNetwork) -> set[str]:
    """Layers that are not built, as keys of state dicts write their names."""
    return {name.replace(".", "_") for name in network.missing}


def load_architecture(model: str, cache: Path | None = None) -> tuple[nn.Module, tuple[int, int] | None]:
    """A network with whatever weights come at no cost, and the input size that it was made for.

    Of a network of the benchmark it is that of the weights in the cache folder, if they are there: files of other
    origins name their layers otherwise.
    """
    is_factory = ":" in model and not model.startswith("timm:")
    built = _build(model, Asked("default" if is_factory else "none"), 0, cache or Path(os.devnull), SILENT)
    return built.module, built.size


def _read(weights: str) -> Asked:
    if weights in ("default", "random"):
        return Asked(weights)
    path = Path(weights)
    if path.suffix.lower() == CAFFEMODEL:
        return Asked(weights, blobs=read_caffemodel(path), sha256=hash_file(path))
    return Asked(weights, read_weights(path), sha256=hash_file(path))


def _state_for(module: nn.Module, asked: Asked, model: str) -> State | None:
    """A file's tensors as the network calls them; None where no file was asked for."""
    if asked.blobs is None:
        return asked.state
    if not isinstance(module, CaffeNetwork):
        raise ModelError(
            f"{asked.text} holds a Caffe network's weights and {model} is none; give --model its prototxt, or "
            "--weights a state dict."
        )
    return module.state_of(asked.blobs)


def _build(model: str, asked: Asked, seed: int, cache: Path, progress: Progress) -> Built:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        built = _build_anew(model, asked, seed, cache, progress)
    built.module.cpu().float().eval().requires_grad_(False)
    return built


def _build_anew(model: str, asked: Asked, seed: int, cache: Path, progress: Progress) -> Built:
    origin = f"random, seed {seed}" if asked.text == "random" else asked.text
    is_default = asked.text == "default"
    if model == "scenesnet":
        return Built(
            scenesnet.scenesnet(weights=is_default),
            "ScenesNet's own" if is_default else origin,
            preprocessing=Preprocessing(**cast(dict[str, Any], scenesnet.PREPROCESSING)),
            default_layers=(scenesnet.DEFAULT_LAYER,),
            size=scenesnet.INPUT_SIZE,
        )
    if find_network(model):
        return build_small(model, asked, origin, cache, progress)
    row = find_row(model)
    if row is not None:
        return build_row(row, asked, seed, cache, progress)
    if is_prototxt(model):
        return replace(build_prototxt(model, asked), weights=origin)
    if model.startswith("timm:"):
        return _build_timm(model, is_default, origin)
    if ":" in model:
        if asked.text == "random":
            raise ModelError(f"{model} decides on its own weights; give it a factory that draws random ones.")
        return Built(build_from_factory(model), "as the factory returns them" if is_default else origin)
    return _build_torchvision(_models_with(model), model, asked, origin, cache, progress)


def check_model(model: str) -> None:
    """Refuse a name that no source knows. Nothing is built; files and factories are not looked at.

    Raises
    ------
    ModelError
        If the model is unknown, or the package that would know it is missing.
    """
    if model == "scenesnet" or find_network(model) or find_row(model) or is_prototxt(model):
        return
    if model.startswith("timm:"):
        _timm_with(model)
    elif ":" not in model:
        _models_with(model)


def _models_with(model: str) -> ModuleType:
    """Torchvision's models, if this is one of them."""
    models = torchvision_models()
    names = [name for name in models.list_models() if not name.startswith("quantized_")]
    if model not in names:
        own = ["scenesnet", *network_names(), *(row.name for row in rows())]
        raise ModelError(_unknown(model, [*names, *own]))
    return models


def _unknown(model: str, names: list[str]) -> str:
    close = get_close_matches(model, names, 4, 0.5)
    hint = f"close names are {', '.join(close)}" if close else "no name comes close"
    own = f"{model}:FACTORY" if model.endswith(".py") else "file.py:FACTORY or package.module:FACTORY"
    return f"There is no model {model!r}: {hint}; a network of your own is given as {own}."


def _build_torchvision(
    models: ModuleType, name: str, asked: Asked, origin: str, cache: Path, progress: Progress
) -> Built:
    builder, editions = models.get_model_builder(name), models.get_model_weights(name)
    best = editions.DEFAULT if len(editions) else None
    edition, state, sha256 = _edition_of(editions, asked.sha256), asked.state, asked.sha256
    if asked.text == "default":
        if best is None:
            raise ModelError(f"torchvision has no weights for {name}; use --weights random or a file.")
        edition = best
        path, sha256 = _fetch(best.url, cache, progress)
        state = read_weights(path)
    if edition is not None and state is not None:
        with _state_dict_of(edition, state):
            module = builder(weights=edition)
        source = f"torchvision {edition}"
        transforms = edition.transforms()
        return Built(
            module, source, sha256, _preprocessing_of(transforms), _defaults(module), _size(module, transforms)
        )
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None  # else torchvision would fetch them
    if name.startswith(("vgg", "googlenet", "inception")):
        arguments["init_weights"] = asked.text == "random"  # slow, and lost on a network that gets a file's weights
    module = builder(**arguments)
    transforms = best.transforms() if best else None
    own = _preprocessing_of(transforms)
    return Built(module, origin, "", ASSUMED if any(own.mean) else own, _defaults(module), _size(module, transforms))


def _edition_of(editions: Any, sha256: str) -> Any:
    """The edition of published weights that a file with this checksum is, whatever it is called; else None."""
    names = {edition: edition.url.rpartition("/")[2] for edition in editions}
    return next((e for e, name in names.items() if sha256 and expected_digits(name) and is_intact(name, sha256)), None)


def _fetch(url: str, cache: Path, progress: Progress) -> tuple[Path, str]:
    """The published file, from where torch itself has put it if it has."""
    theirs = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if theirs.is_file():
        digest = hash_file(theirs)
        if is_intact(theirs.name, digest):
            return theirs, digest
    return download(url, cache / "weights", progress)


@contextmanager
def _state_dict_of(published: Any, state: State) -> Iterator[None]:
    """Let torchvision's builder take these tensors for the published ones: it would fetch and unpickle its own way.

    The builder is still what loads them, for it knows what a network with published weights needs besides.
    """
    vars(published)["get_state_dict"] = lambda *arguments, **named: state
    try:
        yield
    finally:
        del vars(published)["get_state_dict"]


def _preprocessing_of(transforms: Any) -> Preprocessing:
    """What torchvision does before the network; its detectors take a mean off themselves, so nothing does it twice."""
    mean, std = getattr(transforms, "mean", None), getattr(transforms, "std", None)
    if mean is None or std is None:
        return Preprocessing((0.0, 0.0, 0.0)) if transforms else ASSUMED
    return Preprocessing(tuple(map(float, mean)), tuple(map(float, std)))  # type: ignore[arg-type]


def _size(module: nn.Module, transforms: Any) -> tuple[int, int] | None:
    """The input size that a network is tied to, or that its published weights were trained at."""
    tied = getattr(module, "image_size", None)
    if isinstance(tied, int):
        return tied, tied
    crop = getattr(transforms, "crop_size", None)
    return (int(crop[0]), int(crop[-1])) if crop else None


def _defaults(module: nn.Module) -> tuple[str, ...]:
    """The last layer of a torchvision network that still has positions."""
    names = {*layer_aliases(module), *(path for path, _ in module.named_modules())}
    if "fire9" in names:
        return ("features.12",)
    usual = (
        "conv5_4",
        "conv5_3",
        "conv5_2",
        "layer4",
        "inception5b",
        "Mixed_7c",
        "conv5",
        "features",
        "layers",
    )
    others = ("trunk_output", "encoder", "blocks.3", "backbone.layer4")
    return next(((name,) for name in (*usual, *others) if name in names), ())


def _build_timm(model: str, is_default: bool, origin: str) -> Built:
    timm, name = _timm_with(model), model.removeprefix("timm:")
    try:
        module = timm.create_model(name, pretrained=is_default)
    except Exception as error:  # timm's downloads fail in the ways of several libraries
        raise ModelError(f"{model} can't be built: {error}; use --weights random or a file.") from error
    config = timm.data.resolve_model_data_config(module)
    mean, std, size = config["mean"], config["std"], config["input_size"]
    own = Preprocessing(tuple(map(float, mean)), tuple(map(float, std)))  # type: ignore[arg-type]
    origin = f"timm's for {name}" if is_default else origin
    return Built(module, origin, "", own, size=(size[1], size[2]))


def _timm_with(model: str) -> ModuleType:
    """The package timm, if this is one of its models."""
    name = model.removeprefix("timm:")
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"{model} needs the package timm, which can't be imported ({error}): pip install timm."
        ) from error
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), 4, 0.5)
        raise ModelError(f"timm has no model {name!r}{': close names are ' + ', '.join(close) if close else ''}.")
    return timm
