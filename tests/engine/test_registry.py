"""Names to networks: every form of --model with every kind of --weights."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from ndengine.errors import ModelError
from ndengine.models import list_layers, scenesnet
from ndengine.models.download import hash_file
from ndengine.models.preprocess import ASSUMED, IMAGENET, Preprocessing
from ndengine.models.registry import LoadedModel, load_model
from ndengine.models.torchvision_import import torchvision_models
from ndengine.models.weights import hash_state

FACTORY = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, dtype=torch.float64)
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.drop(self.conv(x))

def build():
    from {helper} import WIDTH
    assert WIDTH == 4
    return Small().train()

def broken():
    raise KeyError("no such file: weights.bin")

def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3))

def number():
    return 7

def needs(argument):
    return Small()

class Space:
    build = staticmethod(build)

network = Small()
value = 3
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    return partial(load_model, cache=tmp_path / "cache", size=(32, 32))


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module with factories, in the current folder."""
    name, helper = f"networks_{tmp_path.name}", f"helper_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FACTORY.replace("{helper}", helper))
    (tmp_path / f"{helper}.py").write_text("WIDTH = 4\n")
    monkeypatch.chdir(tmp_path)
    yield name
    for loaded in (name, helper, f"_ndengine_model_{name}"):
        sys.modules.pop(loaded, None)


def is_ready(model: LoadedModel) -> bool:
    tensors = [*model.module.parameters(), *model.module.buffers()]
    return (
        not any(part.training for part in model.module.modules())
        and not any(tensor.requires_grad for tensor in tensors)
        and all(t.dtype == torch.float32 for t in tensors if t.is_floating_point())
    )


