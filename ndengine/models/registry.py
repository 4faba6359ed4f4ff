"""Names to networks: what ``--model`` and ``--weights`` stand for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ndengine.errors import ModelError
from ndengine.models import scenesnet
from ndengine.models.aliases import layer_aliases
from ndengine.models.download import download, hash_file, is_intact
from ndengine.models.factory import build_from_factory
from ndengine.models.layers import Layer, resolve_layers
from ndengine.models.preprocess import ASSUMED, Preprocessing
from ndengine.models.torchvision_import import torchvision_models
from ndengine.models.trace import trace_model
from ndengine.models.weights import State, fit_weights, hash_state, read_weights
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
    layers : tuple of Layer
        The layers that were asked for, or the default ones.
    """

    module: nn.Module
    name: str
    weights: str
    weights_sha256: str
    preprocessing: Preprocessing
    default_layers: tuple[str, ...]
    size: tuple[int, int] | None
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class _Built:
    """A network as its source gives it."""

    module: nn.Module
    weights: str
    sha256: str = ""
    preprocessing: Preprocessing = ASSUMED
    default_layers: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


def load_model(
    model: str,
    weights: str = "default",
    seed: int = 0,
    *,
    layers: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    cache: Path,
    progress: Progress = SILENT,
) -> LoadedModel:
    """Build a network, give it its weights and find its layers.

    Parameters
    ----------
    model : str
        A torchvision name, ``scenesnet``, ``timm:NAME``, ``package.module:factory`` or ``file.py:factory``.
    weights : str
        ``default`` (the published ones; as the factory returns them), ``random``, or a file.
    seed : int
        Seed of random weights, and of whatever a factory draws; torch's own generator is left alone.
    layers : sequence of str
        Layers as :func:`ndengine.models.layers.resolve_layers` takes them; empty for the network's default ones. A
        weights file must fit up to the deepest of them, and everywhere where there are none.
    size : tuple of int, optional
        Rows and columns of the input; the network's own, or 224x224, where it is not given.
    cache : Path
        The folder in which downloads are kept.
    progress : Progress
        Told of downloads.

    Raises
    ------
    ModelError
        If the model or a layer is unknown, a factory fails, or the weights are missing, damaged or another network's.
    """
    state = None if weights in ("default", "random") else read_weights(Path(weights))
    built = _build(model, weights, seed, cache, progress)
    module = built.module
    size = size or built.size or USUAL_SIZE
    trace = trace_model(module, size)
    found = resolve_layers(module, layers or built.default_layers, model, size, trace)
    sha256 = built.sha256
    if state is not None:
        fit_weights(module, state, trace, [layer.path for layer in found], model_name=model, source=weights)
        sha256 = hash_file(Path(weights))
    return LoadedModel(
        module,
        model,
        built.weights,
        sha256 or hash_state(module),
        built.preprocessing,
        built.default_layers,
        built.size,
        tuple(found),
    )


def load_architecture(model: str) -> tuple[nn.Module, tuple[int, int] | None]:
    """A network with whatever weights cost no download, and the input size that it was made for."""
    is_factory = ":" in model and not model.startswith("timm:")
    built = _build(model, "default" if is_factory else "random", 0, Path(), SILENT)
    return built.module, built.size


def _build(model: str, weights: str, seed: int, cache: Path, progress: Progress) -> _Built:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        built = _build_anew(model, weights, seed, cache, progress)
    built.module.cpu().float().eval().requires_grad_(False)
    return built


def _build_anew(model: str, weights: str, seed: int, cache: Path, progress: Progress) -> _Built:
    origin = f"random, seed {seed}" if weights == "random" else weights
    if model == "scenesnet":
        return _Built(
            scenesnet.scenesnet(weights=weights == "default"),
            "ScenesNet's own" if weights == "default" else origin,
            preprocessing=Preprocessing(**scenesnet.PREPROCESSING),
            default_layers=(scenesnet.DEFAULT_LAYER,),
            size=scenesnet.INPUT_SIZE,
        )
    if model.startswith("timm:"):
        return _build_timm(model, weights, origin)
    if ":" in model:
        if weights == "random":
            raise ModelError(f"{model} decides on its own weights; give it a factory that draws random ones.")
        return _Built(
            build_from_factory(model), "as the factory returns them" if weights == "default" else origin
        )
    models = torchvision_models()
    names = [name for name in models.list_models() if not name.startswith("quantized_")]
    if model not in names:
        raise ModelError(_unknown(model, [*names, "scenesnet"]))
    return _build_torchvision(models, model, weights, origin, cache, progress)


def _unknown(model: str, names: list[str]) -> str:
    close = get_close_matches(model, names, 4, 0.5)
    hint = f"close names are {', '.join(close)}" if close else "no name comes close"
    own = f"{model}:FACTORY" if model.endswith(".py") else "file.py:FACTORY or package.module:FACTORY"
    return f"There is no model {model!r}: {hint}; a network of your own is given as {own}."


def _build_torchvision(
    models: ModuleType, name: str, weights: str, origin: str, cache: Path, progress: Progress
) -> _Built:
    builder = models.get_model_builder(name)
    published = next(iter(models.get_model_weights(name)), None) and models.get_model_weights(name).DEFAULT
    prepared = published.transforms() if published else None
    if weights == "default":
        if published is None:
            raise ModelError(f"torchvision has no weights for {name}; use --weights random or a file.")
        path, sha256 = _fetch(published.url, cache, progress)
        with _state_dict_of(published, read_weights(path)):
            module = builder(weights=published)
        own = _preprocessing_of(prepared)
        return _Built(
            module, f"torchvision {published}", sha256, own, _defaults(module), _size(module, prepared)
        )
    arguments: dict[str, Any] = {"weights": None}
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None  # else torchvision would fetch them
    if name.startswith(("vgg", "googlenet", "inception")):
        arguments["init_weights"] = (
            weights == "random"
        )  # slow, and lost on a network that gets a file's weights
    module = builder(**arguments)
    return _Built(module, origin, "", ASSUMED, _defaults(module), _size(module, prepared))


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
    mean, std = getattr(transforms, "mean", None), getattr(transforms, "std", None)
    if mean is None or std is None or len(mean) != 3 or len(std) != 3:
        return ASSUMED
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
    others = ("trunk_output", "encoder", "blocks.3", "backbone.layer4", "backbone")
    return next(((name,) for name in (*usual, *others) if name in names), ())


def _build_timm(model: str, weights: str, origin: str) -> _Built:
    name = model.removeprefix("timm:")
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        raise ModelError(
            f"{model} needs the package timm, which can't be imported ({error}): pip install timm."
        ) from error
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), 4, 0.5)
        raise ModelError(
            f"timm has no model {name!r}{': close names are ' + ', '.join(close) if close else ''}."
        )
    try:
        module = timm.create_model(name, pretrained=weights == "default")
    except Exception as error:  # timm's downloads fail in the ways of several libraries
        raise ModelError(f"{model} can't be built: {error}; use --weights random or a file.") from error
    config = timm.data.resolve_model_data_config(module)
    mean, std, size = config["mean"], config["std"], config["input_size"]
    own = Preprocessing(tuple(map(float, mean)), tuple(map(float, std)))  # type: ignore[arg-type]
    origin = f"timm's for {name}" if weights == "default" else origin
    return _Built(module, origin, "", own, size=(size[1], size[2]))
