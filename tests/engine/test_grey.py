"""Networks of one channel get the mean of the three that a colour network would get."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ndengine.dissect import dissect_network
from ndengine.errors import ModelError, SettingsError
from ndengine.models.preprocess import IMAGENET, Preprocessing, make_batch, resolve_preprocessing
from ndengine.probe import read_batches
from ndengine.progress import Silent
from ndengine.settings import Knobs, Settings
from tests.engine.tinybroden import IMAGE_SIZE, make_broden

CPU = torch.device("cpu")
NET = """
import torch
from torch import nn

def grey():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU())

def colour():
    one = grey()[0]
    conv = nn.Conv2d(3, 6, 3, 2, 1)
    with torch.no_grad():
        conv.weight.copy_(one.weight.expand(-1, 3, -1, -1) / 3)
        conv.bias.copy_(one.bias)
    return nn.Sequential(conv, nn.ReLU())
"""


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def exact(pixel: np.ndarray, how: Preprocessing) -> np.float32:
    """The mean of the three channels, in fractions, rounded once."""
    parts = [
        (Fraction(int(value), 255) * Fraction(how.scale) - Fraction(mean)) / Fraction(std)
        for value, mean, std in zip(pixel, how.mean, how.std, strict=True)
    ]
    return np.float32(float(sum(parts, Fraction(0)) / 3))


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing((0.0, 0.0, 0.0), channels="grey"),
        Preprocessing(IMAGENET.mean, IMAGENET.std, "grey"),
        Preprocessing((128.0, 128.0, 128.0), (64.0, 64.0, 64.0), "grey", 255.0),
    ],
    ids=["plain", "imagenet", "one number"],
)
def test_the_mean_of_the_channels_is_exact(how: Preprocessing) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    batch = make_batch(images, how, device=CPU, threads=1)
    assert (batch.shape, batch.dtype) == ((5, 1, 6, 7), torch.float32)
    expected = np.array([exact(pixel, how) for pixel in images.reshape(-1, 3)]).reshape(5, 1, 6, 7)
    np.testing.assert_allclose(batch.numpy(), expected, rtol=1.2e-7, atol=1e-9)
    assert (batch.numpy() == expected).mean() > 0.99
    read = list(read_batches(lambda i: images[i], np.arange(5), how, size=(6, 7), batch_size=2))
    assert [tuple(found.shape) for _, found in read] == [(2, 1, 6, 7), (2, 1, 6, 7), (1, 1, 6, 7)]
    assert torch.equal(torch.cat([found for _, found in read]), batch)


def test_preprocessing_of_grey_images() -> None:
    found = resolve_preprocessing(IMAGENET, inputs=1)
    assert (found.channels, found.mean, found.std, found.order) == ("grey", IMAGENET.mean, IMAGENET.std, (0, 1, 2))
    bgr = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "bgr", 255.0)
    assert resolve_preprocessing(bgr, inputs=1).mean == (3.0, 2.0, 1.0), "red first"
    one = resolve_preprocessing(IMAGENET, [0.5], [0.25], "grey")
    assert (one.mean, one.std, one.given) == ((0.5,) * 3, (0.25,) * 3, ("mean", "std", "channels"))
    with pytest.raises(SettingsError, match="mean has 2 values; give one, or three"):
        resolve_preprocessing(IMAGENET, [0.5, 0.5], inputs=1)
    with pytest.raises(SettingsError, match="mean has 1 values; give three"):
        resolve_preprocessing(IMAGENET, [0.5])


def test_a_grey_network_counts_as_a_colour_network_that_takes_the_mean(tmp_path: Path) -> None:
    make_broden(tmp_path / "data")
    (tmp_path / "net.py").write_text(NET)
    found = {}
    for name in ("grey", "colour"):
        listener = Listener()
        settings = Settings(
            model=f"{tmp_path / 'net.py'}:{name}",
            layers=("1",),
            data=str(tmp_path / "data"),
            knobs=Knobs(quantile="0.05"),
            mean=(0.0, 0.0, 0.0),
        )
        found[name] = dissect_network(settings, tmp_path / name, cache=tmp_path / "cache", progress=listener)
        notes = [note for note in listener.notes if "takes one channel: it gets the mean of the three" in note]
        assert len(notes) == (name == "grey")
        assert list(found[name].layers["1"].summary.notes).count(notes[0] if notes else "") == len(notes)
    grey, colour = (found[name].layers["1"].counts for name in ("grey", "colour"))
    np.testing.assert_allclose(grey.threshold, colour.threshold, rtol=1e-4, atol=1e-5)
    assert abs(grey.unit_area_all - colour.unit_area_all).max() <= 0.01 * colour.unit_area_all.max()
    assert found["grey"].provenance["model"]["preprocessing"]["channels"] == "grey"
    assert found["grey"].provenance["model"]["input_size"] == list(IMAGE_SIZE)
    with pytest.raises(ModelError, match="takes three channels and not grey"):
        dissect_network(replace(settings, channels="grey"), tmp_path / "refused", cache=tmp_path / "cache")
