"""Spools of every kind give the thresholds and masks of the dense activations, whatever happens on the way."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ndengine import spool as spool_module
from ndengine import spool_files
from ndengine.dense_spool import DenseSpool
from ndengine.errors import SpoolError
from ndengine.spool import Spool, SurvivorSpool
from ndengine.threshold import find_thresholds
from ndkernels.sieve import NonFiniteError, Survivors, expand_survivors, naive, rank_above

SHAPE = (37, 5, 6, 7)  # N, U, h, w
QUANTILE = "0.02"
ABOVE = rank_above(QUANTILE, 37 * 42)


@pytest.fixture
def activations() -> torch.Tensor:
    values = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    values[:, 1] = torch.relu(values[:, 1] - 2)
    values[:, 2] = 0.37
    values[:, 3] = -values[:, 3].abs()
    return values


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few batches and compactions all the time."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 600)
    monkeypatch.setattr(spool_module, "LEAST_COMPACTION_BYTES", 1500)


def make(kind: str, folder: Path, threads: int = 1) -> Spool:
    folder.mkdir(exist_ok=True)
    if kind == "dense":
        return DenseSpool(folder / "activations.h5", SHAPE, ABOVE, 3, threads=threads)
    memory = {"memory": None, "disk": 0, "auto": 4500}[kind]
    where = None if memory is None else folder
    return SurvivorSpool(SHAPE[1], ABOVE, 3, threads=threads, folder=where, memory_bytes=memory or 0)


def feed(spool: Spool, activations: torch.Tensor, batch: int = 4, first: int = 0) -> None:
    for start in range(first, len(activations), batch):
        spool.add(activations[start : start + batch], start)


def dense_of(survivors: list[Survivors], fill: np.ndarray) -> np.ndarray:
    """Maps with every absent cell at its unit's fill value."""
    out = np.broadcast_to(fill[None, :, None, None], SHAPE).copy()
    for part in survivors:
        out[part.image.numpy(), part.unit.numpy()] = expand_survivors(part, torch.from_numpy(fill)).numpy()
    return out


@pytest.mark.parametrize("kind", ["memory", "auto", "disk", "dense"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("busy")
def test_thresholds_and_survivors(kind: str, threads: int, activations: torch.Tensor, tmp_path: Path) -> None:
    spool = make(kind, tmp_path, threads)
    feed(spool, activations)
    thresholds = find_thresholds(spool, ABOVE, threads=threads)
    np.testing.assert_array_equal(thresholds, naive.thresholds(activations.numpy(), ABOVE))
    kept = list(spool.survivors())
    image, unit, bitmap, values = naive.survivors(activations.numpy(), thresholds)
    for name, expected in (("image", image), ("unit", unit), ("bitmap", bitmap), ("values", values)):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in kept]), expected)
    assert not (unit == 2).any(), "a constant unit off a bin edge leaves nothing behind"


@pytest.mark.usefixtures("busy")
def test_auto_goes_to_disk_when_it_must(activations: torch.Tensor, tmp_path: Path) -> None:
    spool = make("auto", tmp_path)
    feed(spool, activations[:4])
    assert not list(tmp_path.iterdir())
    feed(spool, activations, first=4)
    assert list(tmp_path.glob("segment-*.h5"))


def test_top_images_and_dead_units(activations: torch.Tensor, tmp_path: Path) -> None:
    spool = make("memory", tmp_path)
    activations[30, 0] = activations[5, 0]  # a tie: the earlier image comes first
    activations[5, 0, 0, 0] = activations[30, 0, 0, 0] = 9.0
    feed(spool, activations)
    maxima = activations.amax((2, 3)).numpy()
    for u in range(SHAPE[1]):
        order = sorted(range(SHAPE[0]), key=lambda n: (-maxima[n, u], n))[:3]
        assert spool.tops.images[u].tolist() == order
        np.testing.assert_array_equal(spool.tops.values[u], maxima[order, u])
    assert spool.tops.images[0, :2].tolist() == [5, 30]
    assert spool.tops.dead.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("cut", [1, 8, 20, 36])
@pytest.mark.usefixtures("busy")
def test_resume(cut: int, activations: torch.Tensor, tmp_path: Path) -> None:
    first = make("disk", tmp_path)
    feed(first, activations[:cut])
    (tmp_path / "segment-000099.h5.part").write_bytes(b"half written")
    second = make("disk", tmp_path)  # the first one is gone without closing
    assert second.images <= cut
    assert not list(tmp_path.glob("*.part"))
    feed(second, activations, batch=5)  # another batch size: images that are held are skipped
    whole = make("memory", tmp_path)
    feed(whole, activations)
    np.testing.assert_array_equal(find_thresholds(second, ABOVE), find_thresholds(whole, ABOVE))
    assert torch.equal(second.tops.images, whole.tops.images)
    assert torch.equal(second.tops.low, whole.tops.low)
    fill = naive.thresholds(activations.numpy(), ABOVE)
    np.testing.assert_array_equal(dense_of(list(second.survivors()), fill), dense_of(list(whole.survivors()), fill))


@pytest.mark.usefixtures("busy")
def test_resume_takes_up_something(activations: torch.Tensor, tmp_path: Path) -> None:
    feed(make("disk", tmp_path), activations[:20])
    assert make("disk", tmp_path).images > 0


