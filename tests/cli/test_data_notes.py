"""What a user sees of a dataset that a run accepts though nobody may have meant it so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ndengine
from tests.cli.conftest import Invoke
from tests.engine.tinybroden import LABEL_SIZE, edit, write_map


def repeat_a_row(broden: Path) -> None:
    lines = (broden / "index.csv").read_text().splitlines()
    (broden / "index.csv").write_text("\n".join([*lines, lines[1]]) + "\n")


def take_a_concept_from_its_category(broden: Path) -> None:
    lines = (broden / "c_texture.csv").read_text().splitlines()
    (broden / "c_texture.csv").write_text("\n".join(line for line in lines if "striped" not in line) + "\n")


def test_a_run_says_what_its_dataset_may_not_mean(invoke: Invoke, arguments: list[str], broden: Path) -> None:
    repeat_a_row(broden)
    take_a_concept_from_its_category(broden)
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    twice, nobodys = "1 image stands in index.csv more than once (such as 000.png, 2 times)", "The concept 11 (striped)"
    for note in (twice, nobodys):
        assert done.stderr.count(f"Note: {note}") == done.stdout.count(f"Note: {note}") == 1
    again = invoke(*arguments)
    assert "is shown without computing" in again.stderr
    assert again.stdout == done.stdout
    out = Path(arguments[arguments.index("--out") + 1])
    assert [note.split("more")[0] for note in ndengine.load(out).layer("relu2").notes][-1].startswith(nobodys)


def test_only_images_of_the_run_are_told_of(invoke: Invoke, arguments: list[str], broden: Path) -> None:
    repeat_a_row(broden)
    assert "more than once" not in invoke(*arguments, "--limit", 12).output


@pytest.mark.parametrize("spoil", [repeat_a_row, take_a_concept_from_its_category])
def test_strict_check_refuses_what_a_run_accepts(invoke: Invoke, broden: Path, spoil: Callable[[Path], None]) -> None:
    assert invoke("data", "check", broden, "--strict").exit_code == 0  # though it has a whole-image label 0
    spoil(broden)
    lax, strict = invoke("data", "check", broden), invoke("data", "check", broden, "--strict")
    assert (lax.exit_code, strict.exit_code) == (0, 1)
    assert lax.stdout.splitlines()[-1] == "A run accepts this dataset."
    assert strict.stdout.splitlines()[-1].endswith("--strict refuses.")
    quiet = invoke("data", "check", broden, "--strict", "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (1, "", "")
    record = json.loads(invoke("data", "check", broden, "--strict", "--json", "-q").stdout)
    assert record["sound"] is True
    assert record["doubts"] == sum(not f["blocks"] and not f["harmless"] for f in record["findings"]) > 0


def test_strict_or_not_a_fault_is_one(invoke: Invoke, broden: Path) -> None:
    write_map(broden / "images/sub/000_color_0.png", np.full(LABEL_SIZE, 301, np.int32))
    for options in ((), ("--strict",)):
        done = invoke("data", "check", broden, *options)
        assert done.exit_code == 1
        assert done.stdout.splitlines()[-1].endswith("findings that a run refuses.")


def test_a_fault_comes_with_its_remedy(invoke: Invoke, fails: Callable[..., str], broden: Path) -> None:
    edit(broden / "index.csv", ",9,0", ",street-s,0")
    sentence = (
        f"{broden / 'index.csv'} line 3 has 'street-s' as scene, the name of 9, where an id or the path of a label map "
        "is expected; write 9 instead."
    )
    assert f"  {sentence}" in invoke("data", "check", broden).stdout.splitlines()
    assert fails("data", "pack", broden, "--out", broden / "p.h5") == sentence
