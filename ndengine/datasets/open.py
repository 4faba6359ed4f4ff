"""From what ``--data``, ``--split`` and ``--limit`` say to the images of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.broden import BrodenFolder
from ndengine.datasets.pack import cached_pack
from ndengine.datasets.packed import PackedDataset
from ndengine.datasets.scenes import scenes_folder
from ndengine.errors import SettingsError
from ndengine.progress import SILENT, Progress

BUILT_IN = "scenes"


def open_dataset(data: str, cache: Path, progress: Progress = SILENT) -> PackedDataset:
    """Open a dataset, generating or packing it first where that has not been done.

    Parameters
    ----------
    data : str
        ``scenes``, a folder in Broden's layout, or a packed file.
    cache : Path
        The folder that keeps packs and the built-in data.
    progress : Progress
        Told of what is made.

    Raises
    ------
    DatasetError
        If the dataset is missing or damaged, or the cache can't be written.
    """
    folder = scenes_folder(cache, progress) if data == BUILT_IN else Path(data)
    return cached_pack(folder, cache, progress)


def data_fingerprint(data: str) -> str | None:
    """The fingerprint of a dataset as it is now; None where there is nothing to compare: built in, or gone.

    Raises
    ------
    DatasetError
        If the dataset is damaged.
    """
    path = Path(data)
    if data == BUILT_IN or not path.exists():
        return None
    if path.is_file():
        with PackedDataset(path) as pack:
            return pack.fingerprint
    return BrodenFolder(path).fingerprint()


def select_images(dataset: PackedDataset, split: str, limit: int | None) -> NDArray[np.int64]:
    """Numbers of the images of a split, at most the first ``limit``; an empty split stands for all images.

    Raises
    ------
    SettingsError
        If the dataset has no such split.
    """
    numbers = np.arange(len(dataset))
    if split:
        numbers = numbers[[name == split for name in dataset.splits]]
        if len(numbers) == 0:
            known = ", ".join(sorted(set(dataset.splits) - {""})) or "none"
            raise SettingsError(f"split is {split!r}, which {dataset.name} lacks; its splits are: {known}.")
    return numbers[:limit]
