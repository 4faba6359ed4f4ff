"""Weight files: what is read, what is refused, and what must fit."""

from __future__ import annotations

import copy
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.layers import resolve_layers
from ndengine.models.torchvision_import import torchvision_models
from ndengine.models.trace import trace_model
from ndengine.models.weights import State, fit_weights, hash_state, read_weights

SIZE = (40, 40)


class Net(nn.Module):
    """A stem, a row of three blocks and two heads, the second of which is never used."""

    def __init__(self, blocks: int = 3, classes: int = 4, bias: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU())
        self.row = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()) for _ in range(blocks)])
        self.fc = nn.Linear(4, classes)
        self.spare = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.row:
            x = block(x)
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


def net(seed: int = 0, **arguments: Any) -> Net:
    torch.manual_seed(seed)
    return Net(**arguments).eval()


def state_of(module: nn.Module) -> State:
    return {key: value.clone() for key, value in module.state_dict().items()}


def fit(module: nn.Module, state: State, layers: Sequence[str]) -> None:
    trace = trace_model(module, SIZE)
    found = resolve_layers(module, layers, "net", SIZE, trace)
    fit_weights(module, state, trace, found, model_name="net", source="file.pth")


def output(module: nn.Module, path: str) -> Tensor:
    kept: list[Tensor] = []
    handle = module.get_submodule(path).register_forward_hook(lambda m, i, out: kept.append(out))
    with torch.no_grad():
        module(torch.linspace(0, 1, 3 * SIZE[0] * SIZE[1]).view(1, 3, *SIZE))
    handle.remove()
    return kept[0]


def fits_misfits(state: State, layers: Sequence[str], said: str) -> None:
    with pytest.raises(ModelError) as error:
        fit(net(1), state, layers)
    assert said in str(error.value)
    assert str(error.value).startswith("file.pth does not fit ")


def test_a_whole_state_dict_is_loaded() -> None:
    trained, fresh = net(), net(1)
    fit(fresh, state_of(trained), ["fc"])
    assert hash_state(fresh) == hash_state(trained)
    assert torch.equal(output(fresh, "fc"), output(trained, "fc"))


def test_what_lies_behind_the_layers_may_be_missing() -> None:
    trained, fresh = net(), net(1)
    state = state_of(trained)
    del state["fc.weight"], state["row.2.0.bias"], state["spare.bias"]
    fit(fresh, state, ["row.1"])
    assert torch.equal(output(fresh, "row.1"), output(trained, "row.1"))
    fits_misfits(state, ["row.2"], "does not fit row.2 of net: it lacks row.2.0.bias; use weights")
    fits_misfits(state, ["row.0", "fc"], "does not fit row.0, fc of net: it lacks row.2.0.bias, fc.weight; use weights")
    state = state_of(trained)
    del state["spare.bias"], state["stem.1.num_batches_tracked"]
    fit(fresh, state, ["fc"])
    with pytest.raises(ModelError, match=r"does not fit net: it lacks spare.bias; "):
        fit(fresh, state, [])


def test_buffers_are_needed_too() -> None:
    state = state_of(net())
    del state["stem.1.running_var"]
    fits_misfits(state, ["stem"], "it lacks stem.1.running_var;")
    fit(net(1), state, ["stem.0"])


def test_a_parameter_is_needed_by_the_layer_that_reads_it_and_not_by_its_place() -> None:
    class Backwards(nn.Module):
        """Runs in another order than it registers, and uses a parameter without a module."""

        def __init__(self) -> None:
            super().__init__()
            self.late = nn.Conv2d(3, 3, 1)
            self.gain = nn.Parameter(torch.ones(3, 1, 1))
            self.early = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.late(self.early(x) * self.gain)
            return out

    state = state_of(Backwards())
    del state["late.weight"]
    fit(Backwards().eval(), state, ["early"])
    del state["gain"]
    fit(Backwards().eval(), state, ["early"])
    with pytest.raises(ModelError, match=r"it lacks late.weight, gain;|it lacks gain, late.weight;"):
        fit(Backwards().eval(), state, ["late"])


def test_shapes_must_fit_up_to_the_layers() -> None:
    trained, fresh = net(classes=10), net(1)
    fit(fresh, state_of(trained), ["row.2"])
    assert torch.equal(output(fresh, "row.2"), output(trained, "row.2"))
    fits_misfits(state_of(trained), ["fc"], "it has fc.weight [10, 4] instead of [4, 4], fc.bias [10] instead of [4];")


