"""From counts to IoU, best concepts, detectors and unique detectors (paper, section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndengine.datasets import Vocabulary
from ndengine.errors import SettingsError
from ndengine.settings import Comparison
from ndengine.tally import Counts

RARE_IMAGES = 10  # a concept in fewer images makes detectors by chance
LOW_RANK = 100  # with fewer positions above a threshold, an IoU rests on a handful of activations


@dataclass(frozen=True, eq=False)
class Scores:
    """The best concepts of every unit of a layer; a cell without a concept holds zeros throughout.

    Attributes
    ----------
    concept : ndarray of int64, [U, K]
        Id of the best concept in each category; 0 where no concept of it has an IoU above 0.
    truth, activation, intersection : ndarray of int64, [U, K]
        Pixels of that concept, of the unit over the category's images, and of both at once.
    iou : ndarray of float64, [U, K]
        IoU of that concept.
    passes : ndarray of bool, [U, K]
        Whether that IoU makes the unit a detector within the category.
    category : ndarray of int64, [U]
        Index of the category with the highest IoU; -1 where the unit has no concept.
    score : ndarray of float64, [U]
        The highest IoU; 0 where the unit has no concept.
    detector : ndarray of bool, [U]
        Whether the unit detects its best concept.
    """

    concept: NDArray[np.int64]  # [U, K]
    truth: NDArray[np.int64]  # [U, K]
    activation: NDArray[np.int64]  # [U, K]
    intersection: NDArray[np.int64]  # [U, K]
    iou: NDArray[np.float64]  # [U, K]
    passes: NDArray[np.bool_]  # [U, K]
    category: NDArray[np.int64]  # [U]
    score: NDArray[np.float64]  # [U]
    detector: NDArray[np.bool_]  # [U]

    @property
    def best_concept(self) -> NDArray[np.int64]:
        """Id of each unit's best concept over all categories, 0 where it has none: [U]."""
        units, categories = self.concept.shape
        if categories == 0:
            return np.zeros(units, np.int64)
        return np.where(self.category < 0, 0, self.concept[np.arange(units), self.category])


@dataclass(frozen=True)
class CategorySummary:
    """Detectors of one category, under both published schemes.

    Attributes
    ----------
    detectors_top_label : int
        Detectors whose best concept of all belongs to the category; these add up to all detectors.
    unique_top_label : int
        Distinct best concepts among them.
    detectors_per_category : int
        Units whose best concept of the category passes, whatever else they detect.
    unique_per_category : int
        Distinct concepts among those.
    """

    detectors_top_label: int
    unique_top_label: int
    detectors_per_category: int
    unique_per_category: int


@dataclass(frozen=True)
class Summary:
    """What a dissected layer comes to in numbers.

    Attributes
    ----------
    units, dead : int
        All units, and those that never vary.
    detectors : int
        Units whose best IoU passes; each counts once.
    unique_top_label, unique_per_category : int
        Unique detectors by both schemes; the second is the sum over categories.
    by_category : dict of str to CategorySummary
        The same by category, in the order of category.csv.
    rare : int or None
        Detectors whose best concept is in fewer than 10 images; None where the images are not known.
    rank, positions : int or None
        m = floor(q·n), the most positions of a unit that may exceed its threshold, and n = N·h·w.
    notes : tuple of str
        Sentences that the user should see: fallbacks taken, defaults assumed.
    """

    units: int
    dead: int
    detectors: int
    unique_top_label: int
    unique_per_category: int
    by_category: dict[str, CategorySummary]
    rare: int | None = None
    rank: int | None = None
    positions: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that say why the numbers may mislead; empty when nothing is amiss."""
        found = []
        if self.rank is not None and self.rank < LOW_RANK:
            found.append(
                f"At most {self.rank} of {self.positions} positions of a unit exceed its threshold, "
                f"fewer than {LOW_RANK}: IoUs are coarse; use more images."
            )
        if self.rare:
            found.append(
                f"{self.rare} of {self.detectors} detectors rest on concepts with fewer than {RARE_IMAGES} "
                f"images, which chance alone can yield; raise min_images to leave such concepts out."
            )
        return tuple(found)

    def record(self) -> dict[str, Any]:
        """The summary as plain JSON values."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Summary:
        """The summary that :meth:`record` wrote.

        Raises
        ------
        KeyError, TypeError, AttributeError
            If the record is not one.
        """
        by_category = {name: CategorySummary(**counts) for name, counts in record["by_category"].items()}
        return cls(**{**record, "by_category": by_category, "notes": tuple(record["notes"])})


def iou(
    intersection: NDArray[np.int64],  # any shape
    unit_area: NDArray[np.int64],  # broadcasts to it
    concept_area: NDArray[np.int64],  # broadcasts to it
) -> NDArray[np.float64]:
    """Intersection over union from exact counts of pixels.

    Returns
    -------
    ndarray of float64
        ``I / (A + G - I)``, 0 where the denominator is 0; division is the only rounding.
    """
    union = unit_area + concept_area - intersection
    out = np.zeros(np.shape(union), np.float64)
    np.divide(intersection, union, out=out, where=union != 0)
    return out


