"""A pack that is whole but can't be read now is named as what it is, never packed over; two writers wait in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from tinybroden import make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.open import data_fingerprint, open_dataset
from ndengine.datasets.pack import PackedDataset, cache_entries, cached_pack, pack_dataset, pack_file
from ndengine.datasets.pack_writer import claim_part, drop_part
from ndengine.errors import DatasetError, ResultError, UnusablePackError
from ndengine.hdf5 import READ_WIDELY, Trouble, find_trouble
from ndengine.progress import SILENT, Silent
from ndengine.result_files import Examples, read_examples, write_examples

HOLD = "import h5py, sys, time; f = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); time.sleep(600)"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks and pipes of POSIX")


class Listener(Silent):
    """Progress that keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny", images=6)
    return tmp_path / "tiny"


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that has the file open for writing."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        try:
            yield other
        finally:
            other.kill()


def refuses_everywhere(pack: Path, folder: Path, message: str) -> None:
    """Assert that whoever opens the pack says so, and that it stays as it is."""
    before = pack.read_bytes()
    openings: list[Callable[[], object]] = [
        lambda: PackedDataset(pack),
        lambda: open_dataset(str(pack), pack.parent / "elsewhere"),
        lambda: cached_pack(folder, pack.parent),
        lambda: pack_file(BrodenFolder(folder), pack),
        lambda: data_fingerprint(str(pack)),
    ]
    for opening in openings:
        with pytest.raises(DatasetError, match=message) as caught:
            opening()
        assert str(pack) in str(caught.value)
        assert not isinstance(caught.value, UnusablePackError)
    assert pack.read_bytes() == before
    assert [path.name for path in pack.parent.glob("*.h5*")] == [pack.name]


def test_a_pack_that_is_open_or_was_left_open(folder: Path, tmp_path: Path) -> None:
    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path
    with held(path) as other:
        refuses_everywhere(path, folder, "is open in another program.*close it there")
        (entry,) = cache_entries(path.parent)
        assert entry.images == 0
        other.send_signal(signal.SIGKILL)
        other.wait()
        refuses_everywhere(path, folder, "was left open by a program that was killed.*h5clear -s ")


def test_a_result_that_is_open_in_another_program(tmp_path: Path) -> None:
    path = tmp_path / "examples.h5"
    write_examples(
        path, Examples(np.zeros((2, 1), np.int64), np.zeros((2, 1), np.float32), np.zeros((2, 1, 4, 1), np.uint8))
    )
    with held(path), pytest.raises(ResultError, match=r"examples\.h5 is open in another program.*close it there"):
        read_examples(path, 2, 1, (4, 8))
    assert read_examples(path, 2, 1, (4, 8)).top_images.shape == (2, 1)  # left open, a file of 1.8 bears no mark


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_pack_that_this_process_has_open(folder: Path, tmp_path: Path, mode: str) -> None:
    """In a notebook, say. HDF5 refuses to open a file twice with and without locks."""
    with pack_dataset(BrodenFolder(folder), tmp_path / "tiny.h5") as pack:
        expected = pack.images([1])
    with h5py.File(pack.path, mode) as mine:
        with PackedDataset(pack.path) as again:
            assert np.array_equal(again.images([1]), expected)
        assert np.array_equal(mine["images"][1], expected[0])


def test_what_a_newer_version_wrote(folder: Path, tmp_path: Path) -> None:
    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 3
    refuses_everywhere(path, folder, "has version 3 .* newer version of ndengine; update")


def test_a_file_of_a_newer_hdf5(folder: Path, tmp_path: Path) -> None:
    """The superblock of a version that no HDF5 knows stands for what HDF5 2.0 writes and 1.14 can't read."""
    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path
    data = bytearray(path.read_bytes())
    assert data[8] == 3  # of HDF5 1.10: what each reader since knows
    data[8] = 9
    path.write_bytes(data)
    refuses_everywhere(path, folder, r"can't be read by HDF5 \d.* newer version.*update h5py")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (KeyError("Unable to synchronously open object (bad version number for datatype message)"), Trouble.NEWER),
        (KeyError("Unable to synchronously open attribute (bad version number for datatype message)"), Trouble.NEWER),
        (OSError("Unable to synchronously open file (bad superblock version number)"), Trouble.NEWER),
        (KeyError("Unable to synchronously open object (bad object header version number)"), Trouble.DAMAGED),
        (KeyError("Unable to synchronously open object (incorrect metadata checksum after all)"), Trouble.DAMAGED),
        (OSError("Unable to synchronously open file (file signature not found)"), Trouble.DAMAGED),
        (
            OSError("Unable to synchronously open file (truncated file: eof = 5)"),
            Trouble.DAMAGED,
        ),
        (BlockingIOError(11, "Unable to synchronously open file (unable to lock file, errno = 11)"), Trouble.HELD),
        (PermissionError(13, "Unable to synchronously open file (Permission denied)"), Trouble.REFUSED),
        (OSError(5, "Input/output error"), Trouble.REFUSED),
    ],
    ids=str,
)
def test_what_hdf5_says(tmp_path: Path, error: Exception, trouble: Trouble) -> None:
    found, text = find_trouble(tmp_path / "x.h5", error)
    assert found is trouble
    assert bool(text) == (trouble is not Trouble.DAMAGED)


