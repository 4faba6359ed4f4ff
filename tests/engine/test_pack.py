"""Packs hold what the folder holds, are reused, and never half-written or damaged without a word."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from tinybroden import edit, make_broden

from ndengine.datasets import pack as packing
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import PackedDataset, cache_entries, cached_pack, clear_cache, pack_dataset
from ndengine.errors import DatasetError
from ndengine.hdf5 import create_hdf5
from ndkernels.labels import encode_labels, tensors


class Listener:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, str]] = []
        self.steps = 0
        self.notes: list[str] = []

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        self.stages.append((title, total, unit))
        yield self._advance

    def _advance(self, steps: int) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny", images=70)  # more than two chunks
    return tmp_path / "tiny"


@pytest.fixture
def pack(folder: Path, tmp_path: Path) -> Iterator[PackedDataset]:
    with pack_dataset(BrodenFolder(folder), tmp_path / "out" / "tiny.h5") as packed:
        yield packed


def same(left: PackedDataset, indices: Any, source: BrodenFolder) -> None:
    """Assert that a pack's images and labels are the folder's."""
    labels = [source.labels(int(i)) for i in indices]
    expected = encode_labels([maps for maps, _ in labels], [whole for _, whole in labels], source.label_size)
    for mine, theirs in zip(tensors(left.labels(indices)), tensors(expected), strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)
    images = left.images(indices)
    assert images.dtype == np.uint8
    assert images.shape == (len(indices), *source.image_size, 3)
    assert all(np.array_equal(image, source.image(int(i))) for i, image in zip(indices, images, strict=True))


def test_a_pack_holds_the_dataset(folder: Path, tmp_path: Path) -> None:
    source, listener = BrodenFolder(folder), Listener()
    with pack_dataset(source, tmp_path / "tiny.h5", listener, workers=3) as pack:
        assert listener.stages == [("packing", 70, "images")]
        assert listener.steps == len(pack) == 70
        assert pack.name == "tiny"
        assert pack.source == str(folder)
        assert pack.fingerprint == source.fingerprint()
        assert pack.image_names == source.image_names
        assert pack.splits == source.splits
        assert pack.image_size == source.image_size
        assert pack.label_size == source.label_size
        assert pack.tables == source.tables
        assert pack.vocabulary.names == source.vocabulary.names
        assert pack.vocabulary.categories == source.vocabulary.categories
        assert np.array_equal(pack.vocabulary.primary, source.vocabulary.primary)
        assert pack.release is None
        same(pack, np.arange(70), source)
    assert sorted(os.listdir(tmp_path)) == ["tiny", "tiny.h5"]


@pytest.mark.parametrize(
    "indices",
    [[], [0], [3], [69], [0, 69], [2, 3, 4], [0, 1, 5, 6, 7, 30, 64, 65], list(range(0, 70, 2))],
    ids=str,
)
def test_any_ascending_images(pack: PackedDataset, folder: Path, indices: list[int]) -> None:
    same(pack, np.array(indices, np.int64), BrodenFolder(folder))


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 16])
def test_whatever_was_read_before(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("ndengine.datasets.packed.BLOCK", block)
    monkeypatch.setattr("ndengine.datasets.checksums.BLOCK", block)
    source = BrodenFolder(folder)
    with pack_dataset(source, tmp_path / "blocks.h5") as pack:
        assert len(pack._sums["entry_concept"]) == -(-len(pack._arrays["entry_concept"]) // block)
        for indices in ([0, 2, 3, 9, 10, 44], [44, 45], [68, 69], [1], [0, 1, 2], list(range(70)), [3]):
            same(pack, indices, source)


def test_several_threads_read_each_what_it_asked_for(pack: PackedDataset, folder: Path) -> None:
    source = BrodenFolder(folder)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: same(pack, [i, i + 3], source), [*range(60, 0, -7), *range(60)]))


@pytest.mark.parametrize("indices", [[1, 1], [2, 1], [-1], [70], [[0]]], ids=str)
def test_other_indices_are_refused(pack: PackedDataset, indices: Any) -> None:
    with pytest.raises(ValueError, match="indices must"):
        pack.images(indices)
    with pytest.raises(ValueError, match="indices must"):
        pack.labels(indices)


def test_the_pack_outlives_the_folder(pack: PackedDataset, folder: Path) -> None:
    names = pack.vocabulary.names
    pack.close()
    shutil.rmtree(folder)
    with PackedDataset(pack.path) as again:
        assert again.vocabulary.names == names
        assert len(again.images([5])) == 1


def test_two_threads_read_at_once(pack: PackedDataset) -> None:
    expected = [(pack.images([i, i + 2]), pack.labels([i, i + 2]).codes) for i in range(60)]
    wrong: list[int] = []

    def read() -> None:
        for i, (images, codes) in enumerate(expected):
            if not np.array_equal(pack.images([i, i + 2]), images):
                wrong.append(i)
            if not torch.equal(pack.labels([i, i + 2]).codes, codes):
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_grids_with_many_pixels_have_wide_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinybroden.LABEL_SIZE", (260, 256))
    monkeypatch.setattr("tinybroden.IMAGE_SIZE", (30, 20))
    make_broden(tmp_path / "wide", images=2)
    source = BrodenFolder(tmp_path / "wide")
    with pack_dataset(source, tmp_path / "wide.h5") as pack:
        assert pack.labels([0]).codes.dtype == torch.int32
        same(pack, [0, 1], source)


def test_a_damaged_dataset_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "images" / "068.png").write_bytes(b"\x89PNG")
    with pytest.raises(DatasetError, match=r"068\.png is no readable image"):
        pack_dataset(BrodenFolder(folder), tmp_path / "out" / "tiny.h5")
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_is_seen_beforehand(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=400_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DatasetError, match=r"out can't take the pack .*0\.00 GB are free.*--cache"):
        pack_dataset(BrodenFolder(folder), tmp_path / "out" / "tiny.h5")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_on_the_way(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    error = kind("Can't write data (errno = 28, error message = 'No space left on device')")
    calls: list[int] = []

    def fail(data: Any, array: Any) -> None:
        calls.append(1)
        if len(calls) > 8:
            raise error

    monkeypatch.setattr("ndengine.datasets.pack_writer._append", fail)
    with pytest.raises(DatasetError, match=r"out can't take the pack .*the disk is full.*--cache"):
        pack_dataset(BrodenFolder(folder), tmp_path / "out" / "tiny.h5")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_takes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, libver: tuple[str, str]) -> Any:
        return create_hdf5(Path("/dev/full"), libver)

    monkeypatch.setattr("ndengine.datasets.pack_writer.create_hdf5", full)
    with pytest.raises(DatasetError, match="can't take the pack"):
        pack_dataset(BrodenFolder(folder), tmp_path / "out" / "tiny.h5")
    assert os.listdir(tmp_path / "out") == []


def test_a_folder_that_is_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file can't take the pack .*File exists"):
        pack_dataset(BrodenFolder(folder), tmp_path / "file" / "tiny.h5")
    with pytest.raises(DatasetError, match=r"file can't be used as the cache.*--cache"):
        cached_pack(folder, tmp_path / "file")


KILLED = """
import sys, time
from pathlib import Path
from ndengine.datasets import pack, pack_writer
append, calls = pack_writer._append, []
def slow(data, array):
    append(data, array)
    calls.append(1)
    if len(calls) == 8:
        print("writing", flush=True)
        time.sleep(60)
