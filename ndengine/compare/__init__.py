"""Many results side by side: tables, curves, and the units that changed; FORMAT.md describes its files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ndengine.compare.changes import Change, Changes, find_changes, pair_up
from ndengine.compare.comparison import Comparison
from ndengine.compare.curves import Curve, find_curves
from ndengine.compare.differences import Difference, cautions, find_differences
from ndengine.compare.entries import Entry, Units, entries_of, find_results, labels_of
from ndengine.compare.files import refuse_strangers, write_files
from ndengine.compare.page import render_comparison
from ndengine.compare.placing import place_entries
from ndengine.errors import ResultError
from ndengine.progress import SILENT, Progress
from ndengine.report.page import INDEX
from ndengine.result import load
from ndengine.result_files import write_text

__all__ = ["Change", "Changes", "Comparison", "Curve", "Difference", "Entry", "Units", "compare_results"]


def compare_results(
    folders: Sequence[Path | str],
    out: Path | None = None,
    *,
    layers: Sequence[str] = (),
    title: str = "",
    left_out: Mapping[Path, str] = MappingProxyType({}),
    progress: Progress = SILENT,
) -> Comparison:
    """Compare results of any networks and layers.

    Parameters
    ----------
    folders : sequence of Path
        Results, series, or folders in which results lie.
    out : Path, optional
        Where tables and page are written; nothing is written without it.
    layers : sequence of str
        Only the layers of these names; empty means all.
    title : str
        The heading; by default the series' own.
    left_out : mapping of Path to str
        Folders of results that are not taken, and why, for ``warnings``: "its run failed".
    progress : Progress
        Told of every result read.

    Returns
    -------
    Comparison
        A damaged result that was found, not named, is left out and told of in ``warnings``.

    Raises
    ------
    ResultError
        If a folder holds no result, a result that is named is damaged, no result has one of the layers, or ``out``
        can't be written.
    """
    if out is not None:
        out = Path(out)
        refuse_strangers(out)
    found, series_title, missing = find_results([Path(folder) for folder in folders])
    entries: list[Entry] = []
    warnings: list[str] = []
    if missing:
        subject = "1 run of the series has" if len(missing) == 1 else f"{len(missing)} runs of the series have"
        warnings.append(f"{subject} no result yet: {', '.join(missing)}.")
    reasons = {os.path.realpath(folder): why for folder, why in left_out.items()}
    with progress.stage("reading", len(found), "results") as advance:
        for one, label in zip(found, labels_of(found), strict=True):
            if why := reasons.get(os.path.realpath(one.folder)):
                warnings.append(f"{label} is left out: {why}.")
                advance(1)
                continue
            try:
                entries += entries_of(load(one.folder), one, label, layers)
            except ResultError as error:
                if one.named:
                    raise
                warnings.append(f"{label} is left out: {error}")
            advance(1)
    if not entries:
        raise ResultError(_nothing(folders, layers, warnings))
    entries = place_entries(entries)
    categories = tuple(dict.fromkeys(name for entry in entries for name in entry.summary.by_category))
    differences = find_differences(entries)
    comparison = Comparison(
        title=title or series_title or "Comparison",
        entries=tuple(entries),
        categories=categories,
        curves=find_curves(entries, categories),
        changes=tuple(find_changes(entries, before, after) for before, after in pair_up(entries)),
        differences=differences,
        warnings=(*warnings, *cautions(differences, entries)),
        folder=out,
    )
    if out is not None:
        write_files(comparison, out)
        write_text(out / INDEX, render_comparison(comparison, out))
    return comparison


def _nothing(folders: Sequence[Path | str], layers: Sequence[str], warnings: Sequence[str]) -> str:
    if warnings:
        return warnings[-1]
    return f"No result in {', '.join(map(str, folders))} has a layer {' or '.join(layers)}; name one that they have."
