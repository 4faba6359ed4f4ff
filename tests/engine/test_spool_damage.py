"""Segments and their description: every byte is under a checksum, and what does not belong together is refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ndengine import spool as spool_module
from ndengine import spool_files, spool_key
from ndengine.errors import SpoolError, UnusableSpoolError
from ndengine.spool import SurvivorSpool
from ndengine.stream import Stored
from ndengine.threshold import find_thresholds
from ndkernels.sieve import naive, rank_above

SHAPE = (24, 3, 4, 5)  # N, U, h, w
ABOVE = rank_above("0.1", 24 * 20)
ACTIVATIONS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool of three segments, of eight images each."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1)
    folder = tmp_path / "spool"
    spool_key.claim_folder(folder, {"layer": "x"})
    feed(opened(folder), 8)
    return folder


def opened(folder: Path, memory: int = 0) -> SurvivorSpool:
    return SurvivorSpool(SHAPE[1], ABOVE, 2, folder=folder, memory_bytes=memory)


def feed(spool: SurvivorSpool, batch: int, last: int = SHAPE[0]) -> None:
    for start in range(spool.images // batch * batch, last, batch):
        spool.add(ACTIVATIONS[start : start + batch], start)


def assert_right(spool: SurvivorSpool) -> None:
    feed(spool, 4)
    spool.close()
    np.testing.assert_array_equal(find_thresholds(spool, ABOVE), naive.thresholds(ACTIVATIONS.numpy(), ABOVE))
    maxima = ACTIVATIONS.amax((2, 3))
    np.testing.assert_array_equal(spool.tops.images, maxima.topk(2, dim=0).indices.T)


def test_every_flip_of_a_segment_is_found(folder: Path) -> None:
    path = folder / "segment-000001.h5"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with h5py.File(path) as file:
        assert file.attrs["last_image"] == 16, "any HDF5 reader takes it"
    for place in [*range(0, len(whole), 97), len(whole) - 1, *range(len(whole) - 20, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(UnusableSpoolError, match=r"segment-000001\.h5 is damaged \(.*\); .*--overwrite"):
            opened(folder)
    for other in (b"", whole[:-1], whole + b"\0", whole[:100]):
        path.write_bytes(other)
        with pytest.raises(UnusableSpoolError, match=r"segment-000001\.h5 is damaged"):
            opened(folder)
    path.write_bytes(whole)
    assert_right(opened(folder))


@pytest.mark.parametrize("name", ["last_image", "first_image", "state_image", "group", "shape", "format"])
def test_an_edited_attribute_is_found(name: str, folder: Path) -> None:
    with h5py.File(folder / "segment-000002.h5", "r+") as file:
        file.attrs.modify(name, np.asarray(file.attrs[name]) + 1)
    with pytest.raises(UnusableSpoolError, match=r"segment-000002\.h5 is damaged"):
        opened(folder)


def test_a_flip_behind_the_opening_is_found(folder: Path) -> None:
    spool = opened(folder)
    path = folder / "segment-000000.h5"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(SpoolError, match=r"segment-000000\.h5 is damaged"):
        find_thresholds(spool, ABOVE)


def swap(folder: Path) -> None:
    one, other = folder / "segment-000000.h5", folder / "segment-000001.h5"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def pipe(folder: Path) -> None:
    (folder / "segment-000001.h5").unlink()
    os.mkfifo(folder / "segment-000001.h5")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (swap, r"segment-000000\.h5 does not begin at image 0"),
        (pipe, r"segment-000001\.h5 is damaged \(it is no file\)"),
        (lambda f: (f / "segment-000000.h5").unlink(), "lacks segment 0"),
        (lambda f: (f / "segment-000001.h5").unlink(), "lacks segment 1"),
        (lambda f: shutil.copy(f / "segment-000001.h5", f / "segment-000003.h5"), r"segment-000003\.h5 does not begin"),
    ],
)
def test_what_does_not_belong_together_is_refused(harm: Callable[[Path], object], says: str, folder: Path) -> None:
    harm(folder)
    with pytest.raises(UnusableSpoolError, match=f"{says}.*--overwrite"):
        opened(folder)


def test_without_its_end_a_spool_goes_on_earlier(folder: Path) -> None:
    (folder / "segment-000002.h5").unlink()
    (folder / "segment-000007 (copy).h5").write_bytes(b"not ours")
    spool = opened(folder)
    assert (spool.images, spool.kept) == (16, 16)
    assert_right(spool)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_segments_that_count_together_count_all_or_not_at_all(
    done: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two on the disk, then three from memory at once, of which a kill lets some through."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1)
    spool = opened(tmp_path, memory=1 << 20)
    feed(spool, 4, 8)
    spool.close(write=True)
    with monkeypatch.context() as patch:  # as if the disk had been refusing
        patch.setattr(SurvivorSpool, "_close", lambda self, **more: None)
        feed(spool, 4)
    stream = spool._stream
    ends = zip(stream.pending, (12, 16, 20, 24), strict=True)
    held = tuple(Stored(part, None, part.nbytes, last) for part, last in ends)
    spool._stream = replace(stream, held=held, pending=(), pending_bytes=0)
    write, calls = spool_files.write_segment, [0]

    def killed(*arguments: object) -> None:
        calls[0] += 1
        if calls[0] > done:
            raise KeyboardInterrupt
        write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(spool_files, "write_segment", killed)
        with pytest.raises(KeyboardInterrupt):
            spool.keep()
    resumed = opened(tmp_path)
    assert resumed.images == 8
    assert len(list(tmp_path.glob("segment-*"))) == 2
    assert_right(resumed)


def test_the_end_of_a_group_can_not_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a group tells of top images up to its end: without that they would be counted twice."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1)
    spool = opened(tmp_path, memory=1 << 20)
    feed(spool, 8)
    spool.close(write=True)
    assert_right(opened(tmp_path))
    (tmp_path / "segment-000002.h5").unlink()
    with pytest.raises(UnusableSpoolError, match="lacks segment 2"):
        opened(tmp_path)


def test_an_interruption_finds_the_stream_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes while a batch is taken in, what is kept is the stream before it or after it."""
    shutil.rmtree(folder)
    folder.mkdir()
    followed = spool_module.TopImages.followed_by

    def interrupted(*arguments: object) -> object:
        followed(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    spool = opened(folder, memory=1 << 20)
    feed(spool, 8, 16)
    with monkeypatch.context() as patch:
        patch.setattr(spool_module.TopImages, "followed_by", interrupted)
        with pytest.raises(KeyboardInterrupt):
            feed(spool, 8)
    spool.keep()
    assert spool.kept == 16
    assert_right(opened(folder))


def test_every_flip_of_the_description_is_found_or_harmless(folder: Path) -> None:
    path = folder / "spool.json"
    key = {"layer": "x"}
    whole = path.read_bytes()
    found = []
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                spool_key.claim_folder(folder, key)
            except UnusableSpoolError as error:
                found.append(str(error))
            else:
                assert json.loads(damaged) == json.loads(whole)
    assert len(found) > 6 * len(whole)
    assert all("spool.json" in text and "--overwrite" in text for text in found)


def old_version(path: Path) -> None:
    path.write_text(json.dumps({"format": 1, "layer": "x"}))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (old_version, r"spool\.json was written by another version"),
        (Path.unlink, r"spool\.json is damaged \(No such file"),
        (lambda path: path.write_text("[" * 9999), r"spool\.json is damaged"),
        (lambda path: path.write_text("[]"), r"spool\.json is damaged \(no object\)"),
        (lambda path: (path.unlink(), os.mkfifo(path)), r"spool\.json is damaged \(it is no file\)"),
    ],
)
def test_segments_of_nobody_knows_what_are_refused(harm: Callable[[Path], object], says: str, folder: Path) -> None:
    harm(folder / "spool.json")
    with pytest.raises(UnusableSpoolError, match=f"{says}.*--overwrite"):
        spool_key.claim_folder(folder, {"layer": "x"})


def test_other_settings_are_refused_with_both_values(folder: Path, tmp_path: Path) -> None:
    spool_key.claim_folder(folder, {"layer": "x"})
    with pytest.raises(UnusableSpoolError, match=r"settings \(layer x, not y; size none, not \[1, 2\]\).*--overwrite"):
        spool_key.claim_folder(folder, {"layer": "y", "size": (1, 2)})
    spool_key.claim_folder(tmp_path / "empty", {"layer": "x", "versions": {"torch": "1"}})
    spool_key.claim_folder(tmp_path / "empty", {"layer": "y"})  # there is nothing to lose
    assert spool_key.read_key(tmp_path / "empty") == {"layer": "y"}
