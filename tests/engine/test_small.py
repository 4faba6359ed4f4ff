"""The small networks: trained from seeds, kept whole, found by name."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ndengine.errors import ModelError
from ndengine.models.registry import load_model
from ndengine.models.small import crew
from ndengine.models.small.crew import train_missing
from ndengine.models.small.rows import NETWORKS, Budget, find_network, network_names
from ndengine.models.small.store import RECEIPT, WEIGHTS, Store
from ndengine.models.small.train import train_small
from ndengine.models.training.loop import Epoch
from ndengine.progress import Silent

TINY = Budget(images=64, epochs=1)  # two steps
BASE, WIDE = NETWORKS["small-base"], NETWORKS["small-wide"]


class Told(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def ignore(epoch: Epoch) -> None:
    del epoch


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the base has been trained, a little."""
    folder = tmp_path_factory.mktemp("cache")
    train_small(BASE, folder, TINY, after_epoch=ignore)
    return folder


def copy_of(cache: Path, folder: Path) -> Path:
    subprocess.run(["cp", "-r", str(cache), str(folder)], check=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_training_leaves_weights_snapshots_and_a_receipt(cache: Path) -> None:
    home = Store(cache).home(BASE)
    assert sorted(path.name for path in home.iterdir()) == [
        "iter-000000.safetensors",
        "iter-000001.safetensors",
        "iter-000002.safetensors",
        RECEIPT,
        WEIGHTS,
    ]
    receipt = json.loads((home / RECEIPT).read_text())
    assert receipt["network"]["seed"] == 0
    assert receipt["budget"] == {"images": 64, "epochs": 1}
    assert receipt["iterations"] == TINY.iterations == 2
    assert receipt["versions"]["torch"] == torch.__version__
    assert [set(epoch["marks"]) for epoch in receipt["epochs"]] == [{"scene", "texture"}]
    first, last = (load_file(home / name) for name in ("iter-000000.safetensors", WEIGHTS))
    assert not torch.equal(first["conv5.conv.weight"], last["conv5.conv.weight"])
    assert torch.equal(last["head.tags.weight"], load_file(home / "iter-000002.safetensors")["head.tags.weight"])


def test_a_seed_decides_every_byte(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what has been drawn before makes no difference
    before = torch.get_rng_state(), torch.get_num_threads()
    train_small(BASE, tmp_path, TINY, after_epoch=ignore)
    assert contents(Store(tmp_path).home(BASE)) == contents(Store(cache).home(BASE))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


def test_another_seed_gives_another_network(cache: Path, tmp_path: Path) -> None:
    row = NETWORKS["small-repeat1"]
    train_small(row, tmp_path, TINY, after_epoch=ignore)
    mine, theirs = (load_file(store.weights(which)) for store, which in ((Store(tmp_path), row), (Store(cache), BASE)))
    assert mine.keys() == theirs.keys()
    assert not torch.equal(mine["conv1.conv.weight"], theirs["conv1.conv.weight"])


def test_what_is_trained_is_not_trained_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(Store(cache).home(BASE))

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(crew.subprocess, "Popen", refuse)
    assert train_missing([BASE], cache, threads=2, budget=TINY) == []
    assert train_missing([BASE], cache, threads=2) == [], "without a budget, what is there is taken"
    assert contents(Store(cache).home(BASE)) == before


@pytest.mark.parametrize("damage", ["changed", "missing", "receipt", "row"])
def test_a_damaged_network_is_trained_again(cache: Path, tmp_path: Path, damage: str) -> None:
    store = Store(copy_of(cache, tmp_path / "copy"))
    before, home = contents(store.home(BASE)), store.home(BASE)
    if damage == "changed":
        data = bytearray((home / WEIGHTS).read_bytes())
        data[-1] ^= 1
        (home / WEIGHTS).write_bytes(data)
    elif damage == "missing":
        (home / "iter-000001.safetensors").unlink()
    elif damage == "receipt":
        (home / RECEIPT).write_text((home / RECEIPT).read_text()[:100])
    else:
        (home / RECEIPT).write_text((home / RECEIPT).read_text().replace('"seed": 0', '"seed": 7'))
    assert store.is_damaged(BASE)
    assert not store.has(BASE)
    train_small(BASE, tmp_path / "copy", TINY, after_epoch=ignore)
    assert store.has(BASE, TINY)
    assert contents(home) == before


def test_a_training_of_another_budget_is_no_substitute(cache: Path, tmp_path: Path) -> None:
    """Nor is a damaged network; a note says so of that."""
    folder, longer = copy_of(cache, tmp_path / "copy"), Budget(64, 2)
    told = Told()
    assert train_missing([BASE], folder, threads=1, budget=longer, progress=told) == [BASE]
    assert told.notes == []
    assert Store(folder).has(BASE, longer)
    assert not Store(folder).has(BASE, TINY)
    Store(folder).weights(BASE).unlink()
    assert train_missing([BASE], folder, threads=1, budget=TINY, progress=told) == [BASE]
    assert any("small-base is trained again" in note for note in told.notes)
    assert contents(Store(folder).home(BASE)) == contents(Store(cache).home(BASE))


def test_an_interrupted_training_leaves_nothing_and_starts_again(tmp_path: Path, cache: Path) -> None:
    folder = copy_of(cache, tmp_path / "copy")
    store = Store(folder)
    subprocess.run(["rm", "-r", str(store.home(BASE))], check=True)
    command = [sys.executable, "-m", crew.SCRIPT, "small-base", "--cache", str(folder), "--images", "64"]
    with subprocess.Popen([*command, "--epochs", "1000"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"epoch 1/1000" in process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not store.home(BASE).exists()
    assert list(store.folder.glob("small-base.unfinished-*"))
    assert store.receipt(BASE) is None
    train_small(BASE, folder, TINY, after_epoch=ignore)
    assert contents(store.home(BASE)) == contents(Store(cache).home(BASE))
    assert not list(store.folder.glob("small-base.unfinished-*"))


def test_a_training_ends_with_whoever_waits_for_it(tmp_path: Path, cache: Path) -> None:
    """The parent of a training dies: the script notices when it tells of the next pass."""
    folder = copy_of(cache, tmp_path / "copy")
    command = [sys.executable, "-m", crew.SCRIPT, "small-wide", "--cache", str(folder), "--images", "64"]
    process = subprocess.Popen([*command, "--epochs", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) != 0
    process.stderr.close()
    assert not Store(folder).home(WIDE).exists()


def test_networks_are_trained_side_by_side(tmp_path: Path) -> None:
    rows = [NETWORKS["small-turning"], NETWORKS["small-coloring"]]
    assert train_missing(rows, tmp_path, threads=2, budget=TINY) == rows
    assert all(Store(tmp_path).has(row, TINY) for row in rows)
    alone = tmp_path / "alone"
    assert train_missing(rows[:1], alone, threads=1, budget=TINY) == rows[:1]
    assert contents(Store(alone).home(rows[0])) == contents(Store(tmp_path).home(rows[0]))


def test_what_goes_wrong_ends_what_is_trained_beside(tmp_path: Path) -> None:
    class Failing(Silent):
        def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
            return nullcontext(self.advance)

        def advance(self, steps: int) -> None:
            raise BrokenPipeError("nobody listens")

    rows = [NETWORKS["small-turning"], NETWORKS["small-coloring"], NETWORKS["small-puzzle"]]
    Store(tmp_path).pictures(TINY)
    with pytest.raises(BrokenPipeError):
        train_missing(rows, tmp_path, threads=2, budget=Budget(64, 10_000), progress=Failing())
    assert not any(Store(tmp_path).home(row).exists() for row in rows)


def test_a_training_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    folder = copy_of(cache, tmp_path / "copy")
    (folder / "small-v1" / "small-wide").write_text("in the way")
    with pytest.raises(
        ModelError, match=r"^small-wide could not be trained: .*; try python -m ndengine\.models\.small"
    ):
        train_missing([WIDE], folder, threads=1, budget=TINY)


def test_a_cache_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelError, match=r"cache.*can't be written.*another folder with --cache"):
        train_missing([BASE], tmp_path / "cache", threads=1, budget=TINY)


def test_names_are_known() -> None:
    assert find_network("small-wide") == (WIDE, None)
    assert find_network("small-base-iter-64") == (BASE, 64)
    assert all(find_network(name) for name in network_names())
    for other in ("small", "small-base-iter-3", "small-base-iter-064", "small-wide-iter-64", "vgg16"):
        assert find_network(other) is None
    assert Budget().iterations == max(BASE.iterations), "the last snapshot is the end of the usual training"


def test_a_trained_network_is_a_model_by_name(cache: Path) -> None:
    loaded = load_model("small-base", cache=cache)
    kept = load_file(Store(cache).weights(BASE))
    assert all(torch.equal(value, kept[name]) for name, value in loaded.module.state_dict().items())
    assert loaded.weights == "trained on drawn scenes, seed 0"
    assert [layer.name for layer in loaded.layers] == ["conv5"]
    assert loaded.input_size == (112, 112)
    assert loaded.preprocessing.mean == (0.5, 0.5, 0.5)
    first = load_model("small-base-iter-0", cache=cache)
    assert first.weights.endswith("after 0 steps")
    assert first.weights_sha256 != loaded.weights_sha256
    torch.manual_seed(0)
    assert torch.equal(first.module.conv1.conv.weight, BASE.build().conv1.conv.weight)


def test_a_network_is_trained_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "__init__", lambda self: vars(self).update(images=64, epochs=1))
    loaded = load_model("small-dropout", cache=tmp_path)
    assert loaded.weights == "trained on drawn scenes, seed 0"
    assert Store(tmp_path).receipt(NETWORKS["small-dropout"]) is not None


def test_random_weights_need_no_training(tmp_path: Path) -> None:
    loaded, again = (load_model("small-base", "random", seed=3, cache=tmp_path) for _ in range(2))
    assert loaded.weights == "random, seed 3"
    assert loaded.weights_sha256 == again.weights_sha256
    assert not [path for path in tmp_path.iterdir() if path.name != "proofs"]


def test_weights_from_a_file_are_fitted(cache: Path, tmp_path: Path) -> None:
    path = Store(cache).weights(BASE, 1)
    loaded = load_model("small-base", str(path), cache=tmp_path)
    assert torch.equal(loaded.module.conv5.conv.weight, load_file(path)["conv5.conv.weight"])
    with pytest.raises(ModelError, match=r"does not fit conv5 of small-wide"):
        load_model("small-wide", str(path), cache=tmp_path)


def test_a_snapshot_that_a_training_never_reached_is_named(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"^small-base-iter-64 does not exist in .*trained for fewer steps"):
        load_model("small-base-iter-64", cache=cache)


def test_a_close_name_is_offered(cache: Path) -> None:
    with pytest.raises(ModelError, match="small-repeat1"):
        load_model("small-repeat9", cache=cache)


def test_two_processes_do_not_train_one_network_twice(cache: Path, tmp_path: Path) -> None:
    folder = copy_of(cache, tmp_path / "copy")
    command = [sys.executable, "-m", crew.SCRIPT, "small-wide", "--cache", str(folder), "--images", "64"]
    both = [subprocess.Popen([*command, "--epochs", "1"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(" epoch 1/1 " in text for text in told) == 1
    assert all("small-wide is in" in text for text in told)
