"""Every field of a result edited or damaged in many ways, and what show, report, compare and load say of each.

``python -m benchmarks.edit_results FOLDER`` takes a finished result, which it does not touch, and prints how many edits
ended in a sentence, changed nothing that is read (harmless), were taken for true (silent), or brought a traceback.
``edited`` files are left as an editor leaves them; ``forged`` ones get new checksums, so that only what is in them can
tell: there a value that could be true is taken. Exits with 1 after a traceback, a reader that hangs, or an edit that
was taken in silence.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from click.testing import CliRunner

from ndcli.main import main as ndengine_command
from ndengine.errors import NdengineError
from ndengine.result import Dissection, load
from ndengine.result_files import sha256
from ndengine.result_record import sealed
from ndengine.visible import UNSEEN

PATIENCE = 60  # seconds after which a reader hangs
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
    if array.dtype == object:
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
    if kind != object:
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


class Tried:
    """A copy of a result to be edited, and what came of it.

    Parameters
    ----------
    folder : Path
        The result; it stays as it is.
    scratch : Path
        Where the copy and a comparison go.
    """

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.copy, self.out = scratch / "result", scratch / "compare"
        shutil.copytree(folder, self.copy)
        self.whole = load(self.copy)
        self.kept = {"result.json": (self.copy / "result.json").read_bytes()}

    def outcome(self, edit: Edit, *, forged: bool) -> tuple[str, str]:
        """What the readers made of an edit: a word, and what the one that decided it said."""
        path = self.copy / edit.file
        self.kept.setdefault(edit.file, path.read_bytes())
        try:
            edit.change(path)
            if forged:
                forge(self.copy, edit.file)
            signal.signal(signal.SIGALRM, _late)
            signal.alarm(PATIENCE)
            found = [self._loaded(), *(self._command(*words) for words in self._commands())]
        finally:
            signal.alarm(0)
            self._restore(edit.file)
        worst = min(found, key=lambda one: ("hung", "traceback", "silent", "sentence", "harmless").index(one[0]))
        return ("accepted", worst[1]) if forged and worst[0] == "silent" else worst

    def _commands(self) -> Iterator[tuple[str, ...]]:
        name = next(iter(self.whole.layers))
        yield "show", str(self.copy), "--unit", "1", "--layer", name
        yield "show", str(self.copy), "--unit", "1", "--layer", name, "--json"
        yield "report", str(self.copy)
        yield "compare", str(self.copy), "--out", str(self.out)

    def _loaded(self) -> tuple[str, str]:
        try:
            found = load(self.copy)
        except NdengineError as error:
            return _sentence(str(error))
        except TimeoutError:
            return "hung", "load"
        except Exception as error:
            return "traceback", f"load: {error!r}"
        return ("harmless", "") if same(found, self.whole) else ("silent", "load")

    def _command(self, *words: str) -> tuple[str, str]:
        done = CliRunner().invoke(ndengine_command, words)
        if isinstance(done.exception, TimeoutError):
            return "hung", words[0]
        if done.exception and not isinstance(done.exception, SystemExit):
            return "traceback", f"{words[0]}: {done.exception!r}"
        if UNSEEN.search(done.output.replace("\n", "")):
            return "traceback", f"{words[0]} steers the terminal: {done.output!r:.200}"
        if done.exit_code:
            return _sentence(done.output.strip().split("\n")[-1])
        return "harmless", ""  # whether it showed something else, load has said

    def _restore(self, file: str) -> None:
        for name in {file, "result.json"}:
            path = self.copy / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.write_bytes(self.kept[name])


def same(one: Dissection, other: Dissection) -> bool:
    """Whether two results say the same throughout."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (str(value.dtype), value.shape, value.tobytes())
        if hasattr(value, "__dataclass_fields__"):
            return [plain(getattr(value, name)) for name in value.__dataclass_fields__]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value

    return bool(plain(one) == plain(other))


def _sentence(text: str) -> tuple[str, str]:
    good = text.endswith(".") and "\n" not in text
    return ("sentence", text) if good else ("traceback", f"no sentence: {text!r}")


def _late(*_: object) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a finished result")
    parser.add_argument("--sample", type=int, help="only so many edits, drawn with a seed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tried = Tried(args.folder, Path(scratch))
        edits = [(edit, forged) for edit in edits_of(tried.copy) for forged in (False, True)]
        if args.sample:
            edits = random.Random(args.seed).sample(edits, args.sample)
        counts: Counter[tuple[str, str]] = Counter()
        for edit, forged in edits:
            kind, said = tried.outcome(edit, forged=forged)
            counts["forged" if forged else "edited", kind] += 1
            if kind in ("hung", "traceback", "silent"):
                print(f"{kind}: {edit.name}{', forged' * forged}: {said}", flush=True)
    for how in ("edited", "forged"):
        told = ", ".join(f"{n:,} {kind}" for (one, kind), n in sorted(counts.items()) if one == how)
        print(f"{how}: {sum(n for (one, _), n in counts.items() if one == how):,} edits: {told}")
    bad = sum(n for (_, kind), n in counts.items() if kind in ("hung", "traceback", "silent"))
    print(f"{bad} tracebacks, hung readers and edits taken in silence")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
