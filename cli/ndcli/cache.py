"""``ndengine cache``: what is kept between runs."""

from __future__ import annotations

from pathlib import Path

import click

from ndcli import options
from ndcli.terminal import print_json, print_table, say, table


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
    """List what the cache folder holds, with sizes.

    \b
    Example:
      ndengine cache list --json
    """
    from ndengine.datasets.pack import cache_entries

    entries = cache_entries(cache)
    if as_json:
        print_json(
            {"cache": str(cache), "entries": [{"path": str(e.path), "bytes": e.bytes} for e in entries]}
        )
        return
    rows = [(entry.path.name, f"{entry.bytes / 1e6:,.1f}") for entry in entries]
    print_table(table(str(cache), ("file", "MB"), rows))


@cache.command()
@options.cache_option
def clear(cache: Path) -> None:
    """Remove what the cache folder holds; runs make it anew when they need it.

    \b
    Example:
      ndengine cache clear
    """
    from ndengine.datasets.pack import clear_cache

    freed = clear_cache(cache)
    say(f"Removed {freed / 1e6:,.1f} MB from {cache}.")