def test_gap_between_batches(activations: torch.Tensor, tmp_path: Path) -> None:
    for kind in ("memory", "dense"):
        with pytest.raises(ValueError, match="images from 0 to 4 are missing"):
            make(kind, tmp_path).add(activations[4:8], 4)


@pytest.mark.usefixtures("busy")
def test_non_finite(activations: torch.Tensor, tmp_path: Path) -> None:
    activations[6, 3, 2, 2] = torch.nan
    with pytest.raises(NonFiniteError) as caught:
        feed(make("disk", tmp_path), activations)
    assert (caught.value.image, caught.value.unit) == (2, 3)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_byte(path: Path) -> None:
    with h5py.File(path, "r") as file:
        offset = file["values"].id.get_chunk_info(0).byte_offset
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def other_format(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99


def no_values(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["values"]


@pytest.mark.parametrize("harm", [truncate, flip_a_byte, other_format, no_values, Path.unlink])
@pytest.mark.usefixtures("busy")
def test_damaged_segment(harm: Callable[[Path], None], activations: torch.Tensor, tmp_path: Path) -> None:
    feed(make("disk", tmp_path), activations)
    harm(tmp_path / "segment-000001.h5")
    with pytest.raises(SpoolError, match=r"(segment-000001\.h5 is damaged|lacks segment 1).*--overwrite"):
        make("disk", tmp_path)


@pytest.mark.parametrize("kind", ["disk", "dense"])
@pytest.mark.usefixtures("busy")
def test_full_disk(kind: str, activations: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    spool = make(kind, tmp_path)
    monkeypatch.setattr(spool_files, "write_checked", refuse)
    monkeypatch.setattr("ndengine.hdf5.DiskFile.check", refuse)
    with pytest.raises(SpoolError, match=r"can't be written .No space left on device.*choose another --out"):
        feed(spool, activations)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 5), (0, 4), (300_000,), (2000, 600)])
def test_arrays_round_trip(shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 2**31, shape).astype(np.int32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        spool_files.write_array(file, "a", array)
        np.testing.assert_array_equal(spool_files.read_array(file, "a"), array)
        np.testing.assert_array_equal(file["a"][()], array)  # any HDF5 reader reads it too


def test_dense_file(activations: torch.Tensor, tmp_path: Path) -> None:
    """Whatever byte of it flips, a reader notices, or reads the same."""
    spool = make("dense", tmp_path)
    feed(spool, activations)
    assert isinstance(spool, DenseSpool)
    spool.finish()
    path = tmp_path / "activations.h5"
    with h5py.File(path) as file:
        assert file["activations"].dtype == np.float32
        np.testing.assert_array_equal(file["activations"][()], activations.numpy())
    whole, found = path.read_bytes(), 0
    places = [*range(0, 1200, 7), *range(1200, len(whole), 211)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            with h5py.File(path) as file:
                np.testing.assert_array_equal(file["activations"][()], activations.numpy())
        except (OSError, KeyError, RuntimeError):
            found += 1
    assert found > len(places) // 2


def test_a_flip_in_a_dense_spool_is_found_while_it_is_used(activations: torch.Tensor, tmp_path: Path) -> None:
    spool = make("dense", tmp_path)
    feed(spool, activations)
    spool.close()
    path = tmp_path / "activations.h5"
    raw = bytearray(path.read_bytes())
    place = raw.find(activations.numpy()[20].tobytes())
    assert place > 0
    raw[place] ^= 2
    path.write_bytes(raw)
    with pytest.raises(SpoolError, match=r"activations\.h5 can't be read back"):
        list(spool.survivors())


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_kill_in_the_middle_of_a_spill(
    written: int, activations: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that go to disk together tell of the stream up to then: they count all or not at all."""
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 600)
    write, calls = spool_files.write_segment, []

    def killed(*args: object) -> None:
        calls.append(1)
        if len(calls) > written:
            raise KeyboardInterrupt
        write(*args)  # type: ignore[arg-type]

    first = SurvivorSpool(SHAPE[1], ABOVE, 3, folder=tmp_path, memory_bytes=20_000)
    feed(first, activations, batch=2)
    with monkeypatch.context() as patch:
        patch.setattr(spool_files, "write_segment", killed)
        with pytest.raises(KeyboardInterrupt):
            first.close(write=True)
    assert len(first._stream.held) > 3
    second = SurvivorSpool(SHAPE[1], ABOVE, 3, folder=tmp_path, memory_bytes=0)
    assert second.images == 0
    assert not list(tmp_path.glob("segment-*"))
    feed(second, activations, batch=3)
    whole = make("memory", tmp_path)
    feed(whole, activations)
    assert torch.equal(second.tops.images, whole.tops.images)
    np.testing.assert_array_equal(find_thresholds(second, ABOVE), find_thresholds(whole, ABOVE))


def test_a_long_run_reaches_the_disk(
    activations: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_SECONDS", 0.0)
    feed(SurvivorSpool(SHAPE[1], ABOVE, 3, folder=tmp_path, memory_bytes=1 << 30), activations[:8])
    assert SurvivorSpool(SHAPE[1], ABOVE, 3, folder=tmp_path, memory_bytes=1 << 30).images == 8
