"""The report: a folder of pages and pictures that opens in any browser, from disk and without a network."""

from __future__ import annotations

from pathlib import Path

from ndengine.errors import ResultError
from ndengine.inside import refuse_way_out
from ndengine.progress import SILENT, Progress
from ndengine.refusals import cannot_write
from ndengine.report.page import INDEX, render_layer, render_overview
from ndengine.report.pictures import ImageReader, write_strips
from ndengine.result import Dissection
from ndengine.result_files import write_text

__all__ = ["write_report"]


def write_report(
    dissection: Dissection,
    folder: Path,
    images: ImageReader | None,
    progress: Progress = SILENT,
) -> Path:
    """Write a dissection's report: pictures first, ``index.html`` last.

    A report on one layer is one page; one on several is an overview that leads to a page for each. Pictures
    lie in a subfolder a layer, named as the layer's folder of the result, and every link is relative.

    Parameters
    ----------
    dissection : Dissection
        What to report.
    folder : Path
        Where to write; made if need be. A report that lies there is replaced.
    images : callable or None
        Takes ascending image indices, int64 [B], and gives uint8 [B, ih, iw, 3]. Without it nothing is drawn,
        and pictures that already lie in the folder are shown.
    progress : Progress
        Told of each unit drawn.

    Returns
    -------
    Path
        The ``index.html``.

    Raises
    ------
    ResultError
        If a file can't be written.
    """
    index = folder / INDEX
    layers = list(dissection.layers.values())
    alone = len(layers) == 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for layer in layers:
            refuse_way_out(folder, layer.folder, writing=True)
        index.unlink(missing_ok=True)  # a folder without an index is an unfinished report
        for layer in layers:
            (folder / layer.folder).mkdir(exist_ok=True)
            if images is not None:
                write_strips(
                    layer,
                    folder / layer.folder,
                    images,
                    image_size=dissection.image_size,
                    label_width=dissection.label_size[1],
                    threads=int(dissection.settings["threads"]),
                    progress=progress,
                )
            page = render_layer(dissection, layer, folder, alone=alone)
            target = index if alone else folder / layer.folder / INDEX
            write_text(target, page)
        if not alone:
            write_text(index, render_overview(dissection))
    except OSError as error:
        raise ResultError(cannot_write(folder, error, "copy the result to another disk")) from error
    return index