pack_writer._append = slow
pack.cached_pack(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_killed_run_leaves_no_pack(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(folder), str(cache)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "writing\n"
        run.send_signal(signal.SIGKILL)
    (left,) = cache.glob("*.h5*")
    assert left.name.endswith(".h5.part")
    with pytest.raises(DatasetError):
        PackedDataset(left)
    with cached_pack(folder, cache) as pack:
        same(pack, [0, 69], BrodenFolder(folder))
    assert [path.name for path in cache.glob("*.h5*")] == [pack.path.name]


def test_the_cache_reuses_a_pack_while_nothing_changes(folder: Path, tmp_path: Path) -> None:
    cache, listener = tmp_path / "cache", Listener()
    with cached_pack(folder, cache, listener) as first:
        assert first.path == cache / f"tiny-{first.fingerprint[:16]}.h5"
        state = first.path.stat()
    with cached_pack(str(folder), cache, listener) as second:
        assert second.path == first.path
        assert (second.path.stat().st_ino, second.path.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    assert len(listener.stages) == 1
    file = folder / "images" / "000.png"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    make_broden(tmp_path / "other")
    with cached_pack(tmp_path / "other", cache) as other, cached_pack(folder, cache, listener) as third:
        assert third.path != first.path
        assert not first.path.exists()  # the old pack of the same folder goes, that of another stays
        assert other.path.exists()
    assert len(listener.stages) == 2


def test_a_pack_is_opened_as_it_is(pack: PackedDataset, tmp_path: Path) -> None:
    with cached_pack(pack.path, tmp_path / "cache") as again:
        assert again.path == pack.path
    assert not (tmp_path / "cache").exists()


def test_a_damaged_pack_in_the_cache_is_made_again(folder: Path, tmp_path: Path) -> None:
    listener = Listener()
    with cached_pack(folder, tmp_path / "cache") as pack:
        path = pack.path
    path.write_bytes(path.read_bytes()[:5000])
    with cached_pack(folder, tmp_path / "cache", listener) as pack:
        same(pack, [0, 1, 69], BrodenFolder(folder))
    assert len(listener.notes) == 2  # seen before and after waiting for the lock
    assert "Packing again" in listener.notes[0]


def test_two_runs_do_not_pack_at_once(folder: Path, tmp_path: Path) -> None:
    cache, listener = tmp_path / "cache", Listener()
    cache.mkdir()
    lock = FileLock(cache / ".lock")
    made: list[PackedDataset] = []
    with lock:
        waiting = threading.Thread(target=lambda: made.append(cached_pack(folder, cache, listener)))
        waiting.start()
        deadline = time.monotonic() + 20
        while not listener.notes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "waiting" in listener.notes[0]
        assert made == []
        assert listener.stages == []
    waiting.join()
    (pack,) = made
    assert len(pack) == 70
    pack.close()


def test_listing_and_clearing_the_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert cache_entries(cache) == []
    assert clear_cache(cache) == []
    assert not cache.exists()
    cached_pack(folder, cache).close()
    stranger, broken = cache / "results.h5", cache / f"old-{'0' * 16}.h5"
    stranger.write_bytes(b"mine")
    broken.write_bytes(b"damaged")
    left = cache / f"old-{'1' * 16}.h5.part"
    left.write_bytes(b"unfinished")
    entries = cache_entries(cache)
    assert [(e.name, e.source, e.images) for e in entries] == [("", "", 0), ("", "", 0), ("tiny", str(folder), 70)]
    assert all(entry.size == entry.path.stat().st_size for entry in entries)
    assert clear_cache(cache) == entries
    assert stranger.read_bytes() == b"mine"
    assert sorted(path.name for path in cache.glob("*.h5*")) == ["results.h5"]


def test_a_disk_that_fails_while_reading(pack: PackedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        shape, dtype = (70, 40, 56, 3), np.uint8

        def read_direct(self, *where: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setitem(pack._arrays, "images", Failing())
    monkeypatch.setitem(pack._places, "images", None)
    with pytest.raises(DatasetError, match=r"tiny\.h5 can't be read through; delete it"):
        pack.images(np.arange(60))


@pytest.mark.parametrize("ends", [False, True], ids=["fails", "ends early"])
def test_a_disk_that_fails_while_bytes_are_read(
    pack: PackedDataset, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    def fail(*where: object) -> int:
        if ends:
            return 0
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DatasetError, match=r"tiny\.h5 can't be read through; delete it"):
        pack.labels(np.arange(60))


def test_rows_are_the_same_through_hdf5(pack: PackedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = np.array([0, 1, 2, 9, 30, 31, 69])
    images, codes = pack.images(chosen), pack.labels(chosen).codes.numpy()
    for name in ("images", "codes"):
        assert pack._places[name]  # this format lies in the file in one piece
        monkeypatch.setitem(pack._places, name, None)
    np.testing.assert_array_equal(pack.images(chosen), images)
    np.testing.assert_array_equal(pack.labels(chosen).codes.numpy(), codes)
    assert images.any()
    assert codes.any()


def test_changed_tables_make_another_pack(folder: Path, tmp_path: Path) -> None:
    with cached_pack(folder, tmp_path / "cache") as before:
        names = before.vocabulary.names
    for table in ("label.csv", "c_object.csv"):
        edit(folder / table, "house", "home")
    with cached_pack(folder, tmp_path / "cache") as after:
        assert after.path != before.path
        assert names[3] == "house"
        assert after.vocabulary.names[3] == "home"


def test_space_needed_is_an_os_error_with_its_number(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(folder)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="GB") as caught:
        packing._check_space(BrodenFolder(folder), folder)
    assert caught.value.errno == errno.ENOSPC


def test_minibroden(shared: Path, tmp_path: Path) -> None:
    source = BrodenFolder(shared / "minibroden")
    with pack_dataset(source, tmp_path / "minibroden.h5") as pack:
        assert len(pack) == 952
        assert pack.name == "minibroden"
        same(pack, np.r_[0:40, 500, 951], source)
        assert pack.path.stat().st_size < 952 * (224 * 224 * 3 + 112 * 112 * 2) * 1.02
