"""Files of a row's weights: from the cache folder, else from where they are published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ndengine.errors import ModelError
from ndengine.models.download import FetchError, download, hash_file, is_intact
from ndengine.models.zoo.files import FOLDER, Edition, beside
from ndengine.models.zoo.row import Row
from ndengine.progress import SILENT, Progress


@dataclass(frozen=True)
class Found:
    """Weights on the disk.

    Attributes
    ----------
    weights : Path
    sha256 : str
        Their checksum.
    prototxt : Path or None
        The definition that goes with them; None where the row's own has to do.
    """

    weights: Path
    sha256: str
    prototxt: Path | None


def has_weights(row: Row, cache: Path) -> bool:
    """Whether the cache folder has weights of a row."""
    return any(edition.find(cache) for edition in row.editions)


def get_weights(row: Row, cache: Path, progress: Progress = SILENT) -> Found:
    """A row's weights: from the cache folder, without asking a server, else from where they are published.

    Parameters
    ----------
    row : Row
    cache : Path
        The cache folder.
    progress : Progress
        Told of downloads.

    Raises
    ------
    ModelError
        If they are not there and were never published, or no server gives them.
    """
    for edition in row.editions:
        path = edition.find(cache)
        digest = hash_file(path) if path else ""
        if path and is_intact(path.name, digest):
            return Found(path, digest, beside(path))
    return fetch_weights(row, cache, progress)


def fetch_weights(row: Row, cache: Path, progress: Progress = SILENT) -> Found:
    """A row's weights with all files that belong to them; what the cache folder lacks of these is fetched.

    Parameters, errors: as for :func:`get_weights`.
    """
    at_hand = [edition for edition in row.editions if edition.find(cache)]
    published = [edition for edition in row.editions if edition.is_published]
    if not at_hand and not published:
        files = " or ".join(edition.weights.name for edition in row.editions)
        raise ModelError(
            f"The weights of {row.name} were never published; put yours into {cache / FOLDER} as {files}, or give it "
            "to `ndengine run` with --weights FILE, or --weights random."
        )
    *others, last = at_hand[:1] or published
    for edition in others:
        try:
            return _fetch_edition(edition, cache, progress)
        except FetchError as error:
            progress.note(f"{_cause(error)}; other weights of {row.name} are tried.")
    return _fetch_edition(last, cache, progress)


def _fetch_edition(edition: Edition, cache: Path, progress: Progress) -> Found:
    folder = cache / FOLDER
    if edition.is_published:
        path, digest = download(edition.weights.urls, folder, progress, name=edition.weights.name)
    else:
        path = folder / edition.weights.name
        digest = hash_file(path)
    prototxt = beside(path)
    if prototxt is None and edition.prototxt is not None and edition.prototxt.urls:
        try:
            prototxt, _ = download(edition.prototxt.urls, folder, progress, name=edition.prototxt.name)
        except FetchError as error:
            progress.note(f"{_cause(error)}; {path.name} is used with ndengine's own definition.")
    return Found(path, digest, prototxt)


def _cause(error: FetchError) -> str:
    """What went wrong, without what to do about it."""
    return str(error).partition(";")[0]
