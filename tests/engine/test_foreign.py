"""Factories of other people's: what they print, raise and return, and torchvision's repair before them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ndengine.errors import ModelError
from ndengine.models.factory import build_from_factory
from ndengine.models.foreign import foreign_output, is_foreign, said, settle_network, unwrap_network
from ndengine.models.registry import load_model

NET = """
import atexit, ctypes, logging, os, sys
import torch
from torch import nn
print("imported")
logging.basicConfig(stream=sys.stdout, level=logging.INFO)

class Talks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        print("passes")
        return self.conv(x)

def build():
    print("built")
    logging.info("logged")
    os.write(1, b"by number\\n")
    os.system("echo by a child")
    ctypes.CDLL(None).puts(b"by C")
    return Talks()

def tv():
    import torchvision
    return torchvision.models.resnet18(weights=None)

def leaves():
    sys.exit(3)
"""


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_factory_prints_is_no_result(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "net.py").write_text(NET)
    command = [sys.executable, "-m", "ndcli", "layers", "--model", "net.py:build", "--size", "16"]
    done = subprocess.run([*command, *["--json"] * as_json], cwd=tmp_path, capture_output=True, text=True, check=True)
    if as_json:
        assert [row["layer"] for row in json.loads(done.stdout)["layers"]] == ["conv"]
    for word in ("imported", "built", "logged", "by number", "by a child", "by C", "passes"):
        assert word in done.stderr
        assert word not in done.stdout


def test_output_returns_where_it_went(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")

    def fails() -> None:
        with foreign_output():
            print("meanwhile")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    print("after")
    assert capfd.readouterr() == ("before\nafter\n", "meanwhile\n")


@pytest.mark.parametrize("first", ["import net; net.tv()", "import timm", "import torchvision.ops"])
def test_torchvision_is_repaired_before_anybody_imports_it(tmp_path: Path, first: str) -> None:
    """In a process of its own, with a torchvision that fails as one for another torch does, on its first try."""
    if "timm" in first and not find_spec("timm"):
        pytest.skip("no timm")
    (tmp_path / "net.py").write_text(NET)
    code = f"""
from ndengine.models.torchvision_import import repair_torchvision
import sys
repair_torchvision()
assert "torchvision" not in sys.modules
{first}
from ndengine.models.torchvision_import import torchvision_models
assert torchvision_models() is sys.modules["torchvision.models"]
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_factory_that_ends_the_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"net.py:leaves failed: SystemExit: 3; a factory is called"):
        build_from_factory("net.py:leaves")
    (tmp_path / "script.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--wrong'])\n")
    with pytest.raises(ModelError, match=r"can't be imported: SystemExit: 2; keep .* under if __name__"):
        build_from_factory("script.py:build")
    (tmp_path / "stopped.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        build_from_factory("stopped.py:build")


class _MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("conv9"), "KeyError: 'conv9'"),
        (StopIteration(), "StopIteration"),
        (_MuteError(), "_MuteError"),
        (ValueError("one\x1b[31m.\ntwo"), "ValueError: one [31m"),
        (RuntimeError("x" * 999), f"RuntimeError: {'x' * 300}…"),
        (
            RuntimeError("The following operation failed in the TorchScript interpreter.\nTrace\nRuntimeError: why\n"),
            "RuntimeError: RuntimeError: why",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_errors_own_words(error: Exception, words: str) -> None:
    assert said(error) == words


def test_which_errors_are_the_networks_own(tmp_path: Path) -> None:
    def raised(error: BaseException, file: str) -> BaseException:
        try:
            exec(compile("raise error", file, "exec"), {"error": error})
        except BaseException as caught:
            return caught
        raise AssertionError

    ours = Path(sys.modules["ndengine"].__file__ or "").parent / "progress.py"
    assert all(is_foreign(raised(error, "net.py")) for error in (KeyError(), SystemExit(1), BaseException()))
    assert not is_foreign(raised(SystemExit(1), str(ours))), "a signal, told to us in the middle of a pass"
    assert not is_foreign(KeyboardInterrupt())
    assert not is_foreign(ModelError("ours"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel, lambda n: torch.compile(nn.DataParallel(n))])
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], Any]) -> None:
    inner = net()
    assert unwrap_network(wrap(inner), "net") is inner
    outer = nn.Sequential(wrap(inner), nn.Conv2d(4, 2, 1))
    assert unwrap_network(outer, "net")[0] is inner  # type: ignore[index]


def test_a_network_compiled_in_place_runs_as_it_was_written() -> None:
    network = net()
    network.compile(backend=lambda *_: pytest.fail("compiled"))
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(unwrap_network(network, "net")(images), net()(images))


@pytest.mark.filterwarnings("ignore")
def test_what_shows_nobody_its_layers_is_refused() -> None:
    images = torch.zeros(2, 3, 16, 16)
    for program in (torch.jit.script(net()), torch.jit.trace(net(), images)):
        with pytest.raises(ModelError, match=r"net gives a TorchScript program, .* Python code, and its state dict"):
            unwrap_network(program, "net")
    exported = torch.export.export(net(), (images,))
    with pytest.raises(ModelError, match=r"exported program, .* return torch.export.unflatten\(program\)"):
        unwrap_network(exported, "net")
    with pytest.raises(ModelError, match=r"module of an exported program, .* return torch.export.unflatten\(program\)"):
        settle_network(unwrap_network(exported.module(), "net"), "net")
    with pytest.raises(ModelError, match="net gives int; a factory must return"):
        unwrap_network(7, "net")
    with torch.device("meta"):
        hollow = nn.Conv2d(3, 4, 3)
    with pytest.raises(ModelError, match=r"without values, on the device meta \(weight, bias\)"):
        settle_network(hollow, "net")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["a scripted part", "unflattened", "traced by fx"])
def test_networks_of_these_kinds_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ndengine.probe import Probe

    images = torch.rand(2, 3, 16, 16)

    def unflattened() -> nn.Module:
        batch = torch.export.Dim("batch", min=1, max=512)
        program = torch.export.export(net(), (torch.zeros(4, 3, 16, 16),), dynamic_shapes=({0: batch},))
        return torch.export.unflatten(program)

    makers: dict[str, Callable[[], nn.Module]] = {
        "a scripted part": lambda: nn.Sequential(torch.jit.script(net()[0]), nn.ReLU()),
        "unflattened": unflattened,
        "traced by fx": lambda: torch.fx.symbolic_trace(net()),
    }
    source = sys.modules[__name__]
    monkeypatch.setattr(source, "made", makers[kind], raising=False)
    monkeypatch.setitem(sys.modules, "nets_of_these_kinds", source)
    model = load_model("nets_of_these_kinds:made", layers=["1"], size=(16, 16), cache=tmp_path)
    assert model.layers[0].shape == (4, 14, 14)
    found = Probe(model.module, model.layers).activations(images)["1"]
    torch.testing.assert_close(found, net()(images).detach())
