"""What reads the files of a room: the commands and calls of a user, and what each of them gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from click.testing import CliRunner

import ndengine
from benchmarks import flip_rooms as rooms
from benchmarks.contents import VOLATILE, Contents, array_digest, contents_of, digest, drop_keys, json_contents
from benchmarks.flip_rooms import SMALL, TINY, words
from ndcli.main import main
from ndengine.datasets.packed import PackedDataset
from ndengine.errors import NdengineError
from ndengine.models import scenesnet
from ndengine.models.download import download
from ndengine.models.small.crew import train_missing
from ndengine.models.small.store import Store
from ndengine.models.weights import read_weights
from ndengine.progress import SILENT
from ndengine.units_table import read_units_csv


@dataclass
class Reading:
    """What a reader gave.

    Attributes
    ----------
    contents : dict of str to str
        Every number and text, by its name.
    told : str
        What was printed, notes included.
    refusal : str
        The sentence in which it was refused; empty where it was not.
    exit_code : int
        Of the command that was refused.
    bug : str
        An exception that is no sentence for a person.
    """

    contents: Contents = field(default_factory=dict)
    told: str = ""
    refusal: str = ""
    exit_code: int = 0
    bug: str = ""


class RefusedError(Exception):
    """A command ended with an exit code that is not 0."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Desk:
    """Where a reader works: it runs commands, and keeps what they give."""

    def __init__(self) -> None:
        self.reading = Reading()

    def command(self, *arguments: object, code: tuple[int, ...] = (0,)) -> str:
        """Run a command; gives what it prints, and keeps what it says beside that.

        Raises
        ------
        RefusedError
            If it ends with an error, or another exit code.
        """
        told = [*map(str, arguments)]
        done = CliRunner().invoke(main, told, prog_name="ndengine", catch_exceptions=False)
        self.reading.told += done.output
        if "Traceback" in done.stderr:
            raise AssertionError(done.stderr.strip().splitlines()[-1])
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        if done.exit_code not in code or (done.exit_code and last.startswith("Error: ")):
            raise RefusedError(last, done.exit_code)
        self.keep(" ".join(told[:2]), digest(done.stdout.encode()) if "--json" not in told else "")
        if "--json" in told:
            # How long a sweep took to take what was there is no part of what it says.
            record = drop_keys(json.loads(done.stdout), frozenset({"seconds"} if told[0] == "sweep" else ()))
            self.reading.contents |= {f"{told[0]}: {name}": text for name, text in json_contents(record)}
        return done.stdout

    def keep(self, name: str, text: str) -> None:
        """Keep a text under a name."""
        self.reading.contents[name] = text

    def keep_record(self, name: str, record: Any) -> None:
        """Keep the leaves of a record."""
        self.reading.contents |= {f"{name}: {part}": text for part, text in json_contents(record)}

    def keep_folder(self, folder: str, without: frozenset[str] = frozenset()) -> None:
        """Keep what all files in a folder say, but for some keys of records."""
        found = contents_of(Path(folder), without)
        self.reading.contents |= {f"{folder}/{name}": text for name, text in found.items()}


def read(reader: Callable[[Desk], None]) -> Reading:
    """What a reader gives, whatever happens to it."""
    desk = Desk()
    try:
        reader(desk)
    except RefusedError as error:
        desk.reading.refusal, desk.reading.exit_code = str(error), error.exit_code
    except NdengineError as error:
        desk.reading.refusal, desk.reading.exit_code = f"Error: {error}", error.exit_code
    except BaseException as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        desk.reading.bug = f"{type(error).__name__}: {first}"
    return desk.reading


# Datasets


def run_anew(desk: Desk, data: str = "photos") -> None:
    """A run into another folder."""
    desk.command(*words(data=data, out="new"))
    # Scenes that are painted again have other dates, which are part of a fingerprint.
    desk.keep_folder("new", VOLATILE | ({"fingerprint", "pack"} if data == "scenes" else set()))


