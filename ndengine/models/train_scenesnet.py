"""Train ScenesNet: ``python -m ndengine.models.train_scenesnet [--out FILE] [--seed N]``.

The network learns from whole images only which concepts a picture shows: no label map is ever compared with its
activations, so where its units fire is its own doing. Its scenes come from other seeds than the built-in dataset.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes

from ndengine.models.scenesnet import WEIGHTS, ScenesNet
from ndengine.models.training.lessons import Tagging
from ndengine.models.training.loop import Course, Epoch, train_network
from ndengine.models.training.pictures import HELD_OUT_SEED, TRAIN_SEED, held_out_count, paint


def train(images: int, epochs: int, seed: int, threads: int) -> ScenesNet:
    """Paint, train and print a line an epoch, with loss and accuracy on held-out scenes."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    started = time.monotonic()
    pictures, held_out = paint(TRAIN_SEED, images), paint(HELD_OUT_SEED, held_out_count(images))
    seconds = time.monotonic() - started
    print(f"painted {len(pictures.photos)} + {len(held_out.photos)} scenes in {seconds:.0f} s", flush=True)
    net = ScenesNet()
    course = Course(epochs, precision="bfloat16")
    train_network(net, Tagging(), pictures, held_out, course, after_epoch=_print)
    return net


def _print(epoch: Epoch) -> None:
    print(epoch.line(), flush=True)


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
