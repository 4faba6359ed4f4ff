"""Caffe's networks on the command line, a real one among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ndengine
from ndcli.options import result_folder
from ndengine.settings import Settings
from tests.cli.conftest import Invoke

PROTOTXT = """
name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 32 dim: 40 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 STRIDE } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm" type: "Normalize" bottom: "conv1" top: "norm" }
"""


@pytest.fixture
def prototxt(tmp_path: Path) -> Path:
    path = tmp_path / "small.prototxt"
    path.write_text(PROTOTXT.replace("STRIDE", ""))
    return path


def test_layers_of_a_prototxt(invoke: Invoke, prototxt: Path, fails: Callable[..., str]) -> None:
    done = invoke("layers", "--model", prototxt, "--json")
    (row,) = json.loads(done.stdout)["layers"]
    assert row == {
        "layer": "relu1",
        "alias": "conv1",
        "kind": "ReLU",
        "shape": [6, 32, 40],
        "field": [[-1, 3, 1], [-1, 3, 1]],
        "calls": 1,
        "axes": "nuhw",
        "tokens": [],
    }
    prototxt.write_text("layer {\n  name: 3\n}")
    assert f"{prototxt} can't be read at line 2: name is 3" in fails("layers", "--model", prototxt)


def test_what_is_not_listed_is_named_with_the_reason(invoke: Invoke, prototxt: Path) -> None:
    done = invoke("layers", "--model", prototxt)
    assert done.stdout.splitlines()[-1] == "Not listed: layer norm of type Normalize, which is not supported."
    layers = 'layer { name: "sl" type: "Slice" bottom: "conv1" top: "x" top: "y" }'
    layers += 'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "e" }'
    layers += "".join(f'layer {{ name: "r{i}" type: "ReLU" bottom: "e" top: "r{i}" }}' for i in range(1500))
    layers += "".join(f'layer {{ name: "n{i}" type: "Normalize" bottom: "conv1" top: "n{i}" }}' for i in range(3))
    prototxt.write_text(PROTOTXT.replace("STRIDE", "") + 'input: "label" input_shape { dim: 1 }' + layers)
    assert invoke("layers", "--model", prototxt).stdout.splitlines()[-1] == (
        "Not listed: the input label, which is not the image; layer norm of type Normalize, which is not supported; "
        "layer sl of type Slice, which is not supported, and what depends on it (x, y, e and 1,500 more); "
        "and what depends on 3 others."
    )
    missing = json.loads(invoke("layers", "--model", prototxt, "--json").stdout)["missing"]
    assert len(missing) == 1 + 1 + 4 + 1500 + 3
    assert missing["r7"] == missing["sl"] == "layer sl of type Slice, which is not supported"


def test_a_run_of_a_prototxt(
    invoke: Invoke, fails: Callable[..., str], prototxt: Path, broden: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["run", "--model", prototxt, "--data", broden, "--cache", tmp_path / "cache", "--out", out]
    assert "has no weights of its own" in fails(*words)
    assert "norm of type Normalize" in fails(*words, "--weights", "random", "--layer", "norm")
    done = invoke(*words, "--weights", "random")
    assert done.exit_code == 0, done.output
    dissection = ndengine.load(out)
    layer = dissection.layer("conv1")
    assert (layer.path, layer.shape) == ("relu1", (32, 40))
    assert dissection.provenance["model"]["input_size"] == [32, 40]
    assert layer.counts.intersection.sum() > 0
    assert "is shown without computing" in invoke(*words, "--weights", "random").stderr
    prototxt.write_text(PROTOTXT.replace("STRIDE", "stride: 2"))
    assert "was made when the model had another content" in fails(*words, "--weights", "random")


@pytest.mark.parametrize("name", ["net.prototxt", "some/net.prototxt", "net.prototxt.txt", "NET.PROTOTXT"])
def test_the_folder_of_a_result_is_not_named_after_a_suffix(name: str) -> None:
    folder = result_folder(Settings(model=name, layers=("conv5",), data="scenes"))
    assert folder.name.lower() == "net-conv5-scenes"


@pytest.mark.slow
def test_the_real_res10(invoke: Invoke, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared / "weights" / "res10_ssd"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} among the real weights: no Caffe network to run")
    monkeypatch.chdir(tmp_path)
    done = invoke(
        *("run", "--model", folder / "deploy.prototxt.txt", "--layer", "fc7", "--layer", "layer_128_1_sum"),
        *("--weights", folder / "res10_300x300_ssd_iter_140000.caffemodel"),
        *("--cache", tmp_path / "cache", "--limit", 12, "--batch-size", 4),
    )
    assert done.exit_code == 0, done.output
    (out,) = Path("dissections").iterdir()
    assert out.name == "deploy-fc7-layer_128_1_sum-scenes"
    dissection = ndengine.load(out)
    assert dissection.provenance["model"]["input_size"] == [300, 300]
    assert "mean was taken off" in done.stderr
    layer = dissection.layer("fc7")
    assert (layer.path, layer.shape, layer.field) == ("last_relu", (19, 19), ((-95, 195, 16), (-95, 195, 16)))
    assert layer.counts.intersection.shape[0] == 256
    assert layer.counts.intersection.sum() > 0
    assert not layer.dead.any()
    assert dissection.layer("layer_128_1_sum").shape == (38, 38)