def describe(desk: Desk, data: str) -> None:
    """``ndengine data info``."""
    desk.command("data", "info", data, "--cache", "cache", "--json")
    if data == "scenes":
        desk.reading.contents = {key: v for key, v in desk.reading.contents.items() if "fingerprint" not in key}


def check(desk: Desk, data: str) -> None:
    """``ndengine data check``, which tells findings and ends with 1."""
    desk.command("data", "check", data, "--json", code=(0, 1))


def pack_by_hand(desk: Desk) -> None:
    """``ndengine data pack``, which leaves what is up to date."""
    desk.command("data", "pack", "photos", "--out", "photos.h5")


def list_cache(desk: Desk) -> None:
    """``ndengine cache list``."""
    listed = json.loads(desk.command("cache", "list", "--cache", "cache", "--json"))
    # That is how the list marks a pack which can't be opened.
    desk.reading.told += "".join(f"{pack} is damaged" for pack in listed["packs"] if not pack["dataset"])


def open_pack(desk: Desk, pattern: str = "cache/*.h5", *, fingerprint: bool = True) -> None:
    """All arrays and texts of a pack."""
    (path,) = Path().glob(pattern)
    with PackedDataset(path) as pack:
        desk.keep("texts", repr((pack.name, pack.source, pack.image_names, pack.splits)))
        desk.keep("fingerprint", pack.fingerprint if fingerprint else "")
        desk.keep("tables", digest(repr(sorted(pack.tables.items())).encode()))
        desk.keep("images", array_digest(pack.images(np.arange(len(pack)))))
        block = pack.labels(np.arange(len(pack)))
        for name in block.__dataclass_fields__:
            desk.keep(name, array_digest(np.asarray(getattr(block, name))))


def pack_scenes_again(desk: Desk) -> None:
    """The scenes as they lie in the cache, packed anew."""
    for path in Path("cache").glob("*.h5"):
        path.unlink()
    describe(desk, "scenes")
    open_pack(desk, fingerprint=False)


# Results


def open_result(desk: Desk, folder: str = "out") -> None:
    """All that ``ndengine.load`` gives."""
    found = ndengine.load(folder)
    desk.keep_record("settings", found.settings)
    desk.keep_record("provenance", found.provenance)
    desk.keep("shape", repr((found.min_images, found.image_size, found.label_size)))
    desk.keep("images", digest(repr((found.image_names, found.splits)).encode()))
    desk.keep("concepts", digest(repr((found.vocabulary.names, found.vocabulary.categories)).encode()))
    for name, layer in found.layers.items():
        for part, array in _arrays(layer):
            desk.keep(f"{name}.{part}", array_digest(array))
        desk.keep_record(name, layer.summary.record())
        desk.keep(f"{name}.place", repr((layer.path, layer.folder, layer.shape, layer.geometry, layer.field)))


def _arrays(layer: Any) -> Iterator[tuple[str, Any]]:
    for part in ("dead", "top_images", "top_values", "top_masks"):
        yield part, getattr(layer, part)
    for group in (layer.counts, layer.scores):
        for part in group.__dataclass_fields__:
            yield part, getattr(group, part)


def show(desk: Desk) -> None:
    """``ndengine show`` of a unit of each layer."""
    for layer, unit in (("relu1", 2), ("relu2", 5)):
        desk.command("show", "out", "--layer", layer, "--unit", unit, "--json")


def read_table(desk: Desk) -> None:
    """The tables of units, once the result has been opened."""
    open_result(desk)
    for path in sorted(Path("out").glob("*/units.csv")):
        table = read_units_csv(path)
        desk.keep(str(path), digest(repr(table.columns()).encode()))


def read_activations(desk: Desk) -> None:
    """The activations, as FORMAT.md describes them, once the result has been opened."""
    open_result(desk)
    for path in sorted(Path("out").glob("*/activations.h5")):
        with h5py.File(path) as file:
            desk.keep(str(path), array_digest(file["activations"][()]))


