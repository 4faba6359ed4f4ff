"""How tests of the command line call it, and a finished result made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ndcli.main import main
from ndengine.datasets import Vocabulary
from ndengine.result import Dissection, LayerResult, write_layer, write_result
from ndengine.score import score_units, summarise
from ndengine.settings import Settings
from ndengine.tally import Counts
from tests.engine.tinybroden import make_broden

Invoke = Callable[..., Result]

VOCABULARY = Vocabulary(
    names=("lamp", "wheel [front]", "red", ""),
    categories=("object", "color"),
    primary=np.array([0, 0, 1, -1]),
)


@pytest.fixture
def invoke() -> Invoke:
    """Call the command line in this process; a bug comes out as the exception it is."""

    def call(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(main, words, prog_name="ndengine", catch_exceptions=False)

    return call


@pytest.fixture
def fails(invoke: Invoke) -> Callable[..., str]:
    """Call the command line where it must fail, check what holds for every failure, give the sentence."""

    def call(*arguments: object, code: int = 1) -> str:
        done = invoke(*arguments)
        assert done.exit_code == code, done.output
        assert done.stdout == ""
        last = done.stderr.splitlines()[-1]
        assert last.startswith("Error: ")
        assert last.endswith(".")
        assert "Traceback" not in done.stderr
        return last.removeprefix("Error: ")

    return call


NETWORK = """
import os
from collections import OrderedDict

import torch
from torch import nn


class Guard(nn.Module):  # passes images on, and interrupts once it has seen as many as the environment says
    seen = 0

    def forward(self, images):
        # Passes that show what its layers are record no gradients either, but are not in inference mode.
        Guard.seen += len(images) if torch.is_inference_mode_enabled() else 0
        if Guard.seen > int(os.environ.get("TEST_INTERRUPT_AFTER", 10**9)) + 2:  # four are tried before the run
            raise KeyboardInterrupt
        return images


def build():
    layers = dict(
        guard=Guard(),
        conv1=nn.Conv2d(3, 4, 3, padding=1),
        relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(4, 6, 3, padding=1),
        relu2=nn.ReLU(),
    )
    return nn.Sequential(OrderedDict(layers))


def poisoned():
    network = build()
    with torch.no_grad():
        network.conv2.bias[2] = float("nan")
    return network
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A file with a small network: ``build``, and ``poisoned`` whose unit 3 of relu2 gives NaN."""
    file = tmp_path / "net.py"
    file.write_text(NETWORK)
    return file


@pytest.fixture
def broden(tmp_path: Path) -> Path:
    """A small dataset in Broden's layout: twelve images."""
    folder = tmp_path / "tiny"
    make_broden(folder, images=12)
    return folder


@pytest.fixture
def arguments(tmp_path: Path, network: Path, broden: Path) -> list[str]:
    """The words of a run of that network on that dataset, into ``out``."""
    options = {
        "model": f"{network}:build",
        "layer": "relu2",
        "data": broden,
        "out": tmp_path / "out",
        "cache": tmp_path / "cache",
        "batch-size": 4,
        "threads": 1,
        "min-images": 0,
        "spool": "disk",
    }
    return ["run", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]


def hand_made_layer(name: str, rank: int | None = 40) -> LayerResult:
    """Four units: a lamp detector, one that detects red, one with too small an IoU, a dead one."""
    counts = Counts(
        threshold=np.array([1.5, 0.25, 3.0, 0.0], np.float32),
        intersection=np.array([[50, 0, 10, 0], [0, 0, 200, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        concept_area=np.array([100, 30, 400, 0]),
        unit_area=np.array([[150, 200], [90, 300], [120, 100], [0, 0]]),
        unit_area_all=np.array([210, 300, 150, 0]),
        concept_images=np.array([12, 2, 9, 0]),
    )
    dead = np.array([False, False, False, True])
    scores = score_units(counts, VOCABULARY, detector=">", iou_threshold=0.04, min_images=1, dead=dead)
    summary = summarise(
        scores,
        VOCABULARY.categories,
        concept_images=counts.concept_images,
        dead=dead,
        rank=rank,
        positions=8_000,
        notes=("conv3: half-pixel is used: the receptive field is not known.",),
    )
    images = np.array([[2, 0, -1], [1, 2, 0], [0, 1, 2], [-1, -1, -1]])
    return LayerResult(
        name=name,
        path="features.3",
        folder=name,
        shape=(6, 9),
        geometry="half-pixel",
        field=None,
        counts=counts,
        dead=dead,
        top_images=images,
        top_values=np.where(images < 0, 0, 4.5 - 1.25 * np.arange(3)).astype(np.float32),
        top_masks=np.zeros((4, 3, 10, 2), np.uint8),
        scores=scores,
        summary=summary,
    )


def write_hand_made(folder: Path, *names: str) -> Dissection:
    """Write a result of such layers."""
    dissection = Dissection(
        folder=folder,
        settings=Settings(model="vgg16", layers=names, data="somewhere/set").record(),
        min_images=1,
        provenance={"seconds": {"probe": 1.5}},
        vocabulary=VOCABULARY,
        image_names=("a.jpg", "[b].jpg", "c.jpg"),
        splits=("train", "val", "val"),
        image_size=(20, 24),
        label_size=(10, 12),
        layers={name: hand_made_layer(name) for name in names},
    )
    for layer in dissection.layers.values():
        write_layer(folder, layer, VOCABULARY)
    write_result(dissection)
    return dissection


@pytest.fixture
def result(tmp_path: Path) -> Dissection:
    """A finished result with one layer, ``conv3``."""
    return write_hand_made(tmp_path / "out", "conv3")


@pytest.fixture
def two_layers(tmp_path: Path) -> Dissection:
    """A finished result with the layers ``conv3`` and ``conv4``."""
    return write_hand_made(tmp_path / "two", "conv3", "conv4")
