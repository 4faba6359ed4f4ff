"""ScenesNet: the small network that goes with the built-in scenes, trained to tell what they show."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ndengine.errors import ModelError

TAGS = 123  # one output for each concept of the scenes: output j is concept id j + 1
DEFAULT_LAYER = "conv5"
INPUT_SIZE = (112, 112)
PREPROCESSING = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "channels": "rgb", "scale": 1.0}  # see normalise
WEIGHTS = Path(__file__).with_name("scenesnet.safetensors")
RETRAIN = "train it anew with python -m ndengine.models.train_scenesnet"


def _stage(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU; the stage's own output is after the ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


class ScenesNet(nn.Module):
    """Five convolutions, a global mean and one linear layer.

    ``conv1`` … ``conv5`` are the layers after their ReLU; at 112×112 input they have 56², 28², 14², 14² and 14²
    positions. As the head sees only the mean of each ``conv5`` unit, a unit helps by firing where its concept is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _stage(3, 32, 5, stride=2)
        self.pool1 = nn.MaxPool2d(3, 2, padding=1)
        self.conv2 = _stage(32, 64, 3)
        self.pool2 = nn.MaxPool2d(2, 2)
        self.conv3 = _stage(64, 128, 3)
        self.conv4 = _stage(128, 128, 3)
        self.conv5 = _stage(128, 192, 3)
        self.pool5 = nn.AdaptiveAvgPool2d(1)
        self.tags = nn.Linear(192, TAGS)

    def forward(self, images: Tensor) -> Tensor:  # [N, 3, ih, iw]
        """Return a logit for every concept, [N, TAGS]."""
        maps = self.pool2(self.conv2(self.pool1(self.conv1(images))))
        maps = self.conv5(self.conv4(self.conv3(maps)))
        tags: Tensor = self.tags(self.pool5(maps).flatten(1))
        return tags


def normalise(photos: Tensor) -> Tensor:
    """Turn uint8 pictures, [N, 3, ih, iw] red, green, blue, into what the network takes, as PREPROCESSING says."""
    return (photos.to(torch.float32) / 255 - 0.5) / 0.25


def scenesnet(weights: bool = True) -> ScenesNet:
    """Return the network in evaluation mode.

    Parameters
    ----------
    weights : bool
        Trained weights, or random ones from torch's current seed.

    Raises
    ------
    ModelError
        If the weights in the package are missing or damaged.
    """
    net = ScenesNet().eval()
    if weights:
        try:
            state = load_file(WEIGHTS)
            net.load_state_dict({name: _whole(value) for name, value in state.items()})
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"{WEIGHTS} does not hold ScenesNet's weights: install ndengine again, or {RETRAIN}"
            ) from error
    return net


def _whole(value: Tensor) -> Tensor:
    """Widen the file's half precision."""
    return value.to(torch.float32) if value.is_floating_point() else value
