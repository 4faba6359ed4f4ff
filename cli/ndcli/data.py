"""``ndengine data``: pack, check and describe a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import megabytes, say


@click.group()
def data() -> None:
    """Pack, check or describe a dataset.

    \b
    Example:
      ndengine data info broden1_224
    """


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file.  [default: FOLDER.h5]"
)
@options.quiet_option
def pack(folder: Path, out: Path | None, quiet: bool) -> None:
    """Pack a dataset folder into one HDF5 file that --data takes.

    A run packs a folder by itself and keeps the pack in the cache; pack by hand to move or keep a dataset.

    \b
    Example:
      ndengine data pack broden1_224 --out broden1_224.h5
    """
    from ndengine.datasets.broden import BrodenFolder
    from ndengine.datasets.pack import pack_dataset

    source = BrodenFolder(folder)
    with shown(quiet) as progress, pack_dataset(source, out or Path(f"{source.name}.h5"), progress) as packed:
        path, images = packed.path, len(packed)
    if not quiet:
        say(f"Packed {images:,} images into {path} ({megabytes(path.stat().st_size)}).")
