"""What a run settles before its first forward pass: network, layers, images and every default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ndengine.clock import Clock, peak_memory_bytes
from ndengine.datasets.open import select_images
from ndengine.datasets.packed import PackedDataset
from ndengine.devices import describe_gpu, multiplies_bfloat16
from ndengine.errors import ModelError
from ndengine.models.arrange import Layout
from ndengine.models.layers import Layer
from ndengine.models.preprocess import Preprocessing, resolve_preprocessing
from ndengine.models.registry import LoadedModel, load_model
from ndengine.progress import Progress
from ndengine.provenance import describe_machine
from ndengine.result import Dissection, LayerResult, layer_folders
from ndengine.score import check_categories
from ndengine.settings import Settings
from ndkernels.rotate import MOST_UNITS
from ndkernels.sieve import rank_above

FEW_IMAGES = 10  # the least number of images of a concept on data that was not built with such a rule


@dataclass(frozen=True)
class Run:
    """A run that is ready to begin.

    Attributes
    ----------
    settings : Settings
    dataset : PackedDataset
    indices : ndarray of int64, [N]
        The images of the dataset that are used.
    model : LoadedModel
    homes : list of (Layer, str)
        The layers, each with the name of its folder.
    preprocessing : Preprocessing
    size : tuple of int
        Height and width of the network's input.
    min_images : int
        Images that a concept needs to be scored.
    device : torch.device
        Where the network runs and its activations are counted.
    rotate : float
        The power of the rotation that each layer's units are put through; 0 leaves them as they are.
    rotate_seed : int
        Its seed.
    """

    settings: Settings
    dataset: PackedDataset
    indices: NDArray[np.int64]
    model: LoadedModel
    homes: list[tuple[Layer, str]]
    preprocessing: Preprocessing
    size: tuple[int, int]
    min_images: int
    device: torch.device
    rotate: float
    rotate_seed: int

    def images(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images by their place in the run: ``[B, ih, iw, 3]`` uint8."""
        return self.dataset.images(self.indices[places])

    def above(self, layer: Layer) -> int:
        """M = floor(q·n) of a layer."""
        return rank_above(self.settings.knobs.quantile, self.positions(layer))

    def positions(self, layer: Layer) -> int:
        """N = N·h·w of a layer."""
        return len(self.indices) * layer.shape[1] * layer.shape[2]

    def spool_key(self, layer: Layer) -> dict[str, Any]:
        """All that a layer's spool depends on: two runs that agree in it may share a spool."""
        return {
            "model": self.model.name,
            "weights": self.model.weights_sha256,
            "layer": layer.path,
            "output": layer.record(),
            "shape": list(layer.shape),
            "data": self.dataset.fingerprint,
            "split": self.settings.split,
            "images": len(self.indices),
            "size": list(self.size),
            "preprocessing": self.preprocessing.record(),
            "quantile": self.settings.knobs.quantile,
            "top_images": self.settings.top_images,
            # A network rounds otherwise on a GPU, and on another one otherwise again.
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            # Left out where it is float32: a spool of before there was a choice goes on.
            **({} if self.settings.precision == "float32" else {"precision": self.settings.precision}),
            **({"model_file": self.model.file_sha256} if self.model.file_sha256 else {}),
            **({"rotate": self.rotate, "rotate_seed": self.rotate_seed} if self.rotate else {}),
        }

    def dissection(self, folder: Path, layers: dict[str, LayerResult], provenance: dict[str, Any]) -> Dissection:
        """The result so far."""
        return Dissection(
            folder=folder,
            settings=self.settings.record(),
            min_images=self.min_images,
            provenance=provenance,
            vocabulary=self.dataset.vocabulary,
            image_names=tuple(self.dataset.image_names[i] for i in self.indices),
            splits=tuple(self.dataset.splits[i] for i in self.indices),
            image_size=self.dataset.image_size,
            label_size=self.dataset.label_size,
            layers=layers,
        )

    def provenance(self, clock: Clock, probed: int, spool_bytes: int) -> dict[str, Any]:
        """How the result came about.

        Parameters
        ----------
        clock : Clock
        probed : int
            How many images went through the network in this run; an interrupted one has done the others.
        spool_bytes : int
            What was left of the activations of all layers when their thresholds were known.
        """
        seconds = clock.seconds["probe"]
        return {
            "model": {
                "name": self.model.name,
                "weights": self.model.weights,
                "weights_sha256": self.model.weights_sha256,
                "file_sha256": self.model.file_sha256,
                "preprocessing": self.preprocessing.record(),
                "input_size": list(self.size),
                "rotate": self.model.rotate,
                "rotate_seed": self.model.rotate_seed,
            },
            "rotation": {"power": self.rotate, "seed": self.rotate_seed},
            "layers": {layer.name: layer.record() for layer, _ in self.homes},
            "dataset": {
                "name": self.dataset.name,
                "source": self.dataset.source,
                "pack": str(self.dataset.path),
                "fingerprint": self.dataset.fingerprint,
                "release": self.dataset.release,
                "images": len(self.dataset),
            },
            **clock.record(),
            "spool_bytes": spool_bytes,
            "images_probed": probed,
            "images_per_second": round(probed / seconds, 2) if seconds else None,
            "peak_memory_bytes": peak_memory_bytes(),
            "gpu": describe_gpu(self.device),
            "multiplies_bfloat16": multiplies_bfloat16(self.device),
            **describe_machine(),
        }


def plan_run(
    settings: Settings,
    dataset: PackedDataset,
    device: torch.device,
    cache: Path,
    progress: Progress,
    clock: Clock,
) -> Run:
    """Load the network, find its layers and settle every default."""
    check_categories(settings.categories, dataset.vocabulary)
    with clock.stage("model"):
        model = load_model(
            settings.model,
            settings.weights,
            seed=settings.seed,
            layers=settings.layers,
            size=settings.size,
            usual_size=dataset.image_size,
            layout=Layout.of(settings.axes, settings.tokens, settings.grid),
            cache=cache,
            progress=progress,
        )
    if not model.layers:
        raise ModelError(
            f"{model.name} has no layer that is dissected by default; name one with --layer "
            f"(`ndengine layers --model {model.name}` lists them)."
        )
    preprocessing = resolve_preprocessing(
        model.preprocessing, settings.mean, settings.std, settings.channels, settings.scale
    )
    rotate, rotate_seed = settings.rotation((model.rotate, model.rotate_seed))
    large = next((layer for layer in model.layers if rotate and layer.shape[0] > MOST_UNITS), None)
    if large is not None:
        raise ModelError(
            f"Layer {large.name} has {large.shape[0]} units, and a rotation takes {MOST_UNITS} at most; "
            "leave the layer out, or use --rotate 0."
        )
    if settings.weights == "random":
        preprocessing = replace(preprocessing, note="")  # nothing was ever prepared for them
    if preprocessing.note:
        progress.note(preprocessing.note)
    least = settings.min_images
    if least is None:
        least = 0 if dataset.release else FEW_IMAGES
    return Run(
        settings=settings,
        dataset=dataset,
        indices=select_images(dataset, settings.split, settings.limit),
        model=model,
        homes=list(zip(model.layers, layer_folders([layer.name for layer in model.layers]), strict=True)),
        preprocessing=preprocessing,
        size=model.input_size,
        min_images=least,
        device=device,
        rotate=rotate,
        rotate_seed=rotate_seed,
    )
