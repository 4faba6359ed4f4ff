"""A pack that is damaged, foreign, old or unfinished is refused with a remedy, and never reaches a kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from sealed import reseal
from tinybroden import make_broden

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import PackedDataset, pack_dataset
from ndengine.errors import DatasetError, UnusablePackError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_broden(tmp_path / "tiny", images=10)
    with pack_dataset(BrodenFolder(tmp_path / "tiny"), tmp_path / "tiny.h5") as pack:
        return pack.path


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _change(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            array = np.atleast_1d(change(file[name][:]))
            kind = file[name].dtype
            del file[name]
            file.create_dataset(name, data=array, dtype=kind)

    return apply


def _attribute(name: str, value: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs[name] = value

    return apply


def _forget(name: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file.attrs[name]

    return apply


def _remove(name: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]

    return apply


OPENING: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "does not exist; make it"),
    "empty": (lambda p: p.write_bytes(b""), "is no HDF5 file, or a truncated one; give a folder"),
    "text": (lambda p: p.write_text("hello"), "is no HDF5 file, or a truncated one; give a folder"),
    "truncated": (_truncate, "is no HDF5 file, or a truncated one; give a folder"),
    "foreign": (_attribute("format", "somebody else's"), "is an HDF5 file but no packed dataset"),
    "newer version": (_attribute("version", 99), "has version 99 .* reads 2: .* newer version of ndengine; update"),
    "older version": (_attribute("version", 1), "has version 1 .* reads 2; pack .* again with `ndengine data pack /"),
    "unfinished": (_forget("checksum"), "was not finished; delete it"),
    "no version": (_forget("version"), "damaged or do not go together.*; delete it"),
    "no codes": (_remove("codes"), "damaged or do not go together.*; delete it"),
    "no tables": (_remove("tables"), "damaged or do not go together.*; delete it"),
    "no label table": (_remove("tables/label.csv"), "damaged or do not go together.*; delete it"),
    "too few images": (_change("images", lambda a: a[:-1]), "damaged or do not go together.*; delete it"),
    "too few codes": (_change("codes", lambda a: a[:-1]), "damaged or do not go together.*; delete it"),
    "flat images": (_change("images", lambda a: a.ravel()), "damaged or do not go together.*; delete it"),
    "too few areas": (_change("code_area", lambda a: a[:-1]), "damaged or do not go together.*; delete it"),
    "too few entries": (_change("entry_times", lambda a: a[:-1]), "damaged or do not go together.*; delete it"),
    "too few starts": (_change("whole_start", lambda a: a[:-1]), "damaged or do not go together.*; delete it"),
    "falling starts": (
        _change("code_start", lambda a: np.r_[0, a[2], a[1], a[3:]]),
        "damaged or do not go together.*; delete it",
    ),
    "too few splits": (_change("splits", lambda a: a[1:]), "damaged or do not go together.*; delete it"),
}


NO_DAMAGE = ("missing", "foreign", "newer version")  # what no cache may take as a reason to pack again


@pytest.mark.parametrize("case", OPENING)
def test_damaged_packs_do_not_open(path: Path, case: str) -> None:
    damage, message = OPENING[case]
    damage(path)
    with pytest.raises(DatasetError, match=message) as caught:
        PackedDataset(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UnusablePackError) == (case not in NO_DAMAGE)


SEALED = {case: found for case, found in OPENING.items() if case.startswith(("too few", "flat", "falling"))}


@pytest.mark.parametrize("case", SEALED)
def test_checksums_that_fit_make_no_pack_of_what_does_not(path: Path, case: str) -> None:
    damage, message = SEALED[case]
    damage(path)
    reseal(path)
    with pytest.raises(DatasetError, match=message) as caught:
        PackedDataset(path)
    assert "its checksum" not in str(caught.value)


READING: dict[str, Callable[[Path], object]] = {
    "code": _change("codes", lambda a: np.where(np.arange(a.size).reshape(a.shape) == 11, 60_000, a)),
    "concept 0": _change("entry_concept", lambda a: np.r_[0, a[1:]]),
    "concept beyond": _change("entry_concept", lambda a: np.r_[301, a[1:]]),
    "whole concept": _change("whole_concept", lambda a: a + 300),
    "entries": _change("code_entries", lambda a: np.r_[a[0] + 1, a[1:]]),
    "negative entries": _change("code_entries", lambda a: np.r_[-1, a[1] + a[0] + 1, a[2:]]),
}


@pytest.mark.parametrize("case", READING)
def test_damaged_labels_do_not_reach_a_kernel(path: Path, case: str) -> None:
    READING[case](path)
    reseal(path)
    with PackedDataset(path) as damaged, pytest.raises(DatasetError, match="labels that are out of range"):
        damaged.labels(np.arange(8))
