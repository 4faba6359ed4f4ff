"""Kill real runs at random times, and see that the same command gives the same result in the end, byte for byte.

``python -m benchmarks.kill_runs --kills 100 --seed 0 [--shared FOLDER]``. Runs of all spools are ended by SIGKILL,
SIGTERM and SIGINT, once or several times, also in the place of an older result, which must stay until the new one is
there. Every run comes from its number and the seed; ``--only NUMBER`` does one again. A difference, a leftover, an
older result that can't be read, or fewer than half of the runs killed in the probe that go on end the script with 1.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contents import VOLATILE, Contents, contents_of, differences, digest
from benchmarks.harness import QUICK_RESULTS
from benchmarks.kill_plans import PICTURES, Kill, Plan, Work, make_plan, make_works
from benchmarks.machine import RESULTS, machine_line, write_results
from benchmarks.tables import Shown, Table
from ndengine.datasets.scenes import write_scenes
from ndengine.errors import NdengineError
from ndengine.result import load

STAGES = ("before the probe", "probe", "after the probe", "publishing", "not killed")
WITHOUT = VOLATILE | {
    "pack",
    "sha256",
}  # where the cache is; checksums, also of pages with dates: contents are compared
SECONDS = 600.0  # that a run may take
TRIES = 3  # runs after the last kill
TICK = 0.002
LINE = re.compile(r"^(\w[\w ]*?)( \S+)?: ([\d,]+) \w+$", re.MULTILINE)  # as "probe: 240 images"
QUICK_KILLS = 6


@dataclass(frozen=True)
class Usual:
    """A run that nobody killed.

    Attributes
    ----------
    contents : dict of str to str
        What its folder says.
    first_line, whole : float
        Seconds of a processor until it prints its first line, and until its end.
    """

    contents: Contents
    first_line: float
    whole: float


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    number : int
    work, spool : str
    overwrite : bool
    signals : tuple of str
        That were sent.
    stages : tuple of str
        Where each of them met the run.
    went_on : bool or None
        Whether the last run took up images that were done; None where the last kill was not in the probe.
    runs : int
        How many it took from the last kill to the end.
    wrong : str
        What is not as it should be; empty where nothing is.
    """

    number: int
    work: str
    spool: str
    overwrite: bool
    signals: tuple[str, ...]
    stages: tuple[str, ...]
    went_on: bool | None
    runs: int
    wrong: str


class Process:
    """A run of the command in a folder of its own; what it says goes to a file there.

    Parameters
    ----------
    folder : Path
        Where it runs.
    words : sequence of str
        Of the command.
    """

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.said = folder / "said.txt"
        self._file = self.said.open("w+")
        here = str(Path(__file__).parents[1])
        paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.kill_command", *words],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._file,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self.first_line: float | None = None
        self.processor = 0.0

    def is_running(self) -> bool:
        """Look at it once: whether it runs, how long it has computed, and whether it has said something."""
        if self._process.poll() is not None:
            return False
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        self.processor = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if self.first_line is None and self.said.stat().st_size:
            self.first_line = self.processor
        return True

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, seconds: float = SECONDS) -> int:
        """Wait for its end; gives the exit code, and ends it where it takes too long.

        Raises
        ------
        TimeoutError
            If it does.
        """
        until = time.monotonic() + seconds
        try:
            while self.is_running():
                if time.monotonic() > until:
                    self._process.kill()
                    raise TimeoutError(f"it did not end within {seconds:g} s")
                time.sleep(TICK)
            return self._process.wait()
        finally:
            self._process.wait()
            self._file.close()

    def words(self) -> str:
        """What it has said."""
        return self.said.read_text(errors="replace")


