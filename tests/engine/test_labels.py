"""Shortened names in a figure: short enough, and different where the names are."""

from __future__ import annotations

from itertools import product

import pytest

from ndengine.report.labels import shorten_apart

GRID = [f"rotate-{power}-rotate-seed-{seed}" for power, seed in product((0.5, 1.0), (1, 2))]


def test_short_names_stay_as_they_are() -> None:
    names = ["net", "", "x" * 32, "a – b"]
    assert shorten_apart(names, 32) == names
    assert shorten_apart([], 32) == []


def test_what_all_have_in_common_gives_way_in_whole_words() -> None:
    assert shorten_apart([f"alexnet-places205-{name}" for name in GRID], 32) == [f"…{name}" for name in GRID]
    assert shorten_apart([f"encoder.layer.{k}.output.dense" for k in (1, 11)], 24) == [
        "…layer.1.output.dense",
        "…layer.11.output.dense",
    ]


def test_a_first_word_that_tells_names_apart_stays() -> None:
    names = [f"{model}-{name}" for model in ("vgg16-imagenet", "alexnet-places205") for name in GRID]
    assert shorten_apart(names, 32) == [f"{model}…{name}" for model in ("vgg16", "alexnet") for name in GRID]
    published = [f"published: caffe_reference_{name}" for name in ("imagenet", "places205")]
    assert shorten_apart([*published, "net"], 32) == [
        "published:…reference_imagenet",
        "published:…reference_places205",
        "net",
    ]


def test_words_in_common_give_way_within_names_too() -> None:
    names = [f"alexnet-{model}-preset-full-{name}" for model in ("imagenet", "places205") for name in GRID]
    assert shorten_apart(names, 32)[::4] == ["…imagenet…0.5-rotate-seed-1", "…places205…0.5-rotate-seed-1"]


def test_names_with_other_numbers_of_words() -> None:
    names = ["alexnet-places205-rotate-0.5-rotate-seed-1", "alexnet-places205-rotate-0.25-at-the-end-of-all"]
    assert shorten_apart(names, 32) == ["…rotate-0.5-rotate-seed-1", "…rotate-0.25-at-the-end-of-all"]
    ends = "a" * 20, "c" * 20
    assert shorten_apart([f"{ends[0]}-{middle}-{ends[1]}" for middle in ("bb", "b-b")], 10) == ["…bb…", "…b-b…"]


def test_a_name_alone_is_cut_in_the_middle() -> None:
    assert shorten_apart(["published: caffe_reference_places205", "net"], 20) == ["published:…places205", "net"]


def test_names_that_no_cut_tells_apart_are_numbered() -> None:
    names = [50 * "x" + letter + 50 * "x" for letter in "abc"]
    assert shorten_apart(names, 9) == ["xxxx…xxxx", "xxx…xx #2", "xxx…xx #3"]
    assert shorten_apart(["xxxx…xxxx", names[0]], 9) == ["xxxx…xxxx", "xxx…xx #2"]


@pytest.mark.parametrize("letters", [8, 12, 20, 32])
def test_different_names_stay_different_and_short(letters: int) -> None:
    words = ("", "net", "a-long-word", "0.5", "0.25", "_", "…", "#2")
    names = ["-".join(parts) for parts in product(words, repeat=3)] * 2
    short = shorten_apart(names, letters)
    assert len(set(short)) == len(set(names))
    assert short[: len(names) // 2] == short[len(names) // 2 :]
    assert max(map(len, short)) <= letters * 5 // 4
    assert all(cut == name for cut, name in zip(short, names, strict=True) if len(name) <= letters)
