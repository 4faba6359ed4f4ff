"""Change one byte in files that the project writes; each must be found, by its name, or change nothing.

``python -m benchmarks.flip_bytes --flips 500 --seed 0``. Every flip comes from its number and the seed; ``--only
NUMBER`` makes one again and shows what each reader gave. Another result without a word, a traceback, a sentence that
does not name the file, a crash or a hang ends the script with 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmarks.contents import differences
from benchmarks.flip_kinds import KINDS, ROOMS, Kind
from benchmarks.flip_readers import Reading, read
from benchmarks.flip_rooms import make_everything_small, put_back
from benchmarks.harness import QUICK_RESULTS
from benchmarks.machine import RESULTS, machine_line, write_results
from benchmarks.tables import Shown, Table

OUTCOMES = ("harmless", "mended", "found", "unnamed", "silent", "traceback", "hang")  # from good to bad
GOOD = OUTCOMES[:3]
SECONDS = 120.0  # that one reader may take
SMALL_FILE = 16 << 10  # bytes of a file that is all vital
QUICK_FLIPS = 48


@dataclass(frozen=True)
class Flip:
    """A byte to change.

    Attributes
    ----------
    number : int
    kind : Kind
    file : Path
        In the kind's room.
    offset : int
        Of the byte.
    xor : int
        What it is combined with, 1 to 255.
    """

    number: int
    kind: Kind
    file: Path
    offset: int
    xor: int

    def make(self) -> None:
        """Change the byte; the file's date stays, as nothing that happens to a disk changes it."""
        state = self.file.stat()
        content = bytearray(self.file.read_bytes())
        content[self.offset] ^= self.xor
        self.file.write_bytes(content)
        os.utime(self.file, ns=(state.st_atime_ns, state.st_mtime_ns))


@dataclass(frozen=True)
class Verdict:
    """What became of a flip.

    Attributes
    ----------
    number : int
    kind, file : str
    offset, xor : int
    outcome : str
        The worst of all readers'.
    reader, what : str
        Whose that is, and what it said or changed.
    """

    number: int
    kind: str
    file: str
    offset: int
    xor: int
    outcome: str
    reader: str
    what: str