def test_a_disk_that_refuses_is_no_reason_to_pack_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path

    def refuse(*given: object, **how: object) -> None:
        raise PermissionError(13, "Unable to synchronously open file (unable to open file, errno = 13)")

    monkeypatch.setattr(h5py, "File", refuse)
    refuses_everywhere(path, folder, "can't be read .Permission denied.")


def test_an_older_pack_is_packed_again_in_the_cache_and_by_hand(folder: Path, tmp_path: Path) -> None:
    def age(path: Path) -> None:
        with h5py.File(path, "w", libver=READ_WIDELY) as file:
            file.attrs.update({"format": "ndengine pack", "version": 1, "source": str(folder), "complete": True})

    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path
    age(path)
    listener = Listener()
    with cached_pack(folder, tmp_path / "cache", listener) as pack:
        assert (pack.path, len(pack)) == (path, 6)
    assert any("has version 1 of the pack format, without checksums" in note for note in listener.notes)
    mine = tmp_path / "mine.h5"
    age(mine)
    with pytest.raises(UnusablePackError, match=f"pack the dataset again with `ndengine data pack {folder}`"):
        open_dataset(str(mine), tmp_path / "cache")
    pack, written = pack_file(BrodenFolder(folder), mine)
    assert (len(pack), written) == (6, True)
    pack.close()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_never_hangs(folder: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.h5"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(DatasetError, match=r"odd\.h5 is no file"):
        PackedDataset(path)
    with pytest.raises(DatasetError, match=r"odd\.h5"):
        pack_file(BrodenFolder(folder), path)
    if kind != "folder":
        with pytest.raises(DatasetError, match=r"odd\.h5"):
            open_dataset(str(path), tmp_path / "cache")
    assert path.exists()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_has_the_temporary_name_already(folder: Path, tmp_path: Path, kind: str) -> None:
    part, precious = tmp_path / "p.h5.part", tmp_path / "precious"
    precious.write_text("mine")
    os.mkfifo(part) if kind == "pipe" else part.symlink_to(precious)
    with pytest.raises(DatasetError, match=r"can't take the pack .*p\.h5\.part is in the way"):
        pack_file(BrodenFolder(folder), tmp_path / "p.h5")
    drop_part(part)
    assert precious.read_text() == "mine"
    assert os.path.lexists(part)


def test_the_second_of_two_writers_waits_and_finds_it_done(folder: Path, tmp_path: Path) -> None:
    path, source, listener = tmp_path / "p.h5", BrodenFolder(folder), Listener()
    made: list[tuple[PackedDataset, bool]] = []
    with claim_part(tmp_path / "p.h5.part", SILENT):
        second = threading.Thread(target=lambda: made.append(pack_file(source, path, listener)))
        second.start()
        deadline = time.monotonic() + 20
        while not listener.notes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert listener.notes == [f"Another program is packing into {path}; waiting for it."]
        assert made == []
        drop_part(tmp_path / "p.h5.part")  # as a run does in its cache: what is being written stays
        assert (tmp_path / "p.h5.part").exists()
        with pack_dataset(source, tmp_path / "other.h5") as pack:  # what the first one does, then
            os.replace(pack.path, path)
    second.join()
    ((pack, written),) = made
    with pack:
        assert (written, len(pack), pack.path) == (False, 6, path)
    assert sorted(os.listdir(tmp_path)) == ["p.h5", "tiny"]


def test_the_second_takes_over_where_the_first_gave_up(folder: Path, tmp_path: Path) -> None:
    path, listener = tmp_path / "p.h5", Listener()
    made: list[tuple[PackedDataset, bool]] = []
    with claim_part(tmp_path / "p.h5.part", SILENT):
        second = threading.Thread(target=lambda: made.append(pack_file(BrodenFolder(folder), path, listener)))
        second.start()
        deadline = time.monotonic() + 20
        while not listener.notes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert listener.notes
    second.join()
    ((pack, written),) = made
    with pack:
        assert (written, len(pack)) == (True, 6)
    assert sorted(os.listdir(tmp_path)) == ["p.h5", "tiny"]


PACK = "import sys; from ndcli.main import main; sys.argv[0] = 'ndengine'; main()"


@pytest.mark.slow
def test_two_commands_at_once_and_one_killed(folder: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PACK, "data", "pack", str(folder), "--out", str(tmp_path / "p.h5")]
    environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'cli'}"}
    for kill in (True, False):
        runs = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(3)]
        if kill:
            deadline = time.monotonic() + 120
            while not any(tmp_path.glob("p.h5*")) and time.monotonic() < deadline:
                time.sleep(0.005)
            runs[0].kill()
        assert [run.wait() for run in runs][1:] == [0, 0]
        with PackedDataset(tmp_path / "p.h5") as pack:
            assert len(pack.images(np.arange(6))) == len(pack.labels(np.arange(6))) == 6
        assert sorted(os.listdir(tmp_path)) == ["p.h5", "tiny"]
        (tmp_path / "p.h5").unlink()
