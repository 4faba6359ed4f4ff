"""What the probe keeps is what the layer put out, and images arrive as the preprocessing says."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ndengine.errors import ModelError
from ndengine.models.layers import resolve_layers
from ndengine.models.preprocess import Preprocessing
from ndengine.probe import Probe, _copy_maps, read_batches
from tests.engine.smallnets import shared

SIZE = (24, 32)


@pytest.fixture
def network() -> nn.Module:
    return shared().eval().requires_grad_(False)


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randn(3, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def activations(network: nn.Module, names: list[str], batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return Probe(network, resolve_layers(network, names, "net", SIZE)).activations(batch)


def test_copies_before_an_in_place_relu(network: nn.Module, batch: torch.Tensor) -> None:
    found = activations(network, ["second", "first"], batch)
    before = network.first(batch)
    torch.testing.assert_close(found["first"], before)
    torch.testing.assert_close(found["second"], network.second(torch.relu(before)))
    assert (found["first"] < 0).any()
    assert list(found) == ["second", "first"]


def test_last_call_of_a_shared_module_counts(network: nn.Module, batch: torch.Tensor) -> None:
    found = activations(network, ["relu", "first"], batch)
    expected = torch.relu(network.second(torch.relu(network.first(batch))))
    torch.testing.assert_close(found["relu"], expected)


def test_stops_behind_the_deepest_layer(network: nn.Module, batch: torch.Tensor) -> None:
    with pytest.raises(RuntimeError):  # the classifier is for another size
        network(batch)
    probe = Probe(network, resolve_layers(network, ["last"], "net", SIZE))
    ran: list[int] = []
    network.classifier.register_forward_pre_hook(lambda *_: ran.append(1))
    assert probe.activations(batch)["last"].shape == (3, 5, 6, 8)
    assert not ran
    assert not any(module._forward_hooks for module in network.modules()), "no hook stays behind"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x,
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x[:, ::2],
        lambda x: x.contiguous(memory_format=torch.channels_last)[:, :3],
        lambda x: x.flatten(2).transpose(1, 2).contiguous()[:, 3:].view(2, 3, 4, 6).movedim(-1, 1),  # tokens
        lambda x: x.transpose(2, 3),
        lambda x: x[:, :1],
        lambda x: x[..., :1, :1],
    ],
    ids=["contiguous", "channels last", "strided", "a part of it", "tokens", "transposed", "one unit", "one cell"],
)
def test_maps_are_copied_from_any_memory_format(
    layout: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype
) -> None:
    source = layout(torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(1)).to(dtype))
    copied = _copy_maps(source)
    assert copied.is_contiguous()
    assert copied.dtype == torch.float32
    assert torch.equal(copied, source.float())
    source.zero_()
    assert copied.any()


def test_activations_are_contiguous_and_their_own(network: nn.Module, batch: torch.Tensor) -> None:
    probe = Probe(network, resolve_layers(network, ["last"], "net", SIZE))
    first = probe.activations(batch)["last"]
    kept = first.clone()
    probe.activations(batch * 2)
    assert first.is_contiguous()
    assert first.dtype == torch.float32
    assert torch.equal(first, kept)


def test_a_network_that_fails(network: nn.Module) -> None:
    probe = Probe(network, resolve_layers(network, ["last"], "net", SIZE))
    with pytest.raises(ModelError, match=r"The network fails on images of 24x32 .*takes 3 channels.*adapter") as caught:
        probe.activations(torch.zeros(1, 4, *SIZE))
    assert "--size" not in str(caught.value), "no other size helps"


@pytest.mark.parametrize(("images", "remedy"), [(2, "--batch-size or --size"), (1, "--size")])
def test_a_network_that_takes_too_much_memory(network: nn.Module, images: int, remedy: str) -> None:
    probe = Probe(network, resolve_layers(network, ["last"], "net", SIZE))
    network.second.forward = lambda maps: torch.empty(2**58)
    said = rf"^{images} images? of 24x32 at a time take.* \(can't allocate.* {2**60} bytes\); try a smaller {remedy}\.$"
    with pytest.raises(ModelError, match=said):
        probe.activations(torch.zeros(images, 3, *SIZE))


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_batches(channels: str, rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (11, 6, 5, 3), dtype=np.uint8)
    indices = np.array([1, 2, 4, 5, 7, 8, 10])
    how = Preprocessing((10.0, 20.0, 30.0), (1.0, 2.0, 3.0), channels, 255.0)
    found = list(read_batches(lambda i: images[i], indices, how, size=(6, 5), batch_size=3, start=1))
    assert [first for first, _ in found] == [1, 4]
    order = [0, 1, 2] if channels == "rgb" else [2, 1, 0]
    expected = (images[indices[1:]][..., order] - np.array(how.mean)) / np.array(how.std)
    got = np.concatenate([batch.numpy() for _, batch in found])
    np.testing.assert_array_equal(got, expected.transpose(0, 3, 1, 2).astype(np.float32))
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for _, batch in found)


def test_resized_images(rng: np.random.Generator) -> None:
    images = np.full((4, 6, 5, 3), 100, np.uint8)
    how = Preprocessing((0.0, 0.0, 0.0), scale=255.0)
    ((_, batch),) = read_batches(lambda i: images[i], np.arange(4), how, size=(9, 4), batch_size=8)
    assert batch.shape == (4, 3, 9, 4)
    assert (batch == 100).all()


def test_an_error_of_the_reader_arrives() -> None:
    def broken(indices: np.ndarray) -> np.ndarray:
        if indices[0] >= 4:
            raise OSError("gone")
        return np.zeros((len(indices), 2, 2, 3), np.uint8)

    how = Preprocessing((0.0, 0.0, 0.0))
    batches = read_batches(broken, np.arange(9), how, size=(2, 2), batch_size=2)
    assert [next(batches)[0], next(batches)[0]] == [0, 2]
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_the_reader_stops_when_nobody_reads() -> None:
    how = Preprocessing((0.0, 0.0, 0.0))
    batches = read_batches(
        lambda i: np.zeros((len(i), 2, 2, 3), np.uint8), np.arange(1000), how, size=(2, 2), batch_size=1
    )
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name == "ndengine-reader"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2)
