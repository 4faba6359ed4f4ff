"""The networks that layers are listed of: torchvision's, families of timm's, and small ones of transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from judge import UNSAID, Documented
from torch import nn

from ndengine.models.torchvision_import import torchvision_models

Size = tuple[int, int]
SIZES = ((96, 96), (96, 128))


@dataclass(frozen=True)
class Network:
    """One network of the roster.

    Attributes
    ----------
    name : str
        Its source, a colon, and its name there.
    make : callable
        Builds it for images of some rows and columns.
    sizes : tuple
        Sizes that it is looked at; one that is square, and one that is not where the network takes such.
    documented : Documented
        What its documentation says of its tokens.
    mixers : tuple of str
        Patterns of linear layers that mix positions.
    """

    name: str
    make: Callable[[Size], nn.Module] = field(repr=False)
    sizes: tuple[Size, ...] = SIZES
    documented: Documented = UNSAID
    mixers: tuple[str, ...] = ()

    def build(self, size: Size) -> nn.Module:
        """The network with the same random weights at each call, in evaluation mode."""
        torchvision_models()
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of initial weights, renamed arguments and deprecated parts
            return self.make(size).eval()


def all_networks() -> list[Network]:
    """The whole roster."""
    torchvision_models()  # repairs torchvision before the others import it
    from roster_timm import timm_networks
    from roster_transformers import transformers_networks

    return [*torchvision_networks(), *timm_networks(), *transformers_networks()]


def torchvision_networks() -> list[Network]:
    """All classification networks of torchvision."""
    models = torchvision_models()
    return [_torchvision(name) for name in models.list_models(module=models)]


def _torchvision(name: str) -> Network:
    models = torchvision_models()
    build = models.get_model_builder(name)
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        side = 4 * patch  # torchvision's takes square images only
        return Network(
            f"torchvision:{name}",
            lambda size: build(weights=None, image_size=size[0]),
            ((side, side),),
            Documented(first=1),
        )
    if name == "maxvit_t":
        # Windows of 7 in all four stages ask for multiples of 224; with windows of 3, of 96.
        def maxvit(size: Size) -> nn.Module:
            return models.maxvit.MaxVit(
                input_size=size,
                stem_channels=64,
                partition_size=3,
                block_channels=[64, 128, 256, 512],
                block_layers=[2, 2, 5, 2],
                head_dim=32,
                stochastic_depth_prob=0.2,
            )

        return Network(f"torchvision:{name}", maxvit, ((96, 96), (96, 192)))
    sizes = {"inception_v3": ((203, 203), (203, 267))}.get(name, SIZES)
    return Network(f"torchvision:{name}", lambda size: build(weights=None), sizes)