class Killing:
    """The runs that nobody killed, and what is compared with them.

    Parameters
    ----------
    home : Path
        An empty folder.
    shared : Path or None
        Folder with ``minibroden/`` and ``weights/``.
    """

    def __init__(self, home: Path, shared: Path | None) -> None:
        self._home = home
        write_scenes(home / "photos", PICTURES)
        self.works = make_works(home, shared)
        self._usual: dict[tuple[str, str, bool], Usual] = {}

    def prepare(self, plans: Sequence[Plan], jobs: int) -> None:
        """Carry out what the plans are compared with, and fill the cache."""
        wanted = sorted({(plan.work.name, plan.spool, plan.cold) for plan in plans})
        works = {plan.work.name: plan.work for plan in plans}
        for work in works.values():  # one after another: each packs its data
            older = self._home / "older" / work.name
            older.mkdir(parents=True)
            process = Process(older, self._words(work, "memory", "--limit", str(work.images // 2)))
            code = process.end()
            assert code == 0, f"{work.name} ended with {code}: {process.words()[-500:]}"
        with ThreadPoolExecutor(jobs) as pool:
            found = pool.map(lambda key: self._measure(works[key[0]], *key[1:]), wanted)
            self._usual = dict(zip(wanted, found, strict=True))

    def _words(self, work: Work, spool: str, *further: str, cold: bool = False) -> list[str]:
        cache = "cache" if cold else str(self._home / "cache")
        return ["run", *work.words, "--spool", spool, "--out", "out", "--cache", cache, *further]

    def _measure(self, work: Work, spool: str, cold: bool) -> Usual:
        folder = self._home / "usual" / f"{work.name}-{spool}-{cold}"
        folder.mkdir(parents=True)
        process = Process(folder, self._words(work, spool, cold=cold))
        code = process.end()
        assert code == 0, f"{work.name} ended with {code}: {process.words()[-500:]}"
        contents = all_of(folder / "out")
        shutil.rmtree(folder)
        return Usual(contents, process.first_line or 0.0, process.processor)

    def carry_out(self, plan: Plan) -> Outcome:
        """Do to a run what is planned."""
        folder = self._home / "runs" / str(plan.number)
        folder.mkdir(parents=True)
        usual = self._usual[plan.work.name, plan.spool, plan.cold]
        further = ["--overwrite"] if plan.overwrite else []
        words = self._words(plan.work, plan.spool, *further, cold=plan.cold)
        older: Contents = {}
        if plan.overwrite:
            shutil.copytree(self._home / "older" / plan.work.name / "out", folder / "out")
            older = all_of(folder / "out")
        stages, wrong, runs, went_on = [], "", 0, None
        try:
            for kill in plan.kills:
                stages.append(self._kill(folder, words, kill, usual))
                wrong = wrong or (check_older(folder / "out", older, usual) if plan.overwrite else "")
            while runs < TRIES:
                runs += 1
                process = Process(folder, words)
                if (code := process.end()) == 0:
                    break
                wrong = wrong or f"the run ended with {code}: {process.words().strip()[-300:]}"
            wrong = wrong or check_result(folder / "out", usual)
            went_on = resumed(folder / "out", plan.work.images) if stages[-1] == "probe" else None
        except (TimeoutError, OSError, NdengineError) as error:
            wrong = wrong or f"{type(error).__name__}: {error}"
        shutil.rmtree(folder)
        place = (plan.number, plan.work.name, plan.spool, plan.overwrite)
        return Outcome(*place, tuple(k.signal.name for k in plan.kills), tuple(stages), went_on, runs, wrong)

    def _kill(self, folder: Path, words: Sequence[str], kill: Kill, usual: Usual) -> str:
        """Begin a run and kill it; gives the stage in which that was."""
        process = Process(folder, words)
        begun = time.monotonic()
        while process.is_running() and not self._is_time(folder, process, kill, usual):
            assert time.monotonic() - begun < SECONDS, "the run does not end"
            time.sleep(0.0002 if kill.publishing else TICK)
        if kill.publishing:
            time.sleep(random.Random(kill.share).random() * 0.01)
        stage = stage_of(folder, process.words())
        running = process.is_running()
        if running:
            process.send(kill.signal)
        code = process.end()
        return stage if running and code != 0 else "not killed"

    def _is_time(self, folder: Path, process: Process, kill: Kill, usual: Usual) -> bool:
        if kill.publishing:
            return is_publishing(folder)
        if not kill.from_first_line:
            return process.processor >= kill.share * usual.whole
        if process.first_line is None:
            return False
        return process.processor - process.first_line >= kill.share * (usual.whole - usual.first_line)


def is_publishing(folder: Path) -> bool:
    """Whether a run has written its result and is about to move it to its place."""
    return next((folder / "out").glob("unfinished/**/result.json"), None) is not None


def stage_of(folder: Path, said: str) -> str:
    """The stage of a run that has said this."""
    begun = [match[1] for match in LINE.finditer(said)]
    if is_publishing(folder):
        return "publishing"
    if "probe" not in begun:
        return "before the probe"
    return "after the probe" if "probe: done" in said else "probe"


def all_of(out: Path) -> Contents:
    """What a result's folder says: its values, the bytes of all files without dates, and its folders."""
    found = contents_of(out, WITHOUT)
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir():
            found[f"{name}/"] = "folder"
        elif path.suffix not in (".json", ".html") and not path.name.endswith(".lock"):
            found[f"{name}: bytes"] = digest(path.read_bytes())
    return found


def check_result(out: Path, usual: Usual) -> str:
    """What is wrong with the result of a run that was killed; empty where nothing is."""
    load(out)
    changed = differences(usual.contents, all_of(out))
    return f"{len(changed)} differences; {changed[0]}" if changed else ""


def check_older(out: Path, older: Contents, usual: Usual) -> str:
    """What is wrong where a run was killed that replaces an older result: that or the new one must be there."""
    try:
        load(out)
    except NdengineError as error:
        return f"no result can be read any more: {error}"
    now = {name: text for name, text in all_of(out).items() if not name.startswith("unfinished")}
    changed = min((differences(whole, now) for whole in (older, usual.contents)), key=len)
    return f"between two results: {changed[0]}" if changed else ""


def resumed(out: Path, images: int) -> bool:
    """Whether a run took up images that another one had done."""
    return int(load(out).provenance["images_probed"]) < images


def show(content: Mapping[str, Any]) -> Shown:
    """What became of killed runs, by their spool."""
    outcomes = content["outcomes"]
    rows = []
    for spool in sorted({each["spool"] for each in outcomes}):
        rows.append((spool, *_cells([each for each in outcomes if each["spool"] == spool])))
    rows.append(("all", *_cells(outcomes)))
    headings = ("spool", "runs", "kills", *STAGES, "last in the probe", "went on", "equal")
    signals = Counter(name for each in outcomes for name in each["signals"])
    told = ", ".join(f"{count} {name}" for name, count in signals.most_common())
    wrong = sum(bool(each["wrong"]) for each in outcomes)
    last = [each for each in outcomes if each["went_on"] is not None]
    over, more = (sum(map(test, outcomes)) for test in (lambda e: e["overwrite"], lambda e: e["runs"] > 1))
    reading = (
        f"{len(outcomes) - wrong} of {len(outcomes)} results equal those of runs that nobody killed ({told}); {over} "
        f"were to replace an older result, which could be read after every kill. Of {len(last)} runs whose last "
        f"kill was in the probe {sum(each['went_on'] for each in last)} went on from what was done; {more} took more "
        "than one run after the last kill."
    )
    if wrong:
        reading = f"**{wrong} of {len(outcomes)} runs went wrong.** " + reading
    return Shown([Table(f"{len(outcomes)} runs, seed {content['seed']}:", headings, rows)], reading)


def _cells(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    stages = Counter(stage for each in outcomes for stage in each["stages"])
    last = [each for each in outcomes if each["went_on"] is not None]
    figures = (len(outcomes), stages.total(), *(stages[stage] for stage in STAGES), len(last))
    return [*map(str, figures), str(sum(e["went_on"] for e in last)), str(sum(not e["wrong"] for e in outcomes))]


def kill_all(home: Path, args: argparse.Namespace, numbers: Sequence[int]) -> list[Outcome]:
    """Carry out plans by their numbers, several at a time."""
    killing = Killing(home, args.shared and args.shared.resolve())
    plans = [make_plan(args.seed, number, killing.works) for number in numbers]
    killing.prepare(plans, args.jobs)

    def carry_out(plan: Plan) -> Outcome:
        outcome = killing.carry_out(plan)
        if outcome.wrong or len(numbers) == 1:
            print(f"{plan.number}: {outcome}", flush=True)
        return outcome

    with ThreadPoolExecutor(args.jobs) as pool:
        return list(pool.map(carry_out, plans))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="runs that are killed (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all of them (default 0)")
    parser.add_argument("--shared", type=Path, help="folder with minibroden/ and weights/: real images as well")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (default 2)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="carry out one plan")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_KILLS} runs, stored elsewhere")
    parser.add_argument("--results", type=Path, help="folder for the stored figures (default benchmarks/results)")
    args = parser.parse_args(argv)
    kills = QUICK_KILLS if args.quick else args.kills
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kill-runs-") as home:
        numbers = range(kills) if args.only is None else [args.only]
        outcomes = kill_all(Path(home).resolve(), args, numbers)
    last = [outcome.went_on for outcome in outcomes if outcome.went_on is not None]
    wrong = sum(bool(outcome.wrong) for outcome in outcomes)
    if args.only is None:
        shared = " --shared FOLDER" if args.shared else ""
        content = {
            "command": f"python -m benchmarks.kill_runs --kills {kills} --seed {args.seed}{shared}",
            "quick": args.quick,
            "seed": args.seed,
            "outcomes": [asdict(outcome) for outcome in outcomes],
            "seconds": time.perf_counter() - start,
        }
        shown = show(content)
        print(machine_line())
        print("\n\n".join([*(table.text() for table in shown.tables), shown.reading]))
        folder = args.results or (QUICK_RESULTS if args.quick else RESULTS)
        print(write_results("kill-runs", content, folder=folder))
    if wrong or 2 * sum(last) < len(last):
        sys.exit(f"{wrong} runs went wrong; {sum(last)} of {len(last)} that were killed in the probe went on.")


if __name__ == "__main__":
    main()
