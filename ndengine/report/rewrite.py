"""A finished result's report, written again with pictures from the pack that the run used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets.packed import PackedDataset
from ndengine.errors import DatasetError
from ndengine.inside import irregular, refuse_way_out
from ndengine.progress import SILENT, Progress
from ndengine.report import write_report
from ndengine.result import Dissection, load
from ndengine.result_record import REPORT


def rewrite_report(folder: Path, progress: Progress = SILENT) -> Path:
    """Write the report of a finished result again.

    Where the packed dataset is gone or has changed, the pictures that lie in the report already are kept.

    Parameters
    ----------
    folder : Path
        The result.
    progress : Progress
        Told of each unit drawn, and of a pack that can't be used.

    Returns
    -------
    Path
        The report's ``index.html``.

    Raises
    ------
    ResultError
        If the result is unfinished or damaged, or the report can't be written.
    """
    dissection = load(folder)
    home = refuse_way_out(folder, REPORT, writing=True)
    try:
        pack = _pack(dissection)
    except DatasetError as error:
        progress.note(f"No new pictures: {error}")
        return write_report(dissection, home, None, progress)
    with pack:
        numbers = {name: number for number, name in enumerate(pack.image_names)}
        places = np.array([numbers[name] for name in dissection.image_names], np.int64)

        def images(chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
            return pack.images(places[chosen])

        return write_report(dissection, home, images, progress)


def _pack(dissection: Dissection) -> PackedDataset:
    known = dissection.provenance.get("dataset") or {}
    place = known.get("pack")
    if not place or not known.get("fingerprint"):
        raise DatasetError(f"{dissection.folder} does not tell which packed dataset it was made of; run it again.")
    if what := irregular(Path(place)):
        raise DatasetError(f"{place} is {what}, not a packed dataset; run the dissection again.")
    pack = PackedDataset(Path(place))
    fits = pack.fingerprint == known["fingerprint"]
    fits = fits and (pack.image_size, pack.label_size) == (dissection.image_size, dissection.label_size)
    if not fits or not set(dissection.image_names) <= set(pack.image_names):
        pack.close()
        raise DatasetError(f"{pack.path} is no longer the dataset of {dissection.folder}; run it again.")
    return pack
