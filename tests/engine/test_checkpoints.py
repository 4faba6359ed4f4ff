"""Weights in the files that training scripts write: the ones that cover the network, if they are one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.layers import resolve_layers
from ndengine.models.published import transform_as_published
from ndengine.models.trace import trace_model
from ndengine.models.weights import fit_weights, hash_state, read_weights

SIZE = (8, 8)
State = dict[str, Tensor]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    return network.eval().requires_grad_(False)


def state(seed: int = 0) -> State:
    return dict(net(seed).state_dict())


def under(prefix: str, tensors: State) -> State:
    return {prefix + key: value for key, value in tensors.items()}


def load(content: object, folder: Path) -> nn.Module:
    torch.save(content, folder / "w.pth")
    return load_file(folder / "w.pth")


def load_file(path: Path) -> nn.Module:
    network = net(9)
    trace, layers = trace_model(network, SIZE), resolve_layers(network, ["3"], "net", SIZE)
    fit_weights(network, read_weights(path), trace, layers, model_name="net", source=path.name)
    return network


def refused(content: object, folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        load(content, folder)
    assert "\n" not in str(error.value)
    return str(error.value)


OPTIMISER = {"state": {0: {"exp_avg": torch.ones(4, 3, 3, 3), "step": torch.ones(())}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda own: {"net": own, "acc": 93.1, "epoch": 100},
        lambda own: {"generator": own, "discriminator": {"0.weight": torch.ones(9, 9)}},
        lambda own: {"network": {"weights": own}, "optimizer": OPTIMISER},
        lambda own: {"epoch": 1, "models": [own]},
        lambda own: {"state_dict": {**under("model.", own), "criterion.weight": torch.ones(4)}, "epoch": 3},
        lambda own: {"state_dict": under("module.model.", own), "queue": torch.ones(3, 3)},
        lambda own: {**under("encoder.", own), **under("decoder.", {"0.weight": torch.ones(2, 2)})},
        lambda own: {**under("backbone.body.", own), "head.weight": torch.ones(2, 2)},
        lambda own: {"model": own, "model_ema": dict(own)},
        lambda own: {**own, "ema.decay": torch.ones(())},
        lambda own: {"model": {"0.weight": torch.ones(9, 9)}, "student": own},
    ],
    ids=[
        "a key of its own",
        "a network and another",
        "keys in keys, and an optimiser",
        "a list",
        "a loss with weights",
        "two prefixes and a queue",
        "an encoder",
        "a backbone",
        "an average that is the same",
        "no prefix and something more",
        "a known key of something else",
    ],
)
def test_the_one_group_that_covers_the_network_is_found(wrap: Callable[[State], Any], tmp_path: Path) -> None:
    assert hash_state(load(wrap(state()), tmp_path)) == hash_state(net())


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda a, b: {"model": a, "model_ema": b}, ("the key model", "the key model_ema", "['model']")),
        (lambda a, b: {"state_dict": a, "best": {"ema": b}}, ("the key state_dict", "the key best.ema")),
        (lambda a, b: {**under("student.", a), **under("teacher.", b)}, ("the prefix student.", "without the prefix")),
        (lambda a, b: {"state_dict": a, "ema": under("module.", b)}, ("the key state_dict", "the key ema")),
    ],
    ids=["averages", "deep", "teachers", "in parallel"],
)
def test_two_that_differ_are_refused(
    wrap: Callable[[State, State], Any], names: tuple[str, ...], tmp_path: Path
) -> None:
    said = refused(wrap(state(), state(1)), tmp_path)
    assert "has weights for the network more than once, and they differ" in said
    for name in names:
        assert name in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: (t * 100).to(torch.int8), "has int8 for the network's float32, whose scale is not known"),
        (lambda t: (t * 100).to(torch.int64), "has int64 for the network's float32"),
        (lambda t: t > 0, "has bool for the network's float32"),
        (lambda t: t.to(torch.float8_e4m3fn), "has float8_e4m3fn for the network's float32"),
        (lambda t: t.to(torch.complex64), "has complex numbers"),
        (lambda t: t.to("meta"), "has no values (device meta)"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "is quantised"),
        (lambda t: t / 0 * 0, "has values that are no numbers (NaN); get the file again"),
    ],
    ids=["int8", "int64", "bool", "float8", "complex", "meta", "quantised", "NaN"],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_weight_is_refused(change: Callable[[Tensor], Tensor], said: str, tmp_path: Path) -> None:
    content = {key: change(value) if value.is_floating_point() else value for key, value in state().items()}
    assert f"w.pth does not fit 3 of net: 0.weight {said}" in refused(content, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_floats_are_converted(dtype: torch.dtype, tmp_path: Path) -> None:
    content = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state().items()}
    loaded = load(content, tmp_path)
    assert torch.equal(loaded[0].weight, content["0.weight"].float())  # type: ignore[index]


def test_values_behind_the_layers_and_sparse_ones_are_no_matter(tmp_path: Path) -> None:
    content = {**state(), "0.weight": state()["0.weight"].to_sparse()}
    assert hash_state(load(content, tmp_path)) == hash_state(net())
    content = {**state(), "1.num_batches_tracked": torch.tensor(3.0)}
    assert load(content, tmp_path)[1].num_batches_tracked == 3  # type: ignore[index]
    content = {**state(), "1.num_batches_tracked": torch.tensor(3.5)}
    assert "has float32 for the network's int64" in refused(content, tmp_path)


def test_safetensors_with_metadata(tmp_path: Path) -> None:
    save_file(under("model.", state()), tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert hash_state(load_file(tmp_path / "w.safetensors")) == hash_state(net())


def test_a_part_with_the_same_names_inside_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    """Only the first layer is asked for, which a block of the network has, too."""

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.block = nn.Sequential()
            self.block.add_module("conv", nn.Conv2d(3, 3, 3, padding=1))

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = self.block(self.conv(images))
            return found

    trained, fresh = Nested().eval(), Nested().eval()
    torch.save(under("model.", dict(trained.state_dict())), tmp_path / "w.pth")
    trace, layers = trace_model(fresh, SIZE), resolve_layers(fresh, ["conv"], "net", SIZE)
    fit_weights(fresh, read_weights(tmp_path / "w.pth"), trace, layers, model_name="net", source="w.pth")
    assert torch.equal(fresh.conv.weight, trained.conv.weight)


@pytest.mark.parametrize(("steps", "transforms"), [(0, True), (None, True), (7, False)])
def test_input_is_transformed_as_with_published_weights(steps: int | None, transforms: bool) -> None:
    network = nn.Module()
    network.transform_input = False  # type: ignore[assignment]
    counters = {} if steps is None else {"bn.num_batches_tracked": torch.tensor(steps)}
    (note,) = transform_as_published(network, {"bn.running_mean": torch.ones(2), **counters}, "googlenet")
    assert network.transform_input is transforms  # type: ignore[comparison-overlap]
    assert "transform_input" in note
    assert transform_as_published(network, None, "googlenet") == ()
    assert transform_as_published(nn.Module(), {}, "vgg16") == ()
