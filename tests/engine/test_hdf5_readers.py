"""What is written can be read by the oldest h5py that pyproject allows, by netCDF4 and by PyTables."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from tinybroden import make_broden

from ndengine.datasets import Vocabulary
from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import pack_dataset
from ndengine.dense_spool import DenseSpool
from ndengine.hdf5 import text_array
from ndengine.result_files import Examples, write_counts, write_examples
from ndengine.spool_files import Span, write_segment
from ndengine.tally import Counts
from ndkernels.sieve import Survivors

ROOT = Path(__file__).parents[2]
VOCABULARY = Vocabulary(("lamp", "Straße", ""), ("object", "color"), np.array([0, 1, -1]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind that is written as HDF5."""
    home = tmp_path_factory.mktemp("written")
    make_broden(home / "tiny", images=6)
    pack_dataset(BrodenFolder(home / "tiny"), home / "pack.h5").close()
    rng = np.random.default_rng(0)
    counts = Counts(
        threshold=rng.random(4).astype(np.float32),
        intersection=rng.integers(0, 9, (4, 3)),
        concept_area=rng.integers(10, 19, 3),
        unit_area=rng.integers(10, 19, (4, 2)),
        unit_area_all=rng.integers(20, 29, 4),
        concept_images=rng.integers(1, 6, 3),
    )
    write_counts(home / "counts.h5", counts, np.array([False, True, False, False]), VOCABULARY)
    shown = Examples(
        rng.integers(0, 6, (4, 2)), rng.random((4, 2), np.float32), rng.integers(0, 9, (4, 2, 5, 1), np.uint8)
    )
    write_examples(home / "examples.h5", shown)
    dense = DenseSpool(home / "activations.h5", (6, 4, 3, 3), 5, 2)
    dense.add(torch.from_numpy(rng.random((6, 4, 3, 3), np.float32)), 0)
    dense.close()
    dense.finish()
    survivors = Survivors(
        image=torch.tensor([0, 1], dtype=torch.int32),
        unit=torch.tensor([2, 0], dtype=torch.int32),
        bitmap=torch.tensor([[3], [1]], dtype=torch.uint8),
        values=torch.tensor([1.0, 2.0, 3.0]),
        shape=(2, 2),
    )
    write_segment(home / "segment.h5", survivors, {"bound": np.zeros(3, np.float32)}, Span(0, 2, 2, 0))
    return {name: home / f"{name}.h5" for name in ("pack", "counts", "examples", "activations", "segment")}


# Types, shapes and checksums of all arrays and attributes, by whatever h5py is at hand.
LIST = """
import hashlib, json, sys
import h5py, numpy as np
def tell(value):
    array = np.asarray(value.encode() if isinstance(value, str) else value)
    return [array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
found = {}
for path in sys.argv[1:]:
    with h5py.File(path, "r") as file:
        def visit(name, item):
            for key, value in item.attrs.items():
                found[f"{path} {name}@{key}"] = tell(value)
            if isinstance(item, h5py.Dataset):
                found[f"{path} {name}"] = tell(item[()])
        visit("/", file)
        file.visititems(visit)
print(json.dumps([h5py.__version__, found]))
"""


