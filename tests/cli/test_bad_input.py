"""Bad input as a user meets it: one sentence that names the file or argument, the exit code, and no result."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from filelock import FileLock

from ndengine.workspace import LOCK
from tests.cli.conftest import Invoke
from tests.engine.tinybroden import LABEL_SIZE, edit, write_map

Fails = Callable[..., str]


@pytest.fixture(autouse=True)
def nothing_half_written_is_taken_for_a_result(tmp_path: Path) -> Iterator[None]:
    """After every case here there must be no result in ``out`` and no pack in the cache that is unfinished."""
    yield
    assert not (tmp_path / "out" / "result.json").exists()
    assert not list(tmp_path.glob("cache/*.part"))


def cut(file: Path) -> None:
    """Leave the first half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# Dataset


@pytest.mark.parametrize("name", ["000.png", "sub/000_object_1.png"])
def test_a_missing_file(fails: Fails, arguments: list[str], broden: Path, name: str) -> None:
    (broden / "images" / name).unlink()
    assert str(broden / "images" / name) in fails(*arguments)


@pytest.mark.parametrize("name", ["000.png", "sub/000_object_1.png"])
def test_a_truncated_file(fails: Fails, arguments: list[str], broden: Path, name: str) -> None:
    cut(broden / "images" / name)
    assert str(broden / "images" / name) in fails(*arguments)


def test_an_id_out_of_range(fails: Fails, arguments: list[str], broden: Path) -> None:
    file = broden / "images" / "sub" / "000_color_0.png"
    write_map(file, np.full(LABEL_SIZE, 301, np.int32))
    message = fails(*arguments)
    assert str(file) in message
    assert "301" in message


def test_a_whole_image_id_out_of_range(fails: Fails, arguments: list[str], broden: Path) -> None:
    edit(broden / "index.csv", ",9,0", ",901,0")
    message = fails(*arguments)
    assert "index.csv" in message
    assert "901" in message


def test_a_label_map_of_the_wrong_size(fails: Fails, arguments: list[str], broden: Path) -> None:
    file = broden / "images" / "sub" / "000_color_0.png"
    write_map(file, np.ones((LABEL_SIZE[0], LABEL_SIZE[1] + 1), np.int32))
    message = fails(*arguments)
    assert str(file) in message
    assert str(LABEL_SIZE[1]) in message
    assert str(LABEL_SIZE[1] + 1) in message


def test_an_index_row_with_missing_columns(fails: Fails, arguments: list[str], broden: Path) -> None:
    index = broden / "index.csv"
    lines = index.read_text().splitlines()
    lines[3] = ",".join(lines[3].split(",")[:7])
    index.write_text("\n".join(lines) + "\n")
    message = fails(*arguments)
    assert str(index) in message
    assert "line 4" in message


def test_an_empty_dataset(fails: Fails, arguments: list[str], broden: Path) -> None:
    index = broden / "index.csv"
    index.write_text(index.read_text().splitlines()[0] + "\n")
    assert str(index) in fails(*arguments)


