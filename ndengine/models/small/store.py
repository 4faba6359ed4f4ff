"""Where the weights of small networks are kept: a folder each in the cache, whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.download import hash_file
from ndengine.models.small.rows import Budget, SmallNetwork
from ndengine.models.training.pictures import HELD_OUT_SEED, TRAIN_SEED, Pictures, held_out_count, paint
from ndengine.progress import SILENT, Progress

VERSION = 1  # counts up whenever another training would come out of the same row
RECEIPT = "training.json"  # written last; what a finished folder must hold
WEIGHTS = "weights.safetensors"


class Store:
    """The small networks in a cache folder.

    Attributes
    ----------
    folder : Path
        Where everything is kept.
    """

    def __init__(self, cache: Path) -> None:
        self.folder = Path(cache) / f"small-v{VERSION}"

    def home(self, row: SmallNetwork) -> Path:
        """The folder of a network."""
        return self.folder / row.name

    def weights(self, row: SmallNetwork, iteration: int | None = None) -> Path:
        """The file of its last weights, or of those after so many steps."""
        return self.home(row) / (WEIGHTS if iteration is None else f"iter-{iteration:06d}.safetensors")

    def receipt(self, row: SmallNetwork) -> dict[str, Any] | None:
        """What is known of a training that is finished and whole; None where there is none."""
        home = self.home(row)
        try:
            receipt: dict[str, Any] = json.loads((home / RECEIPT).read_text(encoding="utf-8"))
            whole = receipt["network"] == row.record() and all(
                hash_file(home / name) == digest for name, digest in receipt["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return receipt if whole else None

    def has(self, row: SmallNetwork, budget: Budget | None = None) -> bool:
        """Whether a network is trained, by this budget if one is named."""
        receipt = self.receipt(row)
        return receipt is not None and (budget is None or receipt["budget"] == vars(budget))

    def is_damaged(self, row: SmallNetwork) -> bool:
        """Whether something lies where a network should be that is none."""
        return self.home(row).exists() and self.receipt(row) is None

    @contextmanager
    def renewing(self, row: SmallNetwork, progress: Progress = SILENT) -> Iterator[Path]:
        """Hold a network's place while it is trained; what the block writes to the folder that it gets goes there.

        Raises
        ------
        ModelError
            If the folder can't be written.
        """
        home = self.home(row)
        with _guarded(self.folder), _locked(home.with_name(f"{row.name}.lock"), row.name, progress):
            for stale in self.folder.glob(f"{row.name}.unfinished-*"):  # nobody else trains it while we hold the lock
                shutil.rmtree(stale)
            fresh = Path(tempfile.mkdtemp(prefix=f"{row.name}.unfinished-", dir=self.folder))
            try:
                yield fresh
                if (fresh / RECEIPT).exists():
                    if home.exists():
                        shutil.rmtree(home)
                    os.replace(fresh, home)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

    def pictures(self, budget: Budget, progress: Progress = SILENT) -> tuple[Pictures, Pictures]:
        """Scenes to learn from and held-out ones, painted on first use.

        Raises
        ------
        ModelError
            If they can't be kept.
        """
        held_out = held_out_count(budget.images)
        wanted = ((TRAIN_SEED, budget.images), (HELD_OUT_SEED, held_out))
        path = self.folder / "pictures" / "-".join(f"{images}-seed{seed}" for seed, images in wanted)
        path = path.with_suffix(".safetensors")
        with _guarded(path.parent), _locked(path.with_suffix(".lock"), "the pictures", progress):
            try:
                kept = load_file(path)
            except (OSError, SafetensorError):
                kept = {}
                for part, (seed, images) in zip(("train", "held-out"), wanted, strict=True):
                    painted = paint(seed, images, progress)
                    kept |= {f"{part}-{name}": tensor for name, tensor in painted._asdict().items()}
                write_tensors(path, kept)
        train, unseen = (
            Pictures(*(kept[f"{part}-{name}"] for name in Pictures._fields)) for part in ("train", "held-out")
        )
        return train, unseen


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors into a file that is whole once it has its name."""
    part = path.with_name(f"{path.name}.part")
    save_file(tensors, part)
    os.replace(part, path)


def write_weights(path: Path, net: nn.Module) -> None:
    """Write all tensors of a network."""
    write_tensors(path, {name: value.detach().contiguous() for name, value in net.state_dict().items()})


@contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Make a folder, and turn what goes wrong with its files into one sentence."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{folder} can't be written ({reason}); make room there, or choose another folder with --cache."
        ) from error


@contextmanager
def _locked(path: Path, what: str, progress: Progress) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.note(f"Another process makes {what}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