def test_no_more_than_five_keys_are_named() -> None:
    state = state_of(net())
    few = {"fc.weight": state["fc.weight"]}
    wanted = "it lacks stem.0.weight, stem.1.weight, stem.1.bias, stem.1.running_mean, stem.1.running_var and 7 more;"
    fits_misfits(few, ["fc"], wanted)


@pytest.mark.parametrize(
    ("key", "layers"),
    [
        ("aux.fc.weight", ["fc"]),  # a part that the network lacks, at the top
        ("fc.lora.weight", ["row.2"]),  # behind the layer
        ("row.3.0.weight", ["row.2"]),  # the row may be longer: what the layer needs is there
        ("row.1.0.weight_g", ["row.0"]),
        ("stem.1.total_ops", ["fc"]),  # bookkeeping
        ("stem.9.num_batches_tracked", ["fc"]),
    ],
)
def test_unexpected_keys_elsewhere_do_not_matter(key: str, layers: list[str]) -> None:
    trained, fresh = net(), net(1)
    fit(fresh, state_of(trained) | {key: torch.zeros(3)}, layers)
    assert torch.equal(output(fresh, layers[-1]), output(trained, layers[-1]))


@pytest.mark.parametrize(
    ("key", "layers"),
    [
        ("stem.0.bias", ["stem"]),  # a term more in a convolution that has run
        ("stem.3.weight", ["row.0"]),  # a step more in a part that is done
        ("row.3.0.weight", ["fc"]),  # a block more in a row that is done
        ("row.0.se.weight", ["row.1"]),
        ("row.0.0.bias_extra", ["row.2"]),
        ("position", ["row.2"]),  # at the top, where nothing says when it is used
    ],
)
def test_unexpected_keys_in_what_has_run_are_errors(key: str, layers: list[str]) -> None:
    fits_misfits(state_of(net()) | {key: torch.zeros(3)}, layers, f"it also has {key}, for which the network has no")


def test_a_file_of_a_deeper_network_is_told() -> None:
    deep = state_of(net(blocks=5))
    fits_misfits(deep, ["fc"], "it also has row.3.0.weight, row.3.0.bias, row.4.0.weight, row.4.0.bias, for which")
    trained, fresh = net(blocks=5), net(1)
    fit(fresh, deep, ["row.1"])
    assert torch.equal(output(fresh, "row.1"), output(trained, "row.1"))


def test_a_file_of_something_else_is_told() -> None:
    fits_misfits(
        {"encoder.0.weight": torch.zeros(2), "x": torch.zeros(1)}, ["fc"], "it has encoder.0.weight, x, the network"
    )


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(key): value for key, value in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda key: f"module.{key}",
        lambda key: f"_orig_mod.module.{key}",
        lambda key: key.replace("row.", "row.module."),
        lambda key: f"model.{key}",
        lambda key: f"module.backbone.{key}",
    ],
    ids=["DataParallel", "compiled", "a part of it in parallel", "a prefix", "both"],
)
def test_marks_of_wrappers_are_stripped(change: Callable[[str], str]) -> None:
    trained, fresh = net(), net(1)
    fit(fresh, renamed(state_of(trained), change), ["fc"])
    assert hash_state(fresh) == hash_state(trained)


def test_a_network_with_a_part_called_module_keeps_it() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.module(x)
            return out

    trained, fresh = Wrapped().eval(), Wrapped().eval()
    fit(fresh, state_of(trained), ["module"])
    assert hash_state(fresh) == hash_state(trained)


def test_names_of_old_densenets_are_understood() -> None:
    build = torchvision_models().get_model_builder("densenet121")
    trained, fresh = (build(weights=None).eval() for _ in range(2))
    old = renamed(state_of(trained), lambda k: k.replace("norm1", "norm.1").replace("conv2", "conv.2"))
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    fit(fresh, old, ["features"])
    assert hash_state(fresh) == hash_state(trained)


def test_tied_weights_need_one_of_their_names() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.second = nn.Conv2d(3, 3, 1)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.first(x))
            return out

    trained, fresh = Tied().eval(), Tied().eval()
    state = state_of(trained)
    del state["first.weight"]
    fit(fresh, state, ["second"])
    assert hash_state(fresh) == hash_state(trained)


def test_half_precision_is_widened() -> None:
    fresh = net(1)
    fit(fresh, {k: v.half() if v.is_floating_point() else v for k, v in state_of(net()).items()}, ["fc"])
    assert fresh.fc.weight.dtype == torch.float32
    assert torch.allclose(fresh.fc.weight, net().fc.weight, atol=1e-3)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pth.tar", ".bin", ".ckpt", ".PTH"])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict", "model"])
