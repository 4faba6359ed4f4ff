"""From the name of a small network to the network, trained if need be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

from ndengine.errors import ModelError
from ndengine.models import scenesnet
from ndengine.models.download import hash_file
from ndengine.models.preprocess import Preprocessing
from ndengine.models.small.crew import SCRIPT, train_missing
from ndengine.models.small.rows import find_network
from ndengine.models.small.store import Store
from ndengine.models.source import Asked, Built
from ndengine.progress import Progress


def build_small(model: str, asked: Asked, origin: str, cache: Path, progress: Progress) -> Built:
    """Build a small network; its own weights are trained where the cache lacks them.

    Parameters
    ----------
    model : str
        A name that :func:`ndengine.models.small.rows.find_network` knows.
    asked : Asked
        Its weights.
    origin : str
        What to say of weights that are not its own.
    cache : Path
        Where its own are kept.
    progress : Progress
        Told of the training.

    Raises
    ------
    ModelError
        If they can't be.
    """
    found = find_network(model)
    assert found is not None, model
    row, iteration = found
    module = row.build()
    digest = ""
    if asked.text == "default":
        train_missing([row], cache, threads=torch.get_num_threads(), progress=progress)
        store = Store(cache)
        path = store.weights(row, iteration)
        if not path.exists():
            raise ModelError(
                f"{model} does not exist in {store.folder}, where {row.name} was trained for fewer steps: train it "
                f"anew with python -m {SCRIPT} {row.name} --cache {cache}."
            )
        module.load_state_dict(load_file(path))
        digest = hash_file(path)
        origin = f"trained on drawn scenes, seed {row.seed}"
        if iteration is not None:
            origin += f", after {iteration} steps"
    return Built(
        module,
        origin,
        digest,
        Preprocessing(**cast(dict[str, Any], scenesnet.PREPROCESSING)),
        (scenesnet.DEFAULT_LAYER,),
        scenesnet.INPUT_SIZE,
    )
