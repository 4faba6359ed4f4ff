"""Every field of a result edited or damaged in many ways, and what show, report, compare and load say of each.

``python -m benchmarks.edit_results FOLDER`` takes a finished result, which it does not touch, and prints how many edits
ended in a sentence, changed nothing that is read (harmless), were taken for true (silent), or brought a traceback.
``edited`` files are left as an editor leaves them; ``forged`` ones get new checksums, so that only what is in them can
tell: there a value that could be true is taken. Exits with 1 after a traceback, a reader that hangs, or an edit that
was taken in silence.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from benchmarks.edits import Edit, edits_of, forge
from ndcli.main import main as ndengine_command
from ndengine.errors import NdengineError
from ndengine.result import Dissection, load
from ndengine.visible import UNSEEN

PATIENCE = 60  # seconds after which a reader hangs


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