def listing(files: list[Path], environment: dict[str, str] | None = None) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-c", LIST, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    version, found = json.loads(done.stdout)
    return version, found


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``import h5py`` gives the oldest version that pyproject allows."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (least,) = (match[1] for need in needs if (match := re.fullmatch(r"h5py>=([\d.]+)", need)))
    home = tmp_path_factory.mktemp("oldest")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--target",
        str(home),
    ]
    done = subprocess.run([*command, f"h5py=={least}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"h5py {least} can't be had here: {done.stderr.splitlines()[-1]}")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(home), str(ROOT), str(ROOT / "cli"))), "LEAST": least}


@pytest.mark.slow
def test_the_oldest_h5py_reads_what_the_newest_wrote(written: dict[str, Path], oldest: dict[str, str]) -> None:
    files = list(written.values())
    old, found = listing(files, oldest)
    new, expected = listing(files)
    assert old.startswith(oldest["LEAST"])
    assert new == h5py.__version__
    assert found == expected
    assert len(expected) > 50


READ = """
import sys
import h5py, numpy as np
from ndengine.datasets.pack import PackedDataset
from ndengine.errors import DatasetError
from ndengine.result_files import read_counts
print(h5py.__version__)
with PackedDataset(sys.argv[1]) as pack:
    print(len(pack.images(np.arange(6))), len(pack.labels(np.arange(6))), pack.image_names[1])
units = len(h5py.File(sys.argv[2])["dead"])
print(read_counts(__import__("pathlib").Path(sys.argv[2]), units)[2].names)
try:
    PackedDataset(sys.argv[3])
except DatasetError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_the_engine_itself_with_the_oldest_h5py(
    written: dict[str, Path], oldest: dict[str, str], tmp_path: Path
) -> None:
    """It reads its files, and knows a file of the newest HDF5 for one of a newer version."""
    newest = tmp_path / "newest.h5"
    with h5py.File(newest, "w", libver="latest") as file:
        file.attrs["format"], file.attrs["version"], file.attrs["complete"] = "ndengine pack", 1, True
    command = [sys.executable, "-c", READ, str(written["pack"]), str(written["counts"]), str(newest)]
    done = subprocess.run(command, capture_output=True, text=True, env=oldest)
    assert done.returncode == 0, done.stderr
    version, read, names, error = done.stdout.splitlines()
    assert version.startswith(oldest["LEAST"])
    assert read == "6 6 sub/001.png"
    assert names == str(VOCABULARY.names)
    if h5py.version.hdf5_version_tuple >= (2, 0, 0):
        assert error.startswith(f"DatasetError {newest} can't be read by HDF5 1.")
        assert "newer version" in error


NETCDF = """
import hashlib, json, sys
import netCDF4, numpy as np
found = {}
for path in sys.argv[1:]:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        groups = [("", file), *((f"{name}/", group) for name, group in file.groups.items())]
        for inside, group in groups:
            for name, data in group.variables.items():
                values = np.asarray(data[...]) if data.size else np.empty(data.shape, data.dtype)
                found[f"{path} {inside}{name}"] = [list(data.shape), values.tolist()]
print(json.dumps(found))
"""
TABLES = """
import json, sys, warnings
import numpy as np, tables
warnings.simplefilter("error")
found = {}
for path in sys.argv[1:]:
    with tables.open_file(path) as file:
        for key in file.root._v_attrs._v_attrnames:
            file.root._v_attrs[key]
        for node in file.walk_nodes("/", "Leaf"):
            values = node.read()
            texts = values.dtype.kind == "S"
            found[f"{path} {node._v_pathname[1:]}"] = [
                list(map(int, node.shape)), [text.decode() for text in values.tolist()] if texts else values.tolist()
            ]
print(json.dumps(found))
"""


def contents(files: list[Path]) -> Iterator[tuple[str, Any]]:
    for path in files:
        with h5py.File(path) as file:
            names: list[str] = []
            file.visititems(lambda name, item, names=names: names.append(name) if hasattr(item, "dtype") else None)
            for name in names:
                data = file[name]
                texts = h5py.check_string_dtype(data.dtype) is not None
                values = data.asstr()[()] if texts else data[()]
                yield f"{path} {name}", [list(data.shape), (values + 0 if values.dtype == bool else values).tolist()]


@pytest.mark.parametrize(("library", "script"), [("netCDF4", NETCDF), ("tables", TABLES)], ids=["netCDF4", "PyTables"])
@pytest.mark.parametrize("kind", ["results", "packs"])
def test_other_readers(written: dict[str, Path], library: str, script: str, kind: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    names = {"results": ("counts", "examples", "activations"), "packs": ("pack",)}[kind]
    files = [written[name] for name in names]
    done = subprocess.run([sys.executable, "-c", script, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict(contents(files))


def test_the_format_does_not_follow_the_library(written: dict[str, Path]) -> None:
    """Superblocks: version 2 of HDF5 1.8, version 3 of 1.10, which tells who writes, and has more checksums."""
    versions = {name: path.read_bytes()[8] for name, path in written.items()}
    assert versions == {"pack": 3, "segment": 3, "counts": 2, "examples": 2, "activations": 3}


def test_texts_are_of_one_length() -> None:
    for texts in (["a", "Straße", ""], [""], [], ["\udc80"]):
        array = text_array(texts)
        assert array.dtype.kind == "S"
        assert [text.decode("utf-8", "surrogateescape") for text in array.tolist()] == texts
        assert hashlib.sha256(array.tobytes()).digest()  # plain bytes, no objects
