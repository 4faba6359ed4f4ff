"""Train ScenesNet: ``python -m ndengine.models.train_scenesnet [--out FILE] [--seed N]``.

The network learns from whole images only which concepts a picture shows: no label map is ever compared with its
activations, so where its units fire is its own doing. Its scenes come from other seeds than the built-in dataset.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn import functional

from ndengine.datasets.scenery.vocabulary import CATEGORIES, NAMES, NUMBERS
from ndengine.datasets.scenes import Scene, make_scene
from ndengine.models.scenesnet import TAGS, WEIGHTS, ScenesNet, normalise

TRAIN_SEED, HELD_OUT_SEED = 1001, 1002  # the built-in dataset is seed 0
SEEN_FROM = 10  # label pixels from which a picture shows a concept
SHOWN_COLOR = 0.1  # a colour is somewhere in every picture: it counts from this share of the pixels
BATCH = 64
PEAK_RATE = 4e-3
WHOLE_WEIGHT = 0.3  # of the loss of scene and texture against that of all tags
SCENE, TEXTURE = (slice(NUMBERS[NAMES[key][0]] - 1, NUMBERS[NAMES[key][-1]]) for key in ("scene", "texture"))


def paint(seed: int, images: int) -> tuple[Tensor, Tensor, Tensor]:
    """Paint scenes and say what they show.

    Returns
    -------
    photos : Tensor [N, 3, 112, 112] uint8
    tags : Tensor [N, TAGS] float32
        1 where the picture shows concept j + 1.
    whole : Tensor [N] int64
        The tag that holds for the whole picture, a scene or a texture; TAGS for a close-up.
    """
    with ThreadPoolExecutor(2) as pool:
        scenes = list(pool.map(lambda index: make_scene(index, seed), range(images)))
    photos = torch.from_numpy(np.stack([scene.photo for scene in scenes])).permute(0, 3, 1, 2)
    tags = torch.from_numpy(np.stack([_tags(scene) for scene in scenes]))
    whole = torch.tensor([(max(scene.whole.values()) - 1) % (TAGS + 1) for scene in scenes])
    return photos.contiguous(), tags, whole


def _tags(scene: Scene) -> NDArray[np.float32]:
    """Return 1 for every concept that the picture shows, [TAGS]."""
    shown = np.zeros(TAGS + 1, np.bool_)
    for category in CATEGORIES:
        shown[scene.whole[category]] = True
        for labels in scene.maps[category]:
            least = labels.size * SHOWN_COLOR if category == "color" else SEEN_FROM
            shown |= np.bincount(labels.ravel(), minlength=TAGS + 1) >= least
    return shown[1:].astype(np.float32)


def loss_of(logits: Tensor, tags: Tensor, whole: Tensor) -> Tensor:
    """Return the loss of a batch: every tag by itself, and the choice among scenes, textures and neither."""
    rivals = torch.cat([logits[:, SCENE], logits[:, TEXTURE], logits.new_zeros(len(logits), 1)], dim=1)
    choice = whole - (TAGS + 1 - rivals.shape[1])  # scenes and textures are the last tags
    return functional.binary_cross_entropy_with_logits(logits, tags) + WHOLE_WEIGHT * functional.cross_entropy(
        rivals, choice
    )


def accuracy(logits: Tensor, whole: Tensor, tags: slice) -> float:
    """Return how often the strongest of some tags is the right one, over the pictures that have one of them."""
    rows = (whole >= tags.start) & (whole < tags.stop)
    return float((logits[rows, tags].argmax(dim=1) + tags.start == whole[rows]).float().mean())


def predict(net: ScenesNet, photos: Tensor) -> Tensor:
    """Return the logits of uint8 pictures, [N, TAGS]."""
    net.eval()
    with torch.inference_mode():
        return torch.cat([net(normalise(part)) for part in torch.split(photos, 100)])


def train(images: int, epochs: int, seed: int, threads: int) -> ScenesNet:
    """Paint, train and print a line an epoch, with loss and accuracy on held-out scenes."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    started = time.monotonic()
    photos, tags, whole = paint(TRAIN_SEED, images)
    held_out = paint(HELD_OUT_SEED, max(100, images // 10))
    print(f"painted {len(photos)} + {len(held_out[0])} scenes in {time.monotonic() - started:.0f} s", flush=True)
    net = ScenesNet()
    steps = max(1, images // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps * epochs, pct_start=0.15)
    for epoch in range(1, epochs + 1):
        net.train()
        total = 0.0
        for rows in torch.randperm(len(photos))[: steps * BATCH].chunk(steps):
            batch = normalise(photos[rows])
            if torch.rand(()) < 0.5:
                batch = batch.flip(3)
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(batch.contiguous(memory_format=torch.channels_last))
            loss = loss_of(logits.float(), tags[rows], whole[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        logits = predict(net, held_out[0])
        unseen = float(loss_of(logits, *held_out[1:]))
        scene, texture = (accuracy(logits, held_out[2], part) for part in (SCENE, TEXTURE))
        print(
            f"epoch {epoch}/{epochs}  loss {total / steps:.4f}  held out: loss {unseen:.4f}"
            f"  scene {scene:.1%}  texture {texture:.1%}  after {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return net


def save(net: ScenesNet, path: Path) -> None:
    """Write the weights in half precision; counts stay whole."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in net.state_dict().items()
    }
    path.write_bytes(to_bytes(state))


def main() -> None:
    """Train the network and write its weights."""
    parser = argparse.ArgumentParser(prog="python -m ndengine.models.train_scenesnet", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="weights file to write (default: the package's own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first weights and of the order of images")
    parser.add_argument("--images", type=int, default=10_000, help="scenes to train on (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="passes over them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default: %(default)s)")
    options = parser.parse_args()
    net = train(options.images, options.epochs, options.seed, options.threads)
    save(net, options.out)
    print(f"wrote {options.out} ({options.out.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
