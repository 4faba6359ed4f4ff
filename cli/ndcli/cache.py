"""``ndengine cache``: the packed datasets that are kept between runs."""

from __future__ import annotations

from pathlib import Path

import click

from ndcli import options
from ndcli.terminal import megabytes, print_json, print_table, say


@click.group()
def cache() -> None:
    """List or clear the packed datasets that runs keep.

    \b
    Example:
      ndengine cache list
    """


@cache.command("list")
@options.cache_option
@options.json_option
def list_(cache: Path, as_json: bool) -> None:
    """List the packed datasets in the cache folder.

    \b
    Example:
      ndengine cache list --json
    """
    from ndengine.datasets.pack import cache_entries

    entries = cache_entries(cache)
    if as_json:
        packs = [
            {"path": str(e.path), "bytes": e.size, "dataset": e.name, "source": e.source, "images": e.images}
            for e in entries
        ]
        print_json({"cache": str(cache), "packs": packs})
        return
    rows = [(e.path.name, e.source or "unfinished or damaged", e.images, megabytes(e.size)) for e in entries]
    print_table(f"Packed datasets in {cache}: {len(entries)}", ("file", "made of", "images", "size"), rows, left=2)


@cache.command()
@options.cache_option
@options.quiet_option
def clear(cache: Path, quiet: bool) -> None:
    """Delete the packed datasets in the cache folder; runs pack again when they need to.

    \b
    Example:
      ndengine cache clear
    """
    from ndengine.datasets.pack import clear_cache

    deleted = clear_cache(cache)
    if not quiet:
        freed = megabytes(sum(entry.size for entry in deleted))
        say(f"Packed datasets deleted from {cache}: {len(deleted)} ({freed})")