def test_random_weights_follow_the_seed_and_leave_torchs_own_alone(load: Any) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (load("squeezenet1_1", "random", ["fire9"], seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert is_ready(first)
    assert first.weights_sha256 == again.weights_sha256 == hash_state(first.module) != other.weights_sha256
    assert (first.name, first.weights, other.weights) == ("squeezenet1_1", "random, seed 0", "random, seed 1")
    assert first.preprocessing == ASSUMED
    assert first.size == (224, 224)
    assert [(layer.name, layer.path, layer.shape) for layer in first.layers] == [("fire9", "features.12", (512, 1, 1))]


def test_random_weights_are_torchvisions_own_draw(load: Any) -> None:
    model = load("vgg11", "random", ["conv1_1"], seed=3)
    torch.manual_seed(3)
    plain = torchvision_models().get_model_builder("vgg11")(weights=None)
    assert hash_state(model.module) == hash_state(plain)
    assert model.default_layers == ("conv5_2",)


@pytest.mark.parametrize(
    ("name", "default", "size"),
    [
        ("alexnet", "conv5", (224, 224)),
        ("squeezenet1_0", "features.12", (224, 224)),
        ("resnet18", "layer4", (224, 224)),
        ("densenet121", "features", (224, 224)),
        ("mobilenet_v2", "features", (224, 224)),
        ("shufflenet_v2_x0_5", "conv5", (224, 224)),
    ],
)
def test_torchvision_networks_have_default_layers(tmp_path: Path, name: str, default: str, size: Any) -> None:
    model = load_model(name, "random", cache=tmp_path)
    assert (model.default_layers, model.size) == ((default,), size)
    assert [layer.name for layer in model.layers] == [default]
    assert model.layers[0].shape[1] > 1


def test_a_backbone_that_gives_a_dict_of_maps(tmp_path: Path) -> None:
    model = load_model("lraspp_mobilenet_v3_large", "random", cache=tmp_path)
    (layer,) = model.layers
    assert (model.default_layers, layer.path, layer.part) == (("backbone/high",), "backbone", "high")
    assert layer.shape == (960, 14, 14)
    with pytest.raises(
        ModelError, match=r"Layer backbone of .* has several .* ask for one of backbone/low, backbone/high"
    ):
        load_model("lraspp_mobilenet_v3_large", "random", ["backbone"], cache=tmp_path)


def test_segmentation_networks_fetch_no_backbone(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("a download"))
    (layer,) = load("fcn_resnet50", "random").layers
    assert (layer.path, layer.shape[0]) == ("backbone.layer4", 2048)


@pytest.mark.parametrize(
    ("model", "close"),
    [("vgg61", "vgg16"), ("resnet_50", "resnet50"), ("scenenet", "scenesnet"), ("zzz", "no name comes close")],
)
def test_unknown_models_name_close_ones(load: Any, model: str, close: str) -> None:
    with pytest.raises(ModelError, match=rf"There is no model '{model}': .*{close}"):
        load(model, "random")


def test_a_file_without_a_factory_is_told_how(load: Any) -> None:
    with pytest.raises(ModelError, match=r"given as net.py:FACTORY"):
        load("net.py", "random")


def test_unknown_layers_are_told(load: Any) -> None:
    with pytest.raises(ModelError, match=r"squeezenet1_1 has no layer 'fire1'.*fire"):
        load("squeezenet1_1", "random", ["fire1"])


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, nn.Module]]:
    """GoogLeNet's published edition, held by a server on this machine, with weights of our own."""
    models = torchvision_models()
    folder = tmp_path / "server"
    folder.mkdir()
    torch.manual_seed(9)
    trained = models.get_model_builder("googlenet")(weights=None, init_weights=False).eval()
    torch.save(trained.state_dict(), folder / "new.pth")
    name = f"googlenet-{hash_file(folder / 'new.pth')[:8]}.pth"
    (folder / "new.pth").rename(folder / name)
    edition = models.get_model_weights("googlenet").DEFAULT
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *a: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(edition.value, "url", f"http://127.0.0.1:{server.server_port}/{name}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield edition, trained
        server.shutdown()
        thread.join()


def test_published_weights_are_fetched_and_bring_their_preprocessing(
    published: tuple[Any, nn.Module], tmp_path: Path
) -> None:
    edition, trained = published
    file = tmp_path / "cache" / "weights" / edition.url.rpartition("/")[2]
    model = load_model("googlenet", "default", ["inception_3a"], size=(64, 64), cache=tmp_path / "cache")
    assert is_ready(model)
    assert model.weights_sha256 == hash_file(file)
    assert (model.weights, model.default_layers) == ("torchvision GoogLeNet_Weights.IMAGENET1K_V1", ("inception5b",))
    assert (model.preprocessing, model.preprocessing.note) == (IMAGENET, "")
    state = model.module.state_dict()
    assert torch.equal(
        state["inception5b.branch1.conv.weight"], trained.state_dict()["inception5b.branch1.conv.weight"]
    )
    # What torchvision's builder adds for published weights: another range of the input, no auxiliary classifiers.
    assert model.module.transform_input is True
    assert not any(key.startswith("aux") for key in state)
    assert "get_state_dict" not in vars(edition)

    # The same file under any name is known by its checksum; torch's own cache is used too.
    renamed = tmp_path / "mine.pth"
    renamed.write_bytes(file.read_bytes())
    mine = load_model("googlenet", str(renamed), ["inception_3a"], size=(64, 64), cache=tmp_path / "none")
    assert (mine.weights, mine.weights_sha256) == (model.weights, model.weights_sha256)
    assert mine.preprocessing == IMAGENET
    assert mine.module.transform_input is True
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    file.rename(hub / file.name)
    load_model("googlenet", "default", ["inception_3a"], size=(64, 64), cache=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_published_weights_that_are_gone_name_the_way_out(
    published: tuple[Any, nn.Module], load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = published[0].url.replace("googlenet", "moved")
    monkeypatch.setattr(published[0].value, "url", url)
    with pytest.raises(ModelError, match=rf"{url} can't be fetched \(404 .*--weights FILE"):
        load("googlenet", "default")


def test_real_weight_files(shared: Path, tmp_path: Path) -> None:
    file = shared / "weights" / "squeezenet1_1_ndf.pth"
    model = load_model("squeezenet1_1", str(file), ["features.12"], cache=tmp_path)
    assert is_ready(model)
    assert (model.weights, model.weights_sha256) == (str(file), hash_file(file))
    assert model.preprocessing == ASSUMED
    assert model.layers[0].shape == (512, 13, 13)
    file = shared / "weights" / "vgg16_features_hed_bsds500.pth"
    model = load_model("vgg16", str(file), ["conv5_3", "conv4_3"], cache=tmp_path)
    assert [layer.shape for layer in model.layers] == [(512, 14, 14), (512, 28, 28)]
    with pytest.raises(ModelError, match=r"hed_bsds500.pth does not fit fc7 of vgg16: it lacks classifier.0.weight"):
        load_model("vgg16", str(file), ["fc7"], cache=tmp_path)
    with pytest.raises(ModelError, match="does not fit conv5 of alexnet: it "):
        load_model("alexnet", str(file), ["conv5"], cache=tmp_path)


@pytest.mark.parametrize("weights", ["nothing.pth", "imagenet", "net.caffemodel"])
def test_weights_that_are_no_file(load: Any, weights: str) -> None:
    with pytest.raises(ModelError, match=f"{weights} .*default"):
        load("alexnet", weights)


@pytest.mark.parametrize("form", ["{0}:build", "{0}.py:build", "{0}:Small", "{0}:Space.build", "{0}:network"])
def test_factories(load: Any, factory: str, form: str) -> None:
    path = list(sys.path)
    model = load(form.format(factory), layers=["conv"])
    assert is_ready(model)
    assert (model.name, model.weights) == (form.format(factory), "as the factory returns them")
    assert (model.default_layers, model.size, model.preprocessing) == (("drop",), None, ASSUMED)
    assert model.layers[0].shape == (4, 30, 30)
    assert sys.path == path


def test_a_factory_draws_by_the_seed_and_takes_a_file(load: Any, factory: str, tmp_path: Path) -> None:
    models = [load(f"{factory}.py:build", layers=["conv"], seed=seed).module for seed in (0, 0, 1)]
    states = [model.conv.weight for model in models]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    torch.save({"module.conv.weight": states[2], "module.conv.bias": models[2].conv.bias}, tmp_path / "w.pth")
    fitted = load(f"{factory}:build", str(tmp_path / "w.pth"), ["conv"])
    assert torch.equal(fitted.module.conv.weight, states[2])
    assert fitted.weights_sha256 == hash_file(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("{0}:broken", "{0}:broken failed: KeyError: 'no such file: weights.bin'"),
        ("{0}:needs", "{0}:needs failed: TypeError: needs() missing 1 required positional argument"),
        ("{0}:number", "{0}:number gives int; a factory must return a torch.nn.Module."),
        ("{0}:value", "{0}:value gives int; a factory must return a torch.nn.Module."),
        ("{0}:lazy", "{0}:lazy has parameters that get their shape when it first runs (0.weight, 0.bias); run it once"),
        ("{0}:biuld", "{0} has no biuld (close names: build"),
        ("{0}:Space.other", "{0} has no Space.other"),
        ("{0}.py:biuld", "{0}.py has no biuld (close names: build"),
        ("absent_{0}:build", "absent_{0} of --model absent_{0}:build can't be imported: ModuleNotFoundError"),
        ("absent_{0}.py:build", "absent_{0}.py does not exist"),
        ("bad.py:build", "bad.py of --model bad.py:build can't be imported: SyntaxError"),
    ],
)
def test_what_goes_wrong_in_a_factory_is_told(load: Any, factory: str, model: str, said: str) -> None:
    Path("bad.py").write_text("def build(:\n")
    path = list(sys.path)
    with pytest.raises(ModelError) as error:
        load(model.format(factory))
    assert said.format(factory) in str(error.value)
    assert sys.path == path


def test_a_factory_has_no_random_weights_of_ours(load: Any, factory: str) -> None:
    with pytest.raises(ModelError, match="decides on its own weights"):
        load(f"{factory}:build", "random")


def test_scenesnet_untrained(tmp_path: Path) -> None:
    random = load_model("scenesnet", "random", cache=tmp_path)
    assert is_ready(random)
    assert random.preprocessing == Preprocessing(**scenesnet.PREPROCESSING)  # type: ignore[arg-type]
    assert random.size == scenesnet.INPUT_SIZE
    assert [layer.name for layer in random.layers] == [scenesnet.DEFAULT_LAYER]


def test_scenesnet_trained(tmp_path: Path) -> None:
    random, trained = (load_model("scenesnet", weights, cache=tmp_path) for weights in ("random", "default"))
    assert is_ready(trained)
    assert hash_state(trained.module) == hash_state(scenesnet.scenesnet()) == trained.weights_sha256
    assert trained.weights_sha256 != random.weights_sha256


def test_timm_is_asked_for_where_it_is_missing(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm:resnet10t needs the package timm.*pip install timm"):
        load("timm:resnet10t")


def test_timm_networks(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that has the three functions of timm that are used."""

    def create_model(name: str, pretrained: bool) -> nn.Module:
        if name == "gone" and pretrained:
            raise RuntimeError("no such host")
        return nn.Sequential(nn.Conv2d(3, 2 if pretrained else 4, 3), nn.ReLU())

    timm: Any = ModuleType("timm")
    timm.is_model = lambda name: name in ("tiny", "gone")
    timm.list_models = lambda: ["tiny", "gone"]
    timm.create_model = create_model
    config = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.5), "input_size": (3, 96, 128)}
    timm.data = SimpleNamespace(resolve_model_data_config=lambda module: config)
    monkeypatch.setitem(sys.modules, "timm", timm)
    model = load("timm:tiny", layers=["1"])
    assert (model.weights, model.size, model.layers[0].shape) == ("timm's for tiny", (96, 128), (2, 30, 30))
    assert model.preprocessing == Preprocessing((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert load("timm:tiny", "random", ["1"]).layers[0].shape == (4, 30, 30)
    with pytest.raises(ModelError, match="timm has no model 'tony': close names are tiny"):
        load("timm:tony")
    with pytest.raises(ModelError, match="timm:gone can't be built: no such host; use --weights random or a file"):
        load("timm:gone")


def test_layers_are_listed_without_weights(factory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("a download"))
    rows = {row["layer"]: row for row in list_layers("squeezenet1_1")}
    assert rows["features.12"] == {
        "layer": "features.12",
        "alias": "fire9",
        "kind": "Fire",
        "shape": [512, 13, 13],
        "field": [[-88, 207, 16], [-88, 207, 16]],
        "calls": 1,
        "axes": "nuhw",
        "tokens": [],
    }
    assert next(iter(list_layers(f"{factory}:build", (20, 30))))["shape"] == [4, 18, 28]
    assert list_layers("scenesnet")[-1]["shape"][1:] == [1, 1]


def test_torchvision_is_imported_once() -> None:
    models = torchvision_models()
    assert models is torchvision_models()
    assert models.__name__ == "torchvision.models"