def test_no_dataset(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in fails(*arguments, "--data", tmp_path / "nowhere")


@pytest.mark.parametrize("option", ["--split", "--categories"])
def test_a_split_or_category_that_the_dataset_lacks(fails: Fails, arguments: list[str], option: str) -> None:
    message = fails(*arguments, option, "objects", code=2)
    assert "'objects'" in message
    assert ("object" if option == "--categories" else "train, val") in message.replace("'objects'", "")


# Model


def test_an_unknown_model(fails: Fails, arguments: list[str]) -> None:
    message = fails(*arguments, "--model", "vgg61")
    assert "'vgg61'" in message
    assert "vgg16" in message


def test_a_model_file_that_is_not_there(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    assert "nets.py" in fails(*arguments, "--model", f"{tmp_path / 'nets.py'}:build")


def test_a_factory_that_is_not_there(fails: Fails, arguments: list[str], network: Path) -> None:
    assert "built" in fails(*arguments, "--model", f"{network}:built")


def test_an_unknown_layer(fails: Fails, arguments: list[str]) -> None:
    message = fails(*arguments, "--layer", "relu3")
    assert "'relu3'" in message
    assert "relu2" in message


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights that fit the network."""
    return {
        "conv1.weight": torch.ones(4, 3, 3, 3),
        "conv1.bias": torch.zeros(4),
        "conv2.weight": torch.ones(6, 4, 3, 3),
        "conv2.bias": torch.zeros(6),
    }


def test_weights_that_lack_something(
    fails: Fails, arguments: list[str], tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "net.pth"
    state["conv9.weight"] = state.pop("conv2.weight")
    torch.save(state, file)
    message = fails(*arguments, "--weights", file)
    assert str(file) in message
    assert "conv2.weight" in message


def test_weights_with_something_else(
    fails: Fails, arguments: list[str], tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "net.pth"
    torch.save({**state, "conv2.gate": torch.ones(6)}, file)
    message = fails(*arguments, "--weights", file)
    assert str(file) in message
    assert "conv2.gate" in message


def test_weights_of_another_shape(
    fails: Fails, arguments: list[str], tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    file = tmp_path / "net.pth"
    torch.save({**state, "conv2.weight": torch.ones(6, 4, 5, 5)}, file)
    message = fails(*arguments, "--weights", file)
    for part in (str(file), "conv2.weight", "5x5", "3x3"):
        assert part in message.replace(", ", "x")


@pytest.mark.parametrize("content", [b"", b"no weights"])
def test_weights_that_are_none(fails: Fails, arguments: list[str], tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "net.pth"
    file.write_bytes(content)
    assert str(file) in fails(*arguments, "--weights", file)


def test_weights_that_are_not_there(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    assert str(tmp_path / "net.pth") in fails(*arguments, "--weights", tmp_path / "net.pth")


@pytest.mark.parametrize("spool", ["memory", "disk", "dense"])
def test_activations_that_are_not_numbers(fails: Fails, arguments: list[str], network: Path, spool: str) -> None:
    message = fails(*arguments, "--model", f"{network}:poisoned", "--spool", spool)
    for part in ("relu2", "unit 3", "000.png", "nan"):
        assert part in message


# Disk and files


LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from ndcli.main import main
main(prog_name="ndengine")
"""


def run_with_full_disk(arguments: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    """Run where no file can grow beyond ``limit`` bytes, as on a disk that fills up."""
    command = [sys.executable, "-c", LIMITED, str(limit), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_disk_that_fills_up_while_packing(arguments: list[str], tmp_path: Path) -> None:
    done = run_with_full_disk(arguments, 60_000)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {tmp_path / 'cache'}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("spool", ["disk", "dense"])
def test_a_disk_that_fills_up_while_probing(invoke: Invoke, arguments: list[str], tmp_path: Path, spool: str) -> None:
    assert invoke(*arguments, "--limit", 1, "--out", tmp_path / "first").exit_code == 0  # packs and compiles
    done = run_with_full_disk([*arguments, "--spool", spool], 2_500)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert str(tmp_path / "out") in last
    assert "Traceback" not in done.stderr


def test_a_disk_too_small_for_the_pack_is_noticed_at_once(
    fails: Fails, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 9, 9))
    message = fails(*arguments)
    assert message.startswith(str(tmp_path / "cache"))
    assert "--cache" in message


def test_a_folder_that_can_not_be_written(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in fails(*arguments, "--out", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in fails(*arguments, "--cache", tmp_path / "file" / "cache")


def test_a_folder_with_something_else_in_it(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert str(tmp_path / "out") in fails(*arguments)
    assert (tmp_path / "out" / "thesis.tex").exists()


@pytest.fixture
def interrupted(invoke: Invoke, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A run that was interrupted while probing and has left a spool."""
    monkeypatch.setattr("ndengine.spool.SEGMENT_BYTES", 1)  # a segment a batch
    monkeypatch.setenv("TEST_INTERRUPT_AFTER", "11")
    assert invoke(*arguments).exit_code == 130
    monkeypatch.delenv("TEST_INTERRUPT_AFTER")
    return arguments


def test_a_spool_from_other_settings(fails: Fails, interrupted: list[str], tmp_path: Path) -> None:
    message = fails(*interrupted, "--size", "48")
    assert str(tmp_path / "out") in message
    assert "size" in message
    assert "--overwrite" in message


def test_a_corrupt_spool(fails: Fails, interrupted: list[str], tmp_path: Path) -> None:
    segments = sorted((tmp_path / "out" / "unfinished").rglob("*.h5"))
    assert segments
    cut(segments[0])
    message = fails(*interrupted)
    assert str(segments[0].parent) in message
    assert "--overwrite" in message


@pytest.mark.parametrize("harm", ["cut", "not HDF5", "no pack"])
def test_a_corrupt_pack(
    fails: Fails, invoke: Invoke, arguments: list[str], broden: Path, tmp_path: Path, harm: str
) -> None:
    pack = tmp_path / "tiny.h5"
    assert invoke("data", "pack", broden, "--out", pack).exit_code == 0
    if harm == "cut":
        cut(pack)
    elif harm == "not HDF5":
        pack.write_bytes(b"nothing")
    else:
        h5py.File(pack, "w").close()
    assert str(pack) in fails(*arguments, "--data", pack)


def test_a_corrupt_pack_in_the_cache_is_made_again(invoke: Invoke, arguments: list[str], tmp_path: Path) -> None:
    assert invoke(*arguments, "--out", tmp_path / "first").exit_code == 0
    (pack,) = (tmp_path / "cache").glob("tiny-*.h5")
    cut(pack)
    done = invoke(*arguments, "--out", tmp_path / "second")
    assert done.exit_code == 0
    assert "Packing again" in done.stderr


@pytest.mark.parametrize("name", ["images", "codes", "entry_concept", "code_area"])
def test_a_changed_byte_of_a_pack(
    fails: Fails, invoke: Invoke, arguments: list[str], broden: Path, tmp_path: Path, name: str
) -> None:
    """In the cache the run packs again, and gives the same counts; a pack of the user's is the user's."""

    def spoil(pack: Path) -> None:
        with h5py.File(pack, "r+") as file:
            array = file[name][()]
            array.reshape(-1)[5] ^= 16
            file[name][...] = array

    assert invoke(*arguments, "--out", tmp_path / "first").exit_code == 0
    (pack,) = (tmp_path / "cache").glob("tiny-*.h5")
    whole = pack.read_bytes()
    spoil(pack)
    done = invoke(*arguments, "--out", tmp_path / "second")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("Packing again") == 1
    assert f"{pack} holds damaged " in done.stderr
    for file in ("counts.h5", "examples.h5"):
        first, second = (tmp_path / out / "relu2" / file for out in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert invoke("data", "check", pack, "-q").exit_code == 0
    mine = tmp_path / "mine.h5"
    mine.write_bytes(whole)
    spoil(mine)
    before = mine.read_bytes()
    message = fails(*arguments, "--data", mine, "--out", tmp_path / "third")
    assert message.startswith(f"{mine} holds damaged ")
    assert "delete it and pack the dataset again" in message
    assert mine.read_bytes() == before


@pytest.mark.parametrize("name", ["result.json", "relu2/counts.h5", "relu2/examples.h5", "images.csv"])
def test_a_corrupt_result(fails: Fails, invoke: Invoke, arguments: list[str], tmp_path: Path, name: str) -> None:
    out = tmp_path / "done"
    assert invoke(*arguments, "--out", out).exit_code == 0
    cut(out / name)
    for words in (("show", out, "--unit", 1), ("report", out)):
        assert str(out / name) in fails(*words)
    assert str(out / name) in fails(*arguments, "--out", out)


def test_two_runs_on_one_folder(fails: Fails, arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / LOCK):
        assert fails(*arguments) == f"{out} is in use by another run; wait for it, or choose another --out."


def test_full_disks_are_simulated_by_a_limit_that_holds(tmp_path: Path) -> None:
    """The limit gives an OSError and no signal that would end the process."""
    code = LIMITED.split("from ndcli")[0] + "with open(sys.argv[1], 'wb') as file: file.write(bytes(5000))"
    done = subprocess.run([sys.executable, "-c", code, "4096", tmp_path / "x"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] != 4096
