"""Ways to edit or damage a finished result: every field of ``result.json``, every array, table and file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ndengine.errors import NdengineError
from ndengine.result_files import sha256
from ndengine.result_record import sealed

EVIL = "\x1b]0;x\x07\u202e\n../..\ud800"[:-1]
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    7,
    10**30,
    0.5,
    -1e308,
    "",
    "x",
    "..",
    "/",
    EVIL,
    [],
    [None],
    {},
    {"": {}},
)
RAW = ("NaN", "-Infinity", "1e999", '"\\ud800"', "[" * 3000 + "]" * 3000, "1" * 5000)


@dataclass(frozen=True)
class Edit:
    """A change to a file of a result.

    Attributes
    ----------
    name : str
        What it does.
    file : str
        The file, relative to the result.
    change : callable
        Given the file's path.
    """

    name: str
    file: str
    change: Callable[[Path], object]


def edits_of(folder: Path) -> Iterator[Edit]:
    """All edits of a result's files."""
    record = json.loads((folder / "result.json").read_text("utf-8"))
    yield from _json_edits(record)
    files = ["result.json", "images.csv"]
    for layer in record["layers"]:
        files += [f"{layer['folder']}/{name}" for name in layer["sha256"]]
    for file in files:
        yield from _file_edits(folder, file)
        if file.endswith(".csv"):
            yield from _csv_edits(file)
        if file.endswith(".h5"):
            yield from _hdf5_edits(folder, file)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in JSON; of long lists the first and the last."""
    if path:
        yield path
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = sorted({0, len(value) - 1}) if value else []
    for key in keys:
        yield from places(value[key], (*path, key))


def _json_edits(record: dict[str, Any]) -> Iterator[Edit]:
    for path in places(record):
        where = ".".join(map(str, path))

        def at(change: Callable[[Any, Any], object], path: tuple[Any, ...] = path) -> Callable[[Path], None]:
            def edit(file: Path) -> None:
                content = json.loads(file.read_text("utf-8"))
                holder = content
                for key in path[:-1]:
                    holder = holder[key]
                change(holder, path[-1])
                file.write_text(json.dumps(content), "utf-8")

            return edit

        yield Edit(f"{where} deleted", "result.json", at(lambda holder, key: holder.pop(key)))
        yield Edit(f"{where} nested", "result.json", at(lambda h, k: h.__setitem__(k, [h[k]])))
        yield Edit(f"{where} as an object", "result.json", at(lambda h, k: h.__setitem__(k, {"a": h[k]})))
        yield Edit(f"{where} with another beside it", "result.json", at(_double))
        for value in VALUES:
            yield Edit(f"{where} = {value!r:.40}", "result.json", at(lambda h, k, v=value: h.__setitem__(k, v)))
        for text in RAW:
            yield Edit(f"{where} = {text:.20}", "result.json", _raw(at(lambda h, k: h.__setitem__(k, "@@")), text))
        if isinstance(path[-1], str):
            yield Edit(f"{where} twice", "result.json", _twice(path[-1]))


def _double(holder: Any, key: Any) -> None:
    if isinstance(holder, list):
        holder.append(holder[key])
    else:
        holder[f"{key} "] = holder[key]


def _raw(change: Callable[[Path], None], text: str) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        change(file)
        file.write_text(file.read_text("utf-8").replace('"@@"', text), "utf-8")

    return edit


def _twice(key: str) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        text, mark = file.read_text("utf-8"), f"{json.dumps(key, ensure_ascii=False)}:"
        file.write_text(text.replace(mark, f"{mark} 0, {mark}", 1), "utf-8")

    return edit


def _file_edits(folder: Path, file: str) -> Iterator[Edit]:
    content = (folder / file).read_bytes()
    half = len(content) // 2
    flipped = bytes([*content[:half], content[half] ^ 4, *content[half + 1 :]])
    for name, new in (("empty", b""), ("truncated", content[:half]), ("longer", content + b"\0"), ("flipped", flipped)):
        yield Edit(f"{file} {name}", file, lambda path, new=new: path.write_bytes(new))

    def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
        def edit(path: Path) -> None:
            path.unlink()
            make(path)

        return edit

    kinds: dict[str, Callable[[Path], object]] = {
        "missing": lambda path: None,
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link out": lambda path: path.symlink_to(_written(Path(tempfile.mkdtemp(dir=folder.parent)), content)),
    }
    for name, make in kinds.items():
        yield Edit(f"{file} {name}", file, replaced(make))


def _written(folder: Path, content: bytes) -> Path:
    (folder / "outside").write_bytes(content)
    return folder / "outside"


def _csv_edits(file: str) -> Iterator[Edit]:
    def at(change: Callable[[list[str]], object]) -> Callable[[Path], None]:
        def edit(path: Path) -> None:
            lines = path.read_text("utf-8").split("\n")
            change(lines)
            path.write_text("\n".join(lines), "utf-8")

        return edit

    yield Edit(f"{file} without a row", file, at(lambda rows: rows.pop(1)))
    yield Edit(f"{file} with a row twice", file, at(lambda rows: rows.insert(1, rows[1])))
    yield Edit(f"{file} rows exchanged", file, at(lambda rows: rows.insert(1, rows.pop(2))))
    yield Edit(f"{file} without a header", file, at(lambda rows: rows.pop(0)))
    yield Edit(f"{file} with a cell more", file, at(lambda rows: rows.__setitem__(1, rows[1] + ",1")))
    yield Edit(f"{file} with an open quote", file, at(lambda rows: rows.__setitem__(1, '"' + rows[1])))
    yield Edit(f"{file} with another cell", file, at(lambda rows: rows.__setitem__(1, EVIL + rows[1])))
    yield Edit(f"{file} that is no UTF-8", file, lambda path: path.write_bytes(path.read_bytes() + b"\xff"))


def _hdf5_edits(folder: Path, file: str) -> Iterator[Edit]:
    with h5py.File(folder / file) as content:
        names, attributes = list(content), list(content.attrs)
        arrays = {name: content[name][()] for name in names}

    def at(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
        def edit(path: Path) -> None:
            with h5py.File(path, "r+") as opened:
                change(opened)

        return edit

    for name in attributes:
        yield Edit(f"{file} attribute {name} deleted", file, at(lambda f, n=name: f.attrs.pop(n)))
        for value in (99, "x", -1.5, [1, 2]):
            yield Edit(
                f"{file} attribute {name} = {value}", file, at(lambda f, n=name, v=value: f.attrs.__setitem__(n, v))
            )
    for name, array in arrays.items():
        for how, new in _arrays_instead(array):
            yield Edit(f"{file} {name} {how}", file, at(lambda f, n=name, a=new: _put(f, n, a)))
        yield Edit(f"{file} {name} deleted", file, at(lambda f, n=name: f.pop(n)))
        yield Edit(f"{file} {name} as a group", file, at(lambda f, n=name: (f.pop(n), f.create_group(n))))
        for how, link in (
            ("in another file", h5py.ExternalLink("/etc/passwd", name)),
            ("elsewhere", h5py.SoftLink(f"/{name} ")),
            ("as a link to itself", h5py.SoftLink(f"/{name}")),
        ):
            yield Edit(f"{file} {name} {how}", file, at(lambda f, n=name, k=link: (f.pop(n), f.__setitem__(n, k))))
        yield Edit(f"{file} {name} of foreign bytes", file, at(lambda f, n=name: _foreign(f, n)))
        yield Edit(f"{file} {name} endless", file, at(lambda f, n=name: _endless(f, n)))


def _arrays_instead(array: Any) -> Iterator[tuple[str, Any]]:
    yield "of one number", np.int64(3)
    yield "of no numbers", np.zeros(0)
    yield "without its last axis", array[..., 0] if array.ndim > 1 else array[:-1]
    yield "with a row more", np.concatenate([array, array[-1:]])
    if array.dtype.kind in "OS":
        for how, text in (("empty texts", b""), ("bad UTF-8", b"\xff\xfe"), ("evil texts", EVIL.encode())):
            yield f"of {how}", [text] * len(array)
        return
    yield "zeroed", np.zeros_like(array)
    yield "as text", ["x"] * len(array)
    if array.dtype != bool:
        yield "doubled", array * 2
        yield "as float64", array.astype(np.float64) + 0.5
        yield (
            "largest",
            np.full_like(array, np.finfo(array.dtype).max if array.dtype.kind == "f" else np.iinfo(array.dtype).max),
        )
        yield (
            "smallest",
            np.full_like(array, np.finfo(array.dtype).min if array.dtype.kind == "f" else np.iinfo(array.dtype).min),
        )
    if array.dtype.kind == "f":
        yield "NaN", np.full_like(array, np.nan)


def _put(file: h5py.File, name: str, array: Any) -> None:
    del file[name]
    texts = isinstance(array, list)
    file.create_dataset(name, data=array, **({"dtype": h5py.string_dtype()} if texts else {}))


def _foreign(file: h5py.File, name: str) -> None:
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    if kind.kind != "O":
        size = int(np.prod(shape)) * kind.itemsize
        file.create_dataset(name, shape, kind, external=[("/dev/zero", 0, size)])


def _endless(file: h5py.File, name: str) -> None:
    shape, kind = file[name].shape, file[name].dtype
    del file[name]
    file.create_dataset(name, (2**40, *shape[1:]), kind, chunks=(1, *shape[1:]))


def forge(folder: Path, file: str) -> None:
    """Give an edited file the checksums that go with it, where that can be done."""
    try:
        record = json.loads((folder / "result.json").read_text("utf-8"))
        if file == "images.csv":
            record["sha256"][file] = sha256(folder / file)
        for layer in record["layers"] if file != "result.json" else ():
            home, _, name = file.rpartition("/")
            if layer["folder"] == home:
                layer["sha256"][name] = sha256(folder / file)
        (folder / "result.json").write_text(json.dumps(sealed(record)), "utf-8")
    except (NdengineError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