def test_checkpoints_are_read(tmp_path: Path, suffix: str, legacy: bool, wrap: str | None) -> None:
    state = state_of(net())
    content: object = {wrap: OrderedDict(state), "epoch": 3, "arch": "net", "optimizer": {"lr": 0.1}} if wrap else state
    path = tmp_path / f"weights{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_weights(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


def test_wrappers_in_wrappers_and_values_that_are_no_tensors(tmp_path: Path) -> None:
    torch.save({"model": {"state_dict": {"a": torch.ones(2), "version": 1}}}, tmp_path / "w.pt")
    assert list(read_weights(tmp_path / "w.pt")) == ["a"]


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(state_of(net()), tmp_path / "w.safetensors")
    fresh = net(1)
    fit(fresh, read_weights(tmp_path / "w.safetensors"), ["fc"])
    assert hash_state(fresh) == hash_state(net())


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        read_weights(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_told(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save(state_of(net()), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for kept in (0, 1, 5, 60, len(whole) // 3, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:kept])
        assert "is damaged, incomplete or no weights file" in refused(path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x02}q\x00.", b"\x00" * 200, bytes(range(256)) * 4])
def test_other_files_are_told(tmp_path: Path, content: bytes) -> None:
    for name in ("w.pth", "w.safetensors"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)


def test_damaged_safetensors_are_told(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state_of(net()), path)
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[:100], whole[:-1], struct.pack("<Q", 2**60) + whole[8:]):
        path.write_bytes(content)
        assert "is damaged, incomplete or no weights file" in refused(path)


def test_pickled_networks_are_refused_without_running_them(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
            return (Path.write_text, (tmp_path / "exploded", "boom"))  # type: ignore[return-value]

    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    said = refused(tmp_path / "whole.pth")
    assert "holds an object of torch.nn.modules.linear.Linear" in said
    assert "torch.save(network.state_dict(), FILE)" in said
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    refused(tmp_path / "bomb.pth")
    torch.save({"state_dict": {"a": torch.ones(1)}, "note": Bomb()}, tmp_path / "bomb.pt")
    refused(tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


def test_torchscript_is_told(tmp_path: Path) -> None:
    scripted = torch.package.PackageExporter(tmp_path / "w.pt")
    scripted.close()
    refused(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.ones(3), {"state_dict": {}}], ids=repr)
def test_files_without_a_state_dict_are_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "holds no state dict" in refused(tmp_path / "w.pth")


def test_missing_files_and_other_kinds_are_told(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "w.pth")
    (tmp_path / "net.caffemodel").write_bytes(b"x")
    assert "use default, random or a file that ends in .pth" in refused(tmp_path / "net.caffemodel")
    assert "is no weights file by its name" in refused(Path("imagenet"))


def test_the_hash_of_a_network_covers_names_values_and_types() -> None:
    first = net()
    assert hash_state(first) == hash_state(copy.deepcopy(first))
    assert len(hash_state(first)) == 64
    changed = copy.deepcopy(first)
    with torch.no_grad():
        changed.fc.bias[0] = torch.nextafter(changed.fc.bias[0], torch.tensor(9.0))
    names = nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.ModuleDict({"b": nn.Linear(2, 2)})
    names[1]["b"].load_state_dict(names[0]["a"].state_dict())
    hashes = [hash_state(m) for m in (first, changed, net(1), copy.deepcopy(first).double(), *names)]
    assert len(set(hashes)) == len(hashes)


def test_real_weights_fit(shared: Path) -> None:
    models = torchvision_models()
    squeezenet = models.get_model_builder("squeezenet1_1")(weights=None).eval()
    file = read_weights(shared / "weights" / "squeezenet1_1_ndf.pth")
    fit(squeezenet, file, ["classifier"])
    assert torch.equal(squeezenet.state_dict()["features.12.expand3x3.bias"], file["features.12.expand3x3.bias"])
    vgg = models.get_model_builder("vgg16")(weights=None, init_weights=False).eval()
    file = read_weights(shared / "weights" / "vgg16_features_hed_bsds500.pth")
    fit(vgg, file, ["conv5_3"])
    assert torch.equal(vgg.state_dict()["features.28.weight"], file["features.28.weight"])
    with pytest.raises(ModelError, match=r"does not fit fc6 of net: it lacks classifier.0.weight, classifier.0.bias;"):
        fit(vgg, file, ["fc6"])