def compare(desk: Desk) -> None:
    """``ndengine compare`` with another result."""
    desk.command("compare", "out", "other", "--out", "compared", "--json")
    desk.keep_folder("compared")


def run_again(desk: Desk) -> None:
    """The run that made the result: it is shown again."""
    desk.command(*words("--spool", "dense", "--json"))


def report(desk: Desk, folder: str = "out") -> None:
    """``ndengine report``: pages and pictures are written again."""
    desk.command("report", folder)
    desk.keep_folder(f"{folder}/report")


def overwrite(desk: Desk) -> None:
    """Another run in the result's place; what is not its own stays."""
    desk.command(*words("--limit", 20, "--overwrite"))
    desk.keep_folder("out", VOLATILE)


# Interrupted runs


def go_on(desk: Desk, spool: str, *, overwrite: bool = False) -> None:
    """The run that was interrupted."""
    desk.command(*words("--spool", spool, *(["--overwrite"] if overwrite else [])))
    desk.keep_folder("out", VOLATILE)


# Series


def compare_series(desk: Desk) -> None:
    """``ndengine compare`` of a series' folder."""
    desk.command("compare", "series", "--json")
    desk.keep_folder("series/compare")


def sweep(desk: Desk) -> None:
    """The series once more: what is there is taken."""
    desk.command("sweep", "series.toml", "--out", "series", "--cache", "cache", "--threads", 1, "--json")
    desk.keep_folder("series/compare")


def plan(desk: Desk) -> None:
    """What a sweep would do."""
    desk.command("sweep", "series.toml", "--out", "series", "--cache", "cache", "--threads", 1, "--dry-run", "--json")


# Weights


def run_small(desk: Desk, model: str) -> None:
    """A run of a small network."""
    further = ("--model", model, "--layer", "conv5", "--data", "photos", "--out", "new", "--cache", "cache")
    desk.command("run", *further, "--threads", 1, "--limit", 10)
    desk.keep_folder("new", VOLATILE)


def receipts(desk: Desk) -> None:
    """What is known of a training, which is repeated where it was lost."""
    train_missing([SMALL], Path("cache"), threads=1, budget=TINY)
    store = Store(Path("cache"))
    desk.keep_record("receipt", drop_keys(store.receipt(SMALL)))
    desk.keep_folder(str(store.home(SMALL)), VOLATILE)


def pictures(desk: Desk) -> None:
    """What small networks learn from."""
    for part in Store(Path("cache")).pictures(TINY):
        for name, tensor in part._asdict().items():
            desk.keep(f"{len(part[0])} {name}", array_digest(tensor.numpy()))


def paper(desk: Desk) -> None:
    """An experiment of the paper, taken from what is there."""
    record = rooms.repeat_paper().record()
    desk.keep_record("paper", drop_keys({key: each for key, each in record.items() if key != "trained"}))
    desk.keep_folder("paper", VOLATILE | {"trained"})
    # A network that was trained again took other seconds, which its row on the page tells; the record has the rest.
    desk.reading.contents.pop("paper/index.html")


def run_scenesnet(desk: Desk) -> None:
    """A run of ScenesNet, whose weights go with the package."""
    scenesnet.WEIGHTS = Path(scenesnet.WEIGHTS.name).resolve()  # in this process alone
    further = ("--model", "scenesnet", "--layer", "conv5", "--data", "photos", "--out", "new", "--cache", "cache")
    desk.command("run", *further, "--threads", 1, "--limit", 10)
    desk.keep_folder("new", VOLATILE)


def fetch(desk: Desk, folder: str) -> None:
    """Published weights, downloaded where they are not there, and read."""
    with rooms.serving() as address:
        path, _ = download(address, Path(folder), SILENT)
    for name, tensor in read_weights(path).items():
        desk.keep(name, array_digest(tensor.numpy()))
