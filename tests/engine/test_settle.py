"""Before the first image counts: the manner in which a network runs, and what its activations depend on."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ndengine.errors import ModelError
from ndengine.forward import USUAL, Manner
from ndengine.models.layers import Layer
from ndengine.probe import Probe
from ndengine.settle import Trial, left_alone

SIZE = (16, 24)


def base(inputs: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(inputs, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 3, 1, 1))


class Around(nn.Module):
    """A network with something done to what it puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = base()
        self.out = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.out(self.change(self.net(images), images))
        return found

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        """What is done to them."""
        return maps


class Views(Around):
    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        count, units, rows, columns = maps.shape
        return maps.view(1, count * units, rows, columns).view(maps.shape)


class Depth(Around):
    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv3d(4, 4, 1)

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        found: Tensor = self.deep(maps[:, :, None])[:, :, 0]
        return found


class Attribution(Around):
    """Gradients of its own, at activations."""

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = maps.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(leaf.pow(3).sum(), leaf)
        return gradient.detach()


class Saliency(Around):
    """Gradients at the images, which must require them, or at parameters."""

    def __init__(self, at_images: bool) -> None:
        super().__init__()
        self.at_images = at_images

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        of = images if self.at_images else self.net[0].weight
        (gradient,) = torch.autograd.grad(maps.pow(2).sum(), of, retain_graph=True)
        return maps * gradient.mean()


class Strides(Around):
    """Reads memory as if it were contiguous, and gets other numbers where it is not."""

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        _, units, rows, columns = maps.shape
        return torch.as_strided(maps, maps.shape, (units * rows * columns, rows * columns, columns, 1))


class Dropping(Around):
    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        return functional.dropout(maps)


class Counting(Around):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        self.seen += 1
        return maps * self.seen


class ByBatch(Around):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        found: Tensor = self.norm(maps)
        return found


class Whole(Around):
    """Nothing but float64 rounding between the image alone and in a batch."""

    def change(self, maps: Tensor, images: Tensor) -> Tensor:
        return maps * (1 + 1e-6 * len(images))


def layer(units: int = 4) -> Layer:
    return Layer("out", "out", "Identity", (units, 8, 12), None)


def ready(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def settle(network: nn.Module, count: int = 2) -> tuple[Manner, list[str]]:
    with left_alone(ready(network), torch.device("cpu")) as buffers:
        return Trial(network, [layer()], images(count), buffers).settle()


def activations(network: nn.Module, manner: Manner) -> Tensor:
    return Probe(network, [layer()], manner=manner).activations(images())["out"]


@pytest.mark.parametrize("network", [Around(), Whole()], ids=["plain", "rounding"])
def test_a_network_that_bears_it_runs_the_usual_way(network: nn.Module) -> None:
    assert settle(network) == (USUAL, [])
    assert network.net[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("network", "manner", "said"),
    [
        (Views(), Manner(channels_last=False), "runs in contiguous memory; the usual way it fails .RuntimeError: view"),
        (Depth(), Manner(channels_last=False), "in contiguous memory; .*required rank 4"),
        (Attribution(), Manner(autograd="idle"), "under torch.no_grad; .*does not require grad"),
        (Saliency(True), Manner(False, "recording"), "in contiguous memory and with autograd on; "),
        (Saliency(False), Manner(False, "recording"), "with autograd on; "),
    ],
    ids=["view", "five dims", "attribution", "saliency", "gradients at parameters"],
)
def test_a_network_runs_as_it_is(network: nn.Module, manner: Manner, said: str) -> None:
    ready(network)
    with torch.enable_grad():
        given = images().requires_grad_()
        network.requires_grad_(True)
        expected = network(given).detach()
        network.requires_grad_(False)
    found, (note,) = settle(network)
    assert found == manner
    assert re.search(said, note)
    maps = activations(network, found)
    torch.testing.assert_close(maps, expected)
    assert not maps.requires_grad
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_what_channels_last_would_change_in_silence_runs_contiguous() -> None:
    network = ready(Strides())
    expected = network(images())
    assert (activations(network, USUAL) - expected).abs().max() > 0.1, "else there is nothing to find"
    manner, (note,) = settle(network)
    assert manner == Manner(channels_last=False)
    assert note == "In channels-last memory the network computes something else at out; it runs in contiguous memory."
    torch.testing.assert_close(activations(network, manner), expected)


def test_randomness_is_told_and_torchs_own_is_left_alone() -> None:
    network = Dropping()
    before = torch.get_rng_state()
    manner, (note,) = settle(network)
    assert manner == USUAL
    assert note.startswith("Two forward passes of the same images differ at out, by up to ")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_dropout_that_stays_on_is_named() -> None:
    class Stays(nn.Dropout):
        def train(self, mode: bool = True) -> Stays:
            super().train(True)
            return self

    network = Around()
    network.net.append(Stays())
    _, (note,) = settle(network)
    assert "(net.3)" in note


def test_state_is_told_and_put_back() -> None:
    network = Counting()
    _, (note,) = settle(network)
    assert "the network changes what it keeps (seen) in evaluation mode too" in note
    assert network.seen == 0


def test_a_mixture_of_the_batch_is_told() -> None:
    manner, (note,) = settle(ByBatch())
    assert manner == USUAL
    assert "other activations at out alone and beside another one" in note
    assert "(batch norm without statistics: norm)" in note
    assert settle(ByBatch(), 1) == (USUAL, []), "one image has no other beside it"


def test_what_never_runs_says_what_its_author_would_see() -> None:
    class Wrong(Views):
        def change(self, maps: Tensor, images: Tensor) -> Tensor:
            return maps.view(len(maps), -1) @ torch.zeros(7, 7)

    with pytest.raises(ModelError, match=r"^The network fails on images of 16x24 \(RuntimeError: mat1 and mat2 shapes"):
        settle(Wrong())


def test_full_memory_is_not_tried_again() -> None:
    tries = []

    class Large(Around):
        def change(self, maps: Tensor, images: Tensor) -> Tensor:
            tries.append(1)
            return torch.empty(2**58)

    with pytest.raises(ModelError, match=r"at a time take the network more memory than there is"):
        settle(Large())
    assert len(tries) == 1
