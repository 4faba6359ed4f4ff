"""ScenesNet: its weights fit the package, and it knows scenes that it has never seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ndengine.datasets.scenery.canvas import SIZE
from ndengine.datasets.scenery.vocabulary import NUMBERS
from ndengine.datasets.scenes import SEED, make_scene
from ndengine.errors import ModelError
from ndengine.models import scenesnet as module
from ndengine.models.scenesnet import DEFAULT_LAYER, INPUT_SIZE, PREPROCESSING, TAGS, WEIGHTS, normalise, scenesnet
from ndengine.models.training.lessons import accuracy, loss_of
from ndengine.models.training.loop import answer
from ndengine.models.training.pictures import HELD_OUT_SEED, SCENE, TEXTURE, TRAIN_SEED, Pictures, paint


@pytest.fixture(scope="module")
def fresh() -> Pictures:
    """Pictures of a seed that neither training nor the built-in dataset uses."""
    return paint(seed=77, images=120)


def test_weights_are_small_enough_for_the_package() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000


def test_tags_are_the_concepts_of_the_scenes() -> None:
    assert len(NUMBERS) == TAGS
    assert (SCENE.start, TEXTURE.stop) == (NUMBERS["street-s"] - 1, TAGS)
    assert SCENE.stop == TEXTURE.start
    assert INPUT_SIZE == (SIZE, SIZE)


def test_it_was_trained_on_other_scenes() -> None:
    assert len({SEED, TRAIN_SEED, HELD_OUT_SEED, 77}) == 4
    assert (make_scene(0, TRAIN_SEED).photo != make_scene(0, SEED).photo).any()


def test_it_knows_scenes_and_textures_it_never_saw(fresh: Pictures) -> None:
    photos, tags, whole = fresh
    logits = answer(scenesnet(), normalise(photos))
    assert logits.shape == (120, TAGS)
    assert accuracy(logits, whole, SCENE) > 0.9, "chance is 0.1"
    assert accuracy(logits, whole, TEXTURE) > 0.7, "chance is 0.08"
    torch.manual_seed(0)
    untrained = answer(scenesnet(weights=False), normalise(photos))
    assert accuracy(untrained, whole, SCENE) < 0.4
    assert loss_of(logits, tags, whole) < loss_of(untrained, tags, whole) / 4


def test_it_is_ready_to_dissect() -> None:
    net = scenesnet()
    assert not net.training
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    assert all(map(torch.equal, net.parameters(), scenesnet().parameters()))
    seen: dict[str, torch.Tensor] = {}
    for name, part in net.named_children():
        part.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    with torch.inference_mode():
        net(normalise(torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)))
    grids = {name: tuple(maps.shape[1:]) for name, maps in seen.items() if name.startswith("conv")}
    assert grids == {
        "conv1": (32, 56, 56),
        "conv2": (64, 28, 28),
        "conv3": (128, 14, 14),
        "conv4": (128, 14, 14),
        "conv5": (192, 14, 14),
    }
    assert all(seen[name].min() == 0 for name in grids), "a stage's output is after its ReLU"
    assert DEFAULT_LAYER in grids


def test_random_weights_follow_torchs_seed() -> None:
    torch.manual_seed(3)
    first, second = (next(scenesnet(weights=False).parameters()) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(next(scenesnet(weights=False).parameters()), first)
    assert not torch.equal(first, second)


def test_normalise_is_what_preprocessing_says() -> None:
    pixels = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    mean, std = (torch.tensor(PREPROCESSING[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    assert PREPROCESSING["channels"] == "rgb"
    assert PREPROCESSING["scale"] == 1
    expected = (pixels.float() / 255 - mean) / std
    assert torch.allclose(normalise(pixels), expected)


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
def test_damaged_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    path = tmp_path / "scenesnet.safetensors"
    if damage == "cut":
        path.write_bytes(WEIGHTS.read_bytes()[:1000])
    elif damage == "foreign":
        path.write_bytes(b"not weights at all")
    monkeypatch.setattr(module, "WEIGHTS", path)
    with pytest.raises(ModelError, match=r"scenesnet\.safetensors does not hold ScenesNet's weights"):
        scenesnet()


def test_training_runs_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "weights.safetensors"
    command = [sys.executable, "-m", "ndengine.models.train_scenesnet", "--out", str(out), "--seed", "1"]
    command += ["--images", "70", "--epochs", "1", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout
    assert "texture" in done.stdout
    assert out.stat().st_size <= 2_000_000