class Rooms:
    """All rooms, each built when it is first asked for.

    Parameters
    ----------
    home : Path
        An empty folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._usual: dict[tuple[str, str], Reading] = {}
        self._changed: dict[str, Path] = {}  # what was flipped last in each room

    def enter(self, name: str) -> Path:
        """Make a room what it was when it was built, and the current folder; gives it."""
        kept, live = self._home / "kept" / name, self._home / "live" / name
        if not kept.exists():
            live.mkdir(parents=True)
            os.chdir(live)
            ROOMS[name]()
            os.chdir(self._home)
            put_back(live, kept)
        put_back(kept, live, self._changed.pop(name, None))
        os.chdir(live)
        return live

    def usual(self, kind: Kind, reader: str, seconds: float) -> Reading:
        """What a reader gives where nothing was damaged."""
        if (kind.name, reader) not in self._usual:
            self.enter(kind.room)
            found = apart(lambda: read(kind.readers[reader]), seconds)
            assert not found.bug, f"{kind.name}, {reader}: {found.bug}"
            self._usual[kind.name, reader] = found
        return self._usual[kind.name, reader]

    def flip(self, seed: int, number: int, kinds: Sequence[Kind]) -> Flip:
        """The flip of a number."""
        rng = np.random.default_rng((seed, number))
        kind = kinds[number % len(kinds)]
        room = self.enter(kind.room)
        paths = sorted({path for pattern in kind.patterns for path in room.glob(pattern)})
        files = [path for path in paths if path.is_file() and path.stat().st_size]
        assert files, f"{kind.name}: nothing in {room} matches {kind.patterns}"
        file = files[rng.integers(len(files))]
        spans = [(0, file.stat().st_size)]
        if number // len(kinds) % 2 == 0:
            spans = list(vital_spans(file)) or spans
        place = int(rng.integers(sum(stop - start for start, stop in spans)))
        for start, stop in spans:
            if place < stop - start:
                break
            place -= stop - start
        return Flip(number, kind, file.relative_to(room), start + place, int(rng.integers(1, 256)))

    def judge(self, flip: Flip, seconds: float, tell: Callable[[str], object] = lambda line: None) -> Verdict:
        """Make a flip for each reader anew, and see what becomes of it; the worst counts."""
        worst = ("harmless", "", "")
        for name, reader in flip.kind.readers.items():
            usual = self.usual(flip.kind, name, seconds)
            self.enter(flip.kind.room)
            flip.make()
            self._changed[flip.kind.room] = flip.file
            outcome, what = classify(apart(lambda reader=reader: read(reader), seconds), usual, flip.file)
            tell(f"{name}: {outcome}{f' ({what})' if what else ''}")
            if OUTCOMES.index(outcome) > OUTCOMES.index(worst[0]):
                worst = (outcome, name, what)
        place = (flip.number, flip.kind.name, flip.file.as_posix(), flip.offset, flip.xor)
        return Verdict(*place, *worst)


def vital_spans(file: Path) -> Iterator[tuple[int, int]]:
    """Where a file keeps more than plain data: all of a small one, of others what is not in their arrays."""
    size = file.stat().st_size
    if file.suffix == ".h5":
        last = 0
        for start, stop in [*sorted(array_spans(file)), (size, size)]:
            if start > last:
                yield last, start
            last = max(last, stop)
    elif file.suffix == ".safetensors":
        yield 0, 8 + int.from_bytes(file.read_bytes()[:8], "little")
    elif size <= SMALL_FILE:
        yield 0, size


def array_spans(file: Path) -> list[tuple[int, int]]:
    """Where the values of an HDF5 file's arrays lie; nothing where it can't be opened."""
    spans: list[tuple[int, int]] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.chunks is None:
            if (start := item.id.get_offset()) is not None:
                spans.append((start, start + item.nbytes))
            return
        for number in range(item.id.get_num_chunks()):
            chunk = item.id.get_chunk_info(number)
            spans.append((chunk.byte_offset, chunk.byte_offset + chunk.size))

    try:
        with h5py.File(file, "r", locking=False) as opened:
            opened.visititems(visit)
    except OSError:  # what a killed run leaves may be no HDF5 yet
        return []
    return spans


def apart(call: Callable[[], Reading], seconds: float) -> Reading:
    """Call in a process of its own, which may crash, hang or change what it has imported."""
    context = multiprocessing.get_context("fork")  # children begin with everything imported
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(call()))
    child.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return Reading(bug=f"hang of {seconds:g} s")
        return ours.recv()  # type: ignore[no-any-return]
    except EOFError:
        child.join()
        return Reading(bug=f"the process died with {child.exitcode}")
    finally:
        child.kill()
        child.join()
        ours.close()


def classify(found: Reading, usual: Reading, file: Path) -> tuple[str, str]:
    """An outcome, and what it rests on."""
    name = file.name.removesuffix(".part")
    if found.bug:
        return ("hang" if found.bug.startswith("hang") else "traceback"), found.bug
    if found.refusal:
        if found.refusal == usual.refusal:
            return "harmless", ""
        good = found.refusal.startswith("Error: ") and name in found.refusal and found.exit_code == 1
        return ("found" if good else "unnamed"), f"exit code {found.exit_code}: {found.refusal}"
    told = found.told.count(name) > usual.told.count(name)
    changed = differences(usual.contents, found.contents)
    if usual.refusal:
        return "silent", f"it was not refused as it usually is: {usual.refusal}"
    if changed:
        return ("found" if told else "silent"), f"{len(changed)} differences; {changed[0]}"
    return ("mended" if told else "harmless"), ""


def flip_all(home: Path, seed: int, flips: int, jobs: int, seconds: float) -> list[Verdict]:
    """Make flips 0 to ``flips`` - 1, several at a time, each job in rooms of its own."""
    if jobs == 1:
        return flip_some(home, seed, range(flips), seconds)
    for job in range(jobs):
        (home / str(job)).mkdir()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        shares = [range(job, flips, jobs) for job in range(jobs)]
        waiting = [pool.submit(flip_some, home / str(job), seed, share, seconds) for job, share in enumerate(shares)]
        return sorted((each for job in waiting for each in job.result()), key=lambda verdict: verdict.number)


def flip_some(home: Path, seed: int, numbers: Sequence[int], seconds: float) -> list[Verdict]:
    """Make flips by their numbers; whatever is bad is printed at once."""
    rooms, verdicts = Rooms(home), []
    for number in numbers:
        verdict = rooms.judge(rooms.flip(seed, number, KINDS), seconds)
        verdicts.append(verdict)
        if verdict.outcome not in GOOD:
            print(line_of(verdict), flush=True)
    return verdicts


def line_of(verdict: Verdict) -> str:
    """A flip in a line."""
    return (
        f"{verdict.number}: {verdict.outcome}: {verdict.file} at {verdict.offset} xor {verdict.xor}, "
        f"{verdict.reader}: {verdict.what}"
    )


def show(content: Mapping[str, Any]) -> Shown:
    """What became of changed bytes, by the kind of file."""
    rows = [
        (kind, *(str(counts.get(outcome, 0)) for outcome in OUTCOMES)) for kind, counts in content["outcomes"].items()
    ]
    totals = Counter[str]()
    for counts in content["outcomes"].values():
        totals.update(counts)
    rows.append(("all", *(str(totals[outcome]) for outcome in OUTCOMES)))
    bad = sum(totals[outcome] for outcome in OUTCOMES if outcome not in GOOD)
    reading = (
        f"Of {totals.total()} flips {totals['found']} were found, in a sentence that names the file; "
        f"{totals['mended']} were found and what they had damaged was made anew; {totals['harmless']} changed nothing."
    )
    if bad:
        reading += f" **{bad} were not found as they should be.**"
    return Shown([Table(f"{totals.total()} flips, seed {content['seed']}:", ("file", *OUTCOMES), rows)], reading)


def record_of(verdicts: Sequence[Verdict], kinds: Sequence[Kind]) -> dict[str, Any]:
    """What a result file keeps."""
    outcomes = {kind.name: Counter(v.outcome for v in verdicts if v.kind == kind.name) for kind in kinds}
    return {
        "flips": len(verdicts),
        "outcomes": {name: dict(counts) for name, counts in outcomes.items()},
        "bad": [asdict(verdict) for verdict in verdicts if verdict.outcome not in GOOD],
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=500, help="how many (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all of them (default 0)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"that a reader may take (default {SECONDS:g})")
    parser.add_argument("--jobs", type=int, default=2, help="flips at a time (default 2)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="make one flip, and show what each reader gave")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_FLIPS} flips, stored elsewhere")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    args = parser.parse_args(argv)
    results = (args.results or (QUICK_RESULTS if args.quick else RESULTS)).resolve()
    flips = QUICK_FLIPS if args.quick else args.flips
    torch.set_num_threads(1)  # no threads to lose in a fork
    make_everything_small()
    here, start = Path.cwd(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="flip-bytes-") as home:
        try:
            if args.only is not None:
                rooms = Rooms(Path(home))
                flip = rooms.flip(args.seed, args.only, KINDS)
                print(f"{flip.kind.name}: {flip.file} at {flip.offset} xor {flip.xor}")
                verdict = rooms.judge(flip, args.seconds, print)
                sys.exit(None if verdict.outcome in GOOD else line_of(verdict))
            verdicts = flip_all(Path(home), args.seed, flips, args.jobs, args.seconds)
        finally:
            os.chdir(here)
    command = f"python -m benchmarks.flip_bytes --flips {flips} --seed {args.seed}"
    found = {**record_of(verdicts, KINDS), "seed": args.seed, "seconds": time.perf_counter() - start}
    content = {"command": command, "quick": args.quick, **found}
    shown = show(content)
    print(machine_line())
    print("\n\n".join([*(table.text() for table in shown.tables), shown.reading]))
    print(write_results("flip-bytes", content, folder=results))
    if found["bad"]:
        sys.exit(f"{len(found['bad'])} flips were not found as they should be; --only NUMBER makes one again.")


if __name__ == "__main__":
    main()
