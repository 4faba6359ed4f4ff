"""What a run says of a dataset that it accepts though its author may not have meant it so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.datasets.tables import filled_columns, parse_table, plain_path

FEW = 5  # names in a sentence


def repeated_images(names: Iterable[str]) -> Iterator[str]:
    """Say if images are counted more than once.

    Parameters
    ----------
    names : iterable of str
        ``[N]`` paths of a run's images.
    """
    repeated = {name: times for name, times in Counter(map(plain_path, names)).items() if times > 1}
    if repeated:
        name, times = next(iter(repeated.items()))
        yield (
            f"{len(repeated):,} image{'s' * (len(repeated) > 1)} stand{'s' * (len(repeated) == 1)} in index.csv more "
            f"than once (such as {name}, {times} times), and each row counts; `ndengine data check` lists them."
        )


def turned_images(names: Collection[str]) -> Iterator[str]:
    """Say which images with label maps were turned as their EXIF orientation asks, unlike their maps."""
    if names:
        yield (
            f"{len(names):,} image{'s' * (len(names) > 1)} with label maps (such as {min(names)}) had an EXIF "
            f"orientation and {'were' if len(names) > 1 else 'was'} turned upright, label maps as they are stored; "
            "`ndengine data check` lists them."
        )


def unread_columns(tables: Mapping[str, bytes], categories: tuple[str, ...]) -> Iterator[str]:
    """Say if the index has labels of what is no category.

    Parameters
    ----------
    tables : mapping
        Bytes of each table by file name.
    categories : tuple of str
        ``[K]`` the dataset's categories.
    """
    index = parse_table(tables["index.csv"], Path("index.csv"))
    for column, filled in filled_columns(index, categories).items():
        yield f"index.csv has {filled:,} cells in the column {column}, which category.csv does not list: not read."


def unscored_concepts(area: NDArray[np.int64], vocabulary: Vocabulary) -> Iterator[str]:
    """Say which concepts are nobody's or nameless.

    Parameters
    ----------
    area : ndarray
        ``[C]`` int64 pixels of each concept.
    vocabulary : Vocabulary
        The dataset's.
    """
    labelled = area > 0
    unlisted = np.flatnonzero(labelled & (vocabulary.primary < 0)).tolist()
    if unlisted:
        yield (
            f"{_concepts(unlisted, vocabulary)} labelled pixels, but no category's table lists them, so that no unit "
            "is scored for them; add rows to a c_ table of the dataset, or take the labels out."
        )
    nameless = [j for j in np.flatnonzero(labelled & (vocabulary.primary >= 0)).tolist() if not vocabulary.names[j]]
    if nameless:
        yield f"{_concepts(nameless, vocabulary)} labelled pixels, but no name in label.csv; add it there."


def _concepts(numbers: list[int], vocabulary: Vocabulary) -> str:
    shown = [f"{j + 1} ({vocabulary.names[j]})" if vocabulary.names[j] else str(j + 1) for j in numbers[:FEW]]
    more = f" and {len(numbers) - FEW:,} more" if len(numbers) > FEW else ""
    return f"The concept{'s' * (len(numbers) > 1)} {', '.join(shown)}{more} ha{'ve' if len(numbers) > 1 else 's'}"
