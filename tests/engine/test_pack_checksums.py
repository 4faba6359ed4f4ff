"""Every byte of a pack is under a checksum that a reader compares: what is changed is found, or means nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sealed import RAGGED, hexadecimal, manifest_of, sums_of
from tinybroden import make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.checksums import BlockSums
from ndengine.datasets.pack import PackedDataset, pack_dataset
from ndengine.errors import DatasetError, UnusablePackError
from ndkernels.labels import tensors


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    make_broden(folder / "tiny", images=10)
    with pack_dataset(BrodenFolder(folder / "tiny"), folder / "tiny.h5") as pack:
        return pack.path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "tiny.h5"))


def flip(path: Path, place: int, bits: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(1)[0]
        file.seek(place)
        file.write(bytes([old ^ bits]))


def place_of(path: Path, name: str, element: int = 0) -> int:
    """Where an element of an array lies in the file."""
    with h5py.File(path) as file:
        data = file[name]
        start = data.id.get_offset() or data.id.get_chunk_info(0).byte_offset
        return int(start) + element * data.dtype.itemsize


def everything(path: Path) -> list[Any]:
    """All that a reader can be given of a pack."""
    with PackedDataset(path) as pack:
        numbers = np.arange(len(pack))
        facts = [pack.name, pack.source, pack.fingerprint, pack.image_names, pack.splits, pack.vocabulary.names]
        arrays = [pack.images(numbers), *(tensor.numpy() for tensor in tensors(pack.labels(numbers)))]
        return [*facts, sorted(pack.tables.items()), *((a.dtype, a.shape, a.tobytes()) for a in arrays)]


def test_the_checksums_are_those_that_the_format_describes(whole: Path) -> None:
    with h5py.File(whole) as file:
        for name in ("images", "codes", *RAGGED):
            assert np.array_equal(file[f"checksums/{name}"][()], sums_of(name, file[name][()]))
        text = file["checksums/manifest"][()].tobytes()
        assert json.loads(text) == manifest_of(file)
        assert file.attrs["checksum"].decode() == hexadecimal(text)
        kinds = {name: item.id.get_type() for name, item in file.items() if hasattr(item, "dtype")}
        kinds |= {name: file.attrs.get_id(name).get_type() for name in file.attrs}
    assert {name for name, kind in kinds.items() if kind.get_class() == h5py.h5t.ENUM} == set()
    assert not any(kind.is_variable_str() for kind in kinds.values() if kind.get_class() == h5py.h5t.STRING)


@pytest.mark.parametrize("name", ["images", "codes", "code_area", "code_entries", "entry_concept", "whole_times"])
def test_a_changed_element_is_found_when_it_is_read(path: Path, name: str) -> None:
    flip(path, place_of(path, name, 3), 0x10)
    with PackedDataset(path) as pack:
        read = pack.images if name == "images" else pack.labels
        with pytest.raises(UnusablePackError, match=r"tiny\.h5 holds damaged .*; delete it and pack") as caught:
            read(np.arange(10))
        assert {"images": "pixels of the image 000.png", "codes": "labels of the image 000.png"}.get(name, name) in str(
            caught.value
        )
        if name in ("images", "codes"):
            assert len(read(np.arange(1, 10))) == 9  # the others are whole


@pytest.mark.parametrize("name", ["image_names", "splits", "code_start", "tables/label.csv", "checksums/images"])
def test_a_changed_table_is_found_when_the_pack_is_opened(path: Path, name: str) -> None:
    flip(path, place_of(path, name, 1))
    with pytest.raises(UnusablePackError, match=f"{name.removeprefix('checksums/')} does not match its checksum"):
        PackedDataset(path)


def test_a_changed_list_of_checksums_is_found(path: Path) -> None:
    flip(path, place_of(path, "checksums/manifest", 5))
    with pytest.raises(UnusablePackError, match="list of checksums does not match its own"):
        PackedDataset(path)


@pytest.mark.parametrize("name", ["name", "source", "fingerprint", "checksum"])
def test_a_changed_attribute_is_found(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:  # with HDF5's own checksum set right again
        text = file.attrs[name]
        file.attrs.modify(name, np.array(text[:-1] + bytes([text[-1] ^ 1]), file.attrs.get_id(name).dtype))
    with pytest.raises(UnusablePackError, match="does not match its"):
        PackedDataset(path)


def test_blocks_are_told_apart_however_the_array_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(200_000, dtype=np.int32)
    expected = sums_of("code_entries", array)
    for pieces in (1, 3, 41):
        sums = BlockSums()
        for piece in np.array_split(array, pieces):
            sums.add(piece)
        assert np.array_equal(sums.finish(), expected)
    whole = BlockSums()
    whole.add(array[: 2 * 65536])
    assert np.array_equal(whole.finish(), expected[:2])
    assert BlockSums().finish().shape == (0,)


def flips(path: Path, rng: np.random.Generator, count: int) -> tuple[int, int]:
    """Change a byte at a time; how many were found, and how many changed nothing. Anything else fails."""
    data, expected = path.read_bytes(), everything(path)
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # most of so small a file is space between the chunks
    found: list[str] = []
    harmless = 0
    for turn in range(count):
        place = int(rng.choice(used) if turn % 4 else rng.integers(600))  # one in four in the first headers
        flip(path, place, int(rng.integers(1, 256)))
        try:
            assert everything(path) == expected, place
            harmless += 1
        except DatasetError as error:
            found.append(f"{type(error).__name__} {error}")
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), data[place : place + 1], place)
    for text in found:  # another version of the file's first header may be a newer one
        assert text.startswith(f"UnusablePackError {path} ") or "newer version" in text
    return len(found), harmless


def test_no_changed_byte_is_taken_for_data(path: Path) -> None:
    found, harmless = flips(path, np.random.default_rng(0), 60)
    assert found + harmless == 60
    assert found > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_changed_byte_of_many_is_taken_for_data(path: Path, seed: int) -> None:
    found, harmless = flips(path, np.random.default_rng(1 + seed), 400)
    assert found + harmless == 400
    assert found > 300


def _swap(name: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            rows = file[name][()]
            file[name][...] = rows[::-1]

    return apply


@pytest.mark.parametrize("name", ["images", "codes", "image_names", "splits"])
def test_whole_rows_at_each_others_place_are_found(path: Path, name: str) -> None:
    _swap(name)(path)
    with pytest.raises(UnusablePackError):
        everything(path)