def score_units(
    counts: Counts,
    vocabulary: Vocabulary,
    *,
    detector: Comparison,
    iou_threshold: float,
    min_images: int,
    categories: Sequence[str] = (),
    dead: NDArray[np.bool_],  # [U]
) -> Scores:
    """Find each unit's best concepts and whether it detects them.

    The highest IoU wins; in a category the lowest id wins a tie, between categories the later one.

    Parameters
    ----------
    counts : Counts
        The counts of one layer.
    vocabulary : Vocabulary
        Names and primary categories of the concepts; a concept without one is never scored.
    detector : str
        ``>`` or ``>=``: how an IoU is compared with ``iou_threshold``.
    iou_threshold : float
        The IoU that a detector must pass.
    min_images : int
        Images that a concept needs to be scored.
    categories : sequence of str
        Categories that are scored; empty means all. The others keep their columns, without concepts.
    dead : ndarray of bool, [U]
        Units that never vary; they get no concept.

    Raises
    ------
    SettingsError
        If ``categories`` names one that the dataset does not have.
    """
    check_categories(categories, vocabulary)
    units, kinds = counts.unit_area.shape
    concept, truth, activation, intersection = np.zeros((4, units, kinds), np.int64)
    enough = counts.concept_images >= min_images
    for k, name in enumerate(vocabulary.categories):
        columns = np.flatnonzero(enough & (vocabulary.primary == k))  # ascending ids: argmax takes the lowest
        if columns.size == 0 or (categories and name not in categories):
            continue
        hits = counts.intersection[:, columns]
        best = iou(hits, counts.unit_area[:, k, None], counts.concept_area[columns]).argmax(axis=1)
        concept[:, k] = columns[best] + 1
        truth[:, k] = counts.concept_area[columns[best]]
        activation[:, k] = counts.unit_area[:, k]
        intersection[:, k] = hits[np.arange(units), best]
    return score_table(
        concept, truth, activation, intersection, detector=detector, iou_threshold=iou_threshold, dead=dead
    )


def score_table(
    concept: NDArray[np.int64],  # [U, K]
    truth: NDArray[np.int64],  # [U, K]
    activation: NDArray[np.int64],  # [U, K]
    intersection: NDArray[np.int64],  # [U, K]
    *,
    detector: Comparison,
    iou_threshold: float,
    dead: NDArray[np.bool_] | None = None,  # [U]
) -> Scores:
    """Score units from the best concept of each category, as the columns of ``units.csv`` hold them.

    Cells with concept 0 or IoU 0, and the rows of dead units, have no concept: they come back as zeros.
    """
    units, kinds = concept.shape
    values = iou(intersection, activation, truth)
    found = (concept > 0) & (values > 0)
    if dead is not None:
        found &= ~dead[:, None]
    values = np.where(found, values, 0.0)
    passes = found & (values > iou_threshold if detector == ">" else values >= iou_threshold)
    category = np.full(units, -1, np.int64)
    score = np.zeros(units, np.float64)
    if kinds:
        last = kinds - 1 - values[:, ::-1].argmax(axis=1)  # reversed: the later category wins a tie
        category = np.where(found.any(axis=1), last, -1)
        score = values.max(axis=1)
    return Scores(
        concept=np.where(found, concept, 0),
        truth=np.where(found, truth, 0),
        activation=np.where(found, activation, 0),
        intersection=np.where(found, intersection, 0),
        iou=values,
        passes=passes,
        category=category,
        score=score,
        detector=np.any(passes, axis=1),
    )


def summarise(
    scores: Scores,
    categories: Sequence[str],  # K names
    *,
    concept_images: NDArray[np.int64] | None = None,  # [C]
    dead: NDArray[np.bool_] | None = None,  # [U]
    rank: int | None = None,
    positions: int | None = None,
    notes: Sequence[str] = (),
) -> Summary:
    """Count detectors and unique detectors by both schemes; see :class:`Summary` for the arguments."""
    best = scores.best_concept
    by_category = {}
    for k, name in enumerate(categories):
        top = best[scores.detector & (scores.category == k)]
        own = scores.concept[scores.passes[:, k], k]
        by_category[name] = CategorySummary(top.size, np.unique(top).size, own.size, np.unique(own).size)
    detected = best[scores.detector]
    rare = None if concept_images is None else int((concept_images[detected - 1] < RARE_IMAGES).sum())
    return Summary(
        units=len(best),
        dead=0 if dead is None else int(dead.sum()),
        detectors=detected.size,
        unique_top_label=np.unique(detected).size,
        unique_per_category=sum(c.unique_per_category for c in by_category.values()),
        by_category=by_category,
        rare=rare,
        rank=rank,
        positions=positions,
        notes=tuple(notes),
    )


def check_categories(categories: Sequence[str], vocabulary: Vocabulary) -> None:
    """See that every category asked for is one of the dataset's.

    Raises
    ------
    SettingsError
        If one is not; the sentence names those that are near or all there are.
    """
    for name in categories:
        if name not in vocabulary.categories:
            near = get_close_matches(name, vocabulary.categories) or vocabulary.categories
            raise SettingsError(f"categories names {name!r}, which the dataset lacks; use {' or '.join(near)}.")
