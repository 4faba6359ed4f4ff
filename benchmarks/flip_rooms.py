"""Small folders with every kind of file that the project writes, and what is put into each.

A room is a folder with all that reading its files takes: nothing outside of it is read or written, so it can be put
back as it was. Builders work in the current folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import torch
from click.testing import CliRunner

import ndengine.datasets.open as opening
import ndengine.models.small.crew as crew
import ndengine.spool as spool
import ndengine.spool_files as spool_files
from ndcli.main import main
from ndengine.datasets.scenes import scenes_folder, write_scenes
from ndengine.experiments import Paper, reproduce_paper
from ndengine.models import scenesnet
from ndengine.models.small.rows import NETWORKS, Budget, SmallNetwork
from ndengine.models.small.train import train_small

IMAGES, BATCH = 24, 8
SEGMENT_BYTES = 4096  # of a spool, so that a run of these few images has several segments
CHUNK_BYTES = 1 << 16  # of a file of a spool: several images, not all of them
TINY = Budget(images=32, epochs=1)  # one step of training
SMALL = NETWORKS["small-base"]
STOP = "FLIP_STOP_AT_BATCH"
NETWORK = f"""
import os, signal
from collections import OrderedDict

import torch
from torch import nn


class Guard(nn.Module):  # passes images on, and ends its process at the batch that the environment names
    seen = 0

    def forward(self, images):
        Guard.seen += len(images) == {BATCH}
        if Guard.seen == int(os.environ.get("{STOP}", 10**9)):
            os.kill(os.getpid(), signal.SIGKILL)
        return images


def build(seed=3):
    torch.manual_seed(seed)
    layers = dict(
        guard=Guard(),
        conv1=nn.Conv2d(3, 6, 5, stride=4, padding=2),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(6, 12, 3, stride=2, padding=1),
        relu2=nn.ReLU(),
    )
    return nn.Sequential(OrderedDict(layers))


def other():
    return build(4)
"""
SERIES = """
title = "Two networks"
layer = ["relu1", "relu2"]
data = "photos"
batch-size = 8
min-images = 0

[[run]]
name = "one"
model = "net.py:build"
x = 1

[[run]]
name = "other"
model = "net.py:other"
x = 2
"""
WEIGHTS = {"conv.weight": torch.arange(4000, dtype=torch.float32)}


def words(*further: object, data: str = "photos", out: str = "out") -> list[str]:
    """The command of a run in a room."""
    options = {"data": data, "out": out, "cache": "cache", "threads": 1, "batch-size": BATCH, "min-images": 0}
    pairs = [("--model", "net.py:build"), ("--layer", "relu1"), ("--layer", "relu2")]
    pairs += [(f"--{name}", str(value)) for name, value in options.items()]
    return ["run", *(word for pair in pairs for word in pair), *map(str, further)]


def run(*arguments: object) -> None:
    """Run a command, which must go well."""
    done = CliRunner().invoke(main, [*map(str, arguments)], prog_name="ndengine", catch_exceptions=False)
    assert done.exit_code == 0, done.output


def run_to_its_end(*arguments: object, batch: int) -> None:
    """Run a command in a process that is killed in the forward pass of a batch."""
    child = os.fork()
    if child == 0:
        os.environ[STOP] = str(batch)
        try:
            run(*arguments)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9, "the run was not killed"


def furnish() -> None:
    """A network and a labelled dataset."""
    Path("net.py").write_text(NETWORK)
    write_scenes(Path("photos"), IMAGES)


def build_packs() -> None:
    """A dataset's pack in the cache, one that was packed by hand, and results of both."""
    furnish()
    run("data", "pack", "photos", "--out", "photos.h5")
    run(*words(out="out"))
    run(*words(out="named", data="photos.h5"))


def build_scenes() -> None:
    """The built-in scenes in the cache, and their pack; a copy of ScenesNet's weights."""
    furnish()
    shutil.copy(scenesnet.WEIGHTS, scenesnet.WEIGHTS.name)
    run("data", "info", "scenes", "--cache", "cache")


def build_results() -> None:
    """Two finished results, one with its activations; a file of the user's lies in it."""
    furnish()
    run(*words("--spool", "dense"))
    run(*words("--model", "net.py:other", out="other"))
    Path("out/notes.txt").write_text("mine\n")


