"""Scoring: against a direct loop over units and concepts, and against the tables released with the paper."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndengine.datasets import Vocabulary
from ndengine.errors import SettingsError
from ndengine.score import Scores, Summary, iou, score_table, score_units, summarise
from ndengine.tally import Counts
from ndengine.units_table import read_units_csv

# file, network in published_detectors.csv, detectors, unique by top label, unique per category
RELEASED = [
    ("caffe_reference_imagenet", "caffe_reference_imagenet", 97, 50, 61),
    ("caffe_reference_places205", "caffe_reference_places205", 107, 60, 79),
    ("caffe_reference_places365", "caffe_reference_places365", 118, 72, 91),
    ("ResNet-152-model_imagenet", "resnet-152-torch-imagenet", 1325, 197, 242),
    ("ResNet-152-model_places365", "resnet-152-torch-places365", 1452, 278, 347),
]


def make_counts(intersection, concept_area, unit_area, concept_images=None) -> Counts:
    intersection = np.array(intersection, np.int64)
    units, concepts = intersection.shape
    images = [1] * concepts if concept_images is None else concept_images
    area = np.array(unit_area, np.int64).reshape(units, -1)
    return Counts(
        threshold=np.zeros(units, np.float32),
        intersection=intersection,
        concept_area=np.array(concept_area, np.int64),
        unit_area=area,
        unit_area_all=area.sum(axis=1),
        concept_images=np.array(images, np.int64),
    )


def make_vocabulary(primary, kinds) -> Vocabulary:
    return Vocabulary(
        names=tuple(f"c{j + 1}" for j in range(len(primary))),
        categories=("object", "part", "scene", "color")[:kinds],
        primary=np.array(primary, np.int64),
    )


def score(counts, vocabulary, **options) -> Scores:
    units = len(counts.threshold)
    settings = {"detector": ">", "iou_threshold": 0.04, "min_images": 0, "dead": np.zeros(units, bool)}
    return score_units(counts, vocabulary, **{**settings, **options})


def looped(counts, vocabulary, detector, iou_threshold, min_images, categories, dead):
    """One row a unit, by the letter: (cells of every category, category, concept, score, detector)."""
    rows = []
    for u in range(len(counts.threshold)):
        cells, winner, top = [], -1, Fraction(0)
        for k, name in enumerate(vocabulary.categories):
            cell, best = (0, 0, 0, 0), Fraction(0)
            for c in range(len(vocabulary.names)):
                if vocabulary.primary[c] != k or counts.concept_images[c] < min_images or dead[u]:
                    continue
                if categories and name not in categories:
                    continue
                both, area = int(counts.intersection[u, c]), int(counts.unit_area[u, k])
                union = area + int(counts.concept_area[c]) - both
                value = Fraction(both, union) if union else Fraction(0)
                if value > best:  # the first of equals stays
                    cell, best = (c + 1, int(counts.concept_area[c]), area, both), value
            cells.append((*cell, float(best)))
            if best > 0 and best >= top:  # the last of equals stays
                winner, top = k, best
        value = float(top)
        passes = value > iou_threshold if detector == ">" else value >= iou_threshold
        rows.append((cells, winner, cells[winner][0] if winner >= 0 else 0, value, winner >= 0 and passes))
    return rows


@st.composite
def layers(draw):
    units, concepts, kinds = draw(st.integers(0, 5)), draw(st.integers(0, 8)), draw(st.integers(0, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    spread = draw(st.sampled_from([1, 3, 40]))  # small spreads make ties, zeros and empty unions
    rng = np.random.default_rng(seed)
    area = rng.integers(0, spread + 1, concepts)
    counts = Counts(
        threshold=np.zeros(units, np.float32),
        intersection=rng.integers(0, area + 1, (units, concepts)),
        concept_area=area,
        unit_area=rng.integers(0, spread + 1, (units, kinds)),
        unit_area_all=np.zeros(units, np.int64),
        concept_images=rng.integers(0, 20, concepts),
    )
    vocabulary = make_vocabulary(rng.integers(-1, max(kinds, 0), concepts), kinds)
    options = {
        "detector": draw(st.sampled_from([">", ">="])),
        "iou_threshold": draw(st.sampled_from([0.0, 0.04, 1 / 3, 0.5, 1.0])),
        "min_images": draw(st.sampled_from([0, 1, 10, 30])),
        "categories": tuple(draw(st.lists(st.sampled_from(vocabulary.categories or ("x",)), unique=True)))
        if kinds
        else (),
        "dead": rng.random(units) < 0.2,
    }
    return counts, vocabulary, options


@given(layers())
def test_scores_equal_the_loop(layer):
    counts, vocabulary, options = layer
    scores = score_units(counts, vocabulary, **options)
    rows = looped(counts, vocabulary, **options)
    for u, (cells, category, concept, best, detector) in enumerate(rows):
        arrays = (scores.concept, scores.truth, scores.activation, scores.intersection, scores.iou)
        assert [tuple(a[u, k].item() for a in arrays) for k in range(len(cells))] == cells
        assert (scores.category[u], scores.best_concept[u]) == (category, concept)
        assert (scores.score[u], scores.detector[u]) == (best, detector)


@given(layers())
def test_summary_equals_sets(layer):
    counts, vocabulary, options = layer
    scores = score_units(counts, vocabulary, **options)
    rows = looped(counts, vocabulary, **options)
    found = summarise(scores, vocabulary.categories, concept_images=counts.concept_images, dead=options["dead"])
    strict = options["detector"] == ">"
    detected = [(category, concept) for _, category, concept, _, detector in rows if detector]
    assert found.units == len(rows)
    assert found.dead == options["dead"].sum()
    assert found.detectors == len(detected)
    assert found.unique_top_label == len(set(detected))
    assert found.rare == sum(counts.concept_images[c - 1] < 10 for _, c in detected)
    total = 0
    for k, name in enumerate(vocabulary.categories):
        limit = options["iou_threshold"]
        own = [
            cells[k][0]
            for cells, *_ in rows
            if cells[k][0] and (cells[k][4] > limit if strict else cells[k][4] >= limit)
        ]
        top = [concept for category, concept in detected if category == k]
        counted = found.by_category[name]
        assert (counted.detectors_per_category, counted.unique_per_category) == (len(own), len(set(own)))
        assert (counted.detectors_top_label, counted.unique_top_label) == (len(top), len(set(top)))
        total += len(set(own))
    assert found.unique_per_category == total
    assert Summary.from_record(found.record()) == found


@pytest.mark.parametrize(("name", "network", "detectors", "top_label", "per_category"), RELEASED)
def test_released_tables_give_the_published_figures(shared: Path, name, network, detectors, top_label, per_category):
    table = read_units_csv(shared / "reference" / "netdissect" / f"{name}.csv")
    scores = score_table(
        table.concept, table.truth, table.activation, table.intersection, detector=">", iou_threshold=0.04
    )
    assert np.array_equal(iou(table.intersection, table.activation, table.truth), table.iou)
    assert np.array_equal(scores.score, table.score)
    assert tuple(table.categories[k] for k in scores.category) == table.category
    best = zip(scores.category, table.labels, strict=True)
    assert tuple(labels[k] for k, labels in best) == table.label

    summary = summarise(scores, table.categories)
    assert (summary.detectors, summary.unique_top_label, summary.unique_per_category) == (
        detectors,
        top_label,
        per_category,
    )
    with (shared / "reference" / "published_detectors.csv").open(encoding="utf-8", newline="") as file:
        published = next(row for row in csv.DictReader(file) if row["network"] == network)
    assert (int(published["units"]), int(published["detectors_all"])) == (summary.units, detectors)
    assert int(published["unique_all"]) == per_category
    for category, counted in summary.by_category.items():
        assert counted.detectors_per_category == int(published[f"detectors_{category}"])
        assert counted.unique_per_category == int(published[f"unique_{category}"])


def test_unlabelled_cells_of_the_released_tables_have_no_iou(shared: Path):
    table = read_units_csv(shared / "reference" / "netdissect" / "ResNet-152-model_places365.csv")
    texture = table.categories.index("texture")
    blank = np.array([row[texture] == "" for row in table.labels])
    assert blank.sum() == 695
    assert (table.iou[blank, texture] > 0).all()
    scores = score_table(
        table.concept, table.truth, table.activation, table.intersection, detector=">=", iou_threshold=0.0
    )
    assert not scores.iou[blank, texture].any()
    assert not scores.passes[blank, texture].any()


def test_iou_is_exact_at_the_threshold():
    counts = make_counts([[1], [1]], [25], [[1], [1]])  # 1 / 25
    vocabulary = make_vocabulary([0], 1)
    assert score(counts, vocabulary).detector.tolist() == [False, False]
    assert score(counts, vocabulary, detector=">=").detector.tolist() == [True, True]


def test_iou_is_zero_where_the_union_is():
    zero = np.zeros(3, np.int64)
    assert iou(zero, zero, zero).tolist() == [0.0, 0.0, 0.0]


def test_iou_of_large_counts_is_rounded_once():
    both, area, truth = 2**40 + 1, 2**41 + 3, 2**42 + 5
    value = iou(np.array([both]), np.array([area]), np.array([truth]))
    assert value.tolist() == [float(Fraction(both, area + truth - both))]


def test_first_concept_and_later_category_win_ties():
    counts = make_counts([[5, 5, 5]], [10, 10, 10], [[10, 10]])
    scores = score(counts, make_vocabulary([0, 0, 1], 2))
    assert scores.concept.tolist() == [[1, 3]]
    assert scores.category.tolist() == [1]
    assert scores.best_concept.tolist() == [3]


def test_rare_concepts_and_other_categories_are_left_out():
    counts = make_counts([[9, 5, 4]], [10, 10, 10], [[10, 10]], concept_images=[9, 10, 50])
    vocabulary = make_vocabulary([0, 0, 1], 2)
    assert score(counts, vocabulary, min_images=10).concept.tolist() == [[2, 3]]
    assert score(counts, vocabulary, min_images=11).concept.tolist() == [[0, 3]]
    assert score(counts, vocabulary, categories=("object",)).concept.tolist() == [[1, 0]]


def test_a_concept_without_category_is_never_scored():
    counts = make_counts([[9, 1]], [10, 10], [[10, 10]])
    assert score(counts, make_vocabulary([-1, 1], 2)).best_concept.tolist() == [2]


def test_unknown_category_is_named():
    counts = make_counts([[1]], [1], [[1, 1]])
    with pytest.raises(SettingsError, match=r"names 'objects', which the dataset lacks; use object\."):
        score(counts, make_vocabulary([0], 2), categories=("objects",))


def test_dead_units_detect_nothing_even_at_threshold_zero():
    counts = make_counts([[10], [10], [0]], [10], [[10], [10], [0]])
    scores = score(
        counts,
        make_vocabulary([0], 1),
        detector=">=",
        iou_threshold=0.0,
        dead=np.array([False, True, False]),
    )
    assert scores.detector.tolist() == [True, False, False]
    assert scores.category.tolist() == [0, -1, -1]
    assert scores.score.tolist() == [1.0, 0.0, 0.0]
    assert not scores.truth[1:].any()
    assert not scores.activation[1:].any()


def test_no_detectors_is_a_result():
    counts = make_counts([[0, 0], [0, 0]], [5, 5], [[3, 3], [0, 0]])
    scores = score(counts, make_vocabulary([0, 1], 2))
    summary = summarise(scores, ("object", "part"), concept_images=counts.concept_images)
    assert (summary.detectors, summary.unique_top_label, summary.unique_per_category) == (0, 0, 0)
    assert summary.rare == 0
    assert summary.warnings == ()


def test_summary_warns_of_few_positions_and_rare_concepts():
    counts = make_counts([[10], [10]], [10], [[10], [10]], concept_images=[9])
    scores = score(counts, make_vocabulary([0], 1))
    summary = summarise(
        scores, ("object",), concept_images=counts.concept_images, rank=99, positions=19_999, notes=["n"]
    )
    assert summary.rare == 2
    assert summary.notes == ("n",)
    few, rare = summary.warnings
    assert few.startswith("At most 99 of 19999 positions")
    assert rare.startswith("2 of 2 detectors rest on concepts with fewer than 10 images")
    enough = replace(summary, rank=100, rare=0)
    assert enough.warnings == ()
    assert summarise(scores, ("object",), concept_images=np.array([10])).rare == 0
    assert summarise(scores, ("object",)).rare is None
