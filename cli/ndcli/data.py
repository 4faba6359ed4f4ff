"""``ndengine data``: pack, check and describe a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from ndcli import options
from ndcli.progress import shown
from ndcli.terminal import say

CAP = 10  # findings of a kind that are shown without --all
source = click.argument("source", metavar="PATH", default="scenes")


@click.group()
def data() -> None:
    """Pack, check or describe a dataset.

    \b
    Example:
      ndengine data info broden1_224
    """


@data.command()
@source
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The packed file.  [default: PATH.h5]"
)
@options.cache_option
@options.quiet_option
def pack(source: str, out: Path | None, cache: Path, quiet: bool) -> None:
    """Pack a dataset folder into one HDF5 file that --data takes.

    A run packs a folder by itself, into the cache; pack it by hand to move it or to share it.

    \b
    Example:
      ndengine data pack broden1_224 --out broden1_224.h5
    """
    from ndengine.datasets.pack import pack_dataset

    from ndengine.datasets import broden_folder
    from ndengine.datasets.broden import BrodenFolder

    with shown(quiet) as progress:
        folder = BrodenFolder(broden_folder(source, cache, progress))
        path = out or Path(f"{folder.name}.h5")
        pack_dataset(folder, path, progress=progress).close()
    if not quiet:
        say(f"Packed {len(folder):,} images into {path} ({path.stat().st_size / 1e6:,.1f} MB).")