def build_interrupted(kind: str) -> None:
    """What a run leaves that was killed at its last batch."""
    furnish()
    run("data", "info", "photos", "--cache", "cache")
    run_to_its_end(*words("--spool", kind), batch=IMAGES // BATCH)


def build_series() -> None:
    """A series and its comparison."""
    furnish()
    Path("series.toml").write_text(SERIES)
    run("sweep", "series.toml", "--out", "series", "--cache", "cache", "--threads", 1)


def build_small() -> None:
    """A small network that was trained here, and an experiment with it."""
    furnish()
    train_small(SMALL, Path("cache"), TINY, after_epoch=lambda epoch: None)
    repeat_paper()


def repeat_paper() -> Paper:
    """Carry out an experiment of the paper, or take what is there."""
    return reproduce_paper(Path("paper"), cache=Path("cache"), only=("iterations",), budget=TINY)


def build_downloads() -> None:
    """Weights that were downloaded, and some of which half has arrived."""
    for name in ("whole", "half"):
        Path(name).mkdir()
    torch.save(WEIGHTS, "served.pth")
    content = Path("served.pth").read_bytes()
    name = served_name(content)
    Path("whole", name).write_bytes(content)
    Path("half", f"{name}.part").write_bytes(content[: len(content) // 2])
    Path("half", f"{name}.part.version").write_text('"one"')


def served_name(content: bytes) -> str:
    """A file's name with the first digits of its checksum, as published weights have it."""
    return f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"


class _Handler(BaseHTTPRequestHandler):
    """Serves the room's file, also from a byte on."""

    def do_GET(self) -> None:
        content = Path("served.pth").read_bytes()
        wanted = self.headers.get("Range") if self.headers.get("If-Range") in (None, '"one"') else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """Serve the room's file; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{served_name(Path('served.pth').read_bytes())}"
        finally:
            server.shutdown()
            thread.join()


def make_everything_small() -> None:
    """Fewer scenes, shorter trainings and smaller segments than a user has; nothing else about them changes.

    Networks are trained in this process instead of one of their own, which takes seconds to start.
    """

    def train(self: Any, row: SmallNetwork, advance: Any) -> None:
        values = dict(zip(self.words[::2], self.words[1::2], strict=True))
        budget = Budget(int(values["--images"]), int(values["--epochs"]))
        train_small(row, Path(values["--cache"]), budget, after_epoch=lambda epoch: advance(1))

    few = partial(scenes_folder, images=IMAGES)
    for module, name, value in (
        (opening, "scenes_folder", few),
        (crew, "Budget", lambda: TINY),
        (crew._Crew, "train", train),
        (spool, "SEGMENT_BYTES", SEGMENT_BYTES),
        (spool_files, "CHUNK_BYTES", CHUNK_BYTES),
    ):
        assert hasattr(module, name), f"{module} has no {name}"
        setattr(module, name, value)


def put_back(kept: Path, live: Path, changed: Path | None = None) -> None:
    """Make a folder what it was, dates included: a dataset's fingerprint has them.

    Parameters
    ----------
    kept, live : Path
        The copy, and the folder; what has the size and the date of its copy is taken to be the same.
    changed : Path, optional
        A file in it that was changed behind its date's back.
    """
    wanted = {path.relative_to(kept): path.lstat() for path in kept.rglob("*")}
    for path in sorted(live.rglob("*"), reverse=True):  # what is in a folder before the folder
        inside = path.relative_to(live)
        here, there = path.lstat(), wanted.get(inside)
        if path.is_dir() and not path.is_symlink():
            if there is None or not S_ISDIR(there.st_mode):
                path.rmdir()
        elif there is None or inside == changed or _differ(here, there):
            path.unlink()
    live.mkdir(parents=True, exist_ok=True)
    for inside, state in wanted.items():
        if S_ISDIR(state.st_mode):
            (live / inside).mkdir(parents=True, exist_ok=True)
        elif not os.path.lexists(live / inside):
            shutil.copy2(kept / inside, live / inside, follow_symlinks=False)


def _differ(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_mode, one.st_size, one.st_mtime_ns) != (other.st_mode, other.st_size, other.st_mtime_ns)
