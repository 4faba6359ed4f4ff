"""The paper in small, with little to learn from and few scenes: everything is carried out, taken again, and told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from pages import links, read

import ndengine
from ndengine.datasets import open as opening
from ndengine.datasets.scenes import scenes_folder
from ndengine.errors import ResultError
from ndengine.experiments import Paper, reproduce_paper
from ndengine.experiments import paper as module
from ndengine.models.download import hash_file
from ndengine.models.small import crew
from ndengine.models.small.rows import NETWORKS, Budget
from ndengine.models.small.store import Store
from ndengine.models.small.train import train_small
from ndengine.series import run as series

TINY = Budget(images=64, epochs=1)  # two steps
SCENES = 40
FEW = f"""
import ndengine.datasets.open as opening
from ndengine.datasets.scenes import scenes_folder
opening.scenes_folder = lambda cache, progress: scenes_folder(cache, progress, images={SCENES})
"""


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "scenes_folder", lambda cache, progress: scenes_folder(cache, progress, images=SCENES))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the base has been trained, a little."""
    folder = tmp_path_factory.mktemp("cache")
    train_small(NETWORKS["small-base"], folder, TINY, after_epoch=lambda epoch: None)
    return folder


def carry_out(out: Path, cache: Path, *only: str, overwrite: bool = False) -> Paper:
    return reproduce_paper(out, cache=cache, only=only, threads=2, overwrite=overwrite, budget=TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Paper:
    """Two experiments, carried out once for all tests that only look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "scenes_folder", lambda cache, progress: scenes_folder(cache, progress, images=SCENES))
        return carry_out(tmp_path_factory.mktemp("made") / "out", cache, "iterations", "layers")


def test_experiments_leave_series_comparisons_and_a_page(made: Paper) -> None:
    assert [chapter.experiment.name for chapter in made.chapters] == ["layers", "iterations"]
    assert [o.run.name for o in made.chapters[1].outcomes] == ["after-000", "after-001", "after-002"]
    assert {outcome.fate for outcome in made.outcomes} == {"computed"}
    assert made.trained == ()
    for name in ("index.html", "paper.json", "layers/series.json", "layers/compare/index.html"):
        assert (made.folder / name).is_file(), name
    dissection = ndengine.load(made.folder / "layers" / "trained")
    assert list(dissection.layers) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert len(dissection.image_names) == SCENES


def test_the_record_tells_all(made: Paper) -> None:
    record = json.loads((made.folder / "paper.json").read_text())
    assert (record["format"], record["version"]) == ("ndengine-paper", 1)
    assert record["trainings"]["small-base"]["budget"] == {"images": 64, "epochs": 1}
    layers, iterations = record["experiments"]
    assert [f["verdict"] in ("agrees", "differs", "open") for f in layers["findings"]] == [True, True]
    last = iterations["runs"][-1]["layers"]["conv5"]
    upper = sum(last["by_category"][kind]["unique_per_category"] for kind in ("object", "part"))
    assert iterations["findings"][0]["here"].endswith(f", {upper} after 2.")
    assert record["provenance"]["machine"]["cores"] > 0


def test_the_page_shows_figures_findings_and_networks(made: Paper) -> None:
    page = read(made.folder / "index.html")
    assert [tag.text for tag in page.all("h1")] == ["The paper in small"]
    headings = [tag.text.strip() for tag in page.all("h2")]
    assert headings == ["Outcome", "Trained and untrained, layer by layer", "Training iterations", "The networks"]
    assert len(page.all("svg")) == 3  # two curves over layers, one over iterations
    text = " ".join(tag.text for tag in page.all("body"))
    for chapter in made.chapters:
        for finding in chapter.findings:
            assert finding.paper in text
            assert finding.here in text
            assert finding.rule in text
    assert "small-base" in text
    ids = [tag.attributes["id"] for tag in page.tags if "id" in tag.attributes]
    assert len(ids) == len(set(ids))


def test_the_page_s_links_lead_somewhere(made: Paper) -> None:
    page = read(made.folder / "index.html")
    found = [href for href in links(page) if not href.startswith("#")]
    assert any("layers/trained/report/" in href for href in found)
    for href in found:
        assert (made.folder / unquote(href.partition("#")[0])).is_file(), href


def test_what_is_there_is_taken(made: Paper, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr(crew.subprocess, "Popen", refuse)
    again = carry_out(made.folder, cache, "iterations", "layers")
    assert {outcome.fate for outcome in again.outcomes} == {"taken"}
    assert [c.findings for c in again.chapters] == [c.findings for c in made.chapters]


def test_a_folder_with_something_else_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ResultError, match=r"is not empty and holds nothing of ndengine paper; choose another --out"):
        carry_out(tmp_path, cache, "iterations")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_in_use_is_refused(tmp_path: Path, cache: Path) -> None:
    with module._claimed(tmp_path / "out"), pytest.raises(ResultError, match="in use by another process"):
        carry_out(tmp_path / "out", cache, "iterations")


def test_results_of_other_weights_are_not_taken(tmp_path: Path, cache: Path) -> None:
    """As after a training on another machine, which rounds otherwise."""
    mine, out = tmp_path / "cache", tmp_path / "out"
    subprocess.run(["cp", "-r", str(cache), str(mine)], check=True)
    carry_out(out, mine, "iterations")
    store, row = Store(mine), NETWORKS["small-base"]
    changed = bytearray(store.weights(row, 1).read_bytes())
    changed[-1] ^= 1
    store.weights(row, 1).write_bytes(changed)
    receipt = store.home(row) / "training.json"
    known = json.loads(receipt.read_text())
    known["files"][store.weights(row, 1).name] = hash_file(store.weights(row, 1))
    receipt.write_text(json.dumps(known))
    with pytest.raises(
        ResultError, match=r"after-001 was made when small-base-iter-1 had other weights; .*--overwrite"
    ):
        carry_out(out, mine, "iterations")
    again = carry_out(out, mine, "iterations", overwrite=True)
    assert [outcome.fate for outcome in again.outcomes] == ["taken", "computed", "taken"]


def test_a_run_that_fails_leaves_the_others(tmp_path: Path, cache: Path) -> None:
    out = tmp_path / "out"
    (out / "iterations" / "after-001").mkdir(parents=True)
    (out / module.LOCK).touch()
    (out / "iterations" / series.LOCK).touch()
    (out / "iterations" / "after-001" / "mine.txt").write_text("in the way")
    made = carry_out(out, cache, "iterations")
    assert [outcome.fate for outcome in made.outcomes] == ["computed", "failed", "computed"]
    assert "after-001 failed: " in (out / "index.html").read_text()
    assert made.chapters[0].findings[0].here.endswith("after 2.")


@pytest.mark.slow
def test_everything_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Killed while it trains and while it dissects; what had been done by then is not done again."""
    cache, out = tmp_path / "cache", tmp_path / "out"
    code = (
        f"{FEW}\nfrom pathlib import Path\nfrom ndengine.experiments import reproduce_paper\n"
        "from ndengine.models.small.rows import Budget\n"
        f"reproduce_paper(Path({str(out)!r}), cache=Path({str(cache)!r}), threads=1, budget=Budget(64, 1))\n"
    )
    here = str(Path(ndengine.__file__).parents[1])
    store = Store(cache)

    def run_until(happened: Path) -> None:
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": here}, start_new_session=True)
        deadline = time.monotonic() + 300
        while not happened.exists():
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, f"{happened} never came"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    run_until(store.home(NETWORKS["small-repeat1"]))
    kept = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/training.json")}
    assert 0 < len(kept) < len(NETWORKS)
    run_until(out / "rotation" / "rotated-0.0" / "result.json")
    made = reproduce_paper(out, cache=cache, threads=1, budget=TINY)
    assert made.trained == ()
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    fates = {f"{c.experiment.name}/{o.run.name}": o.fate for c in made.chapters for o in c.outcomes}
    assert {fates[f"layers/{name}"] for name in ("trained", "untrained-0", "untrained-2")} == {"taken"}
    assert fates["rotation/rotated-0.0"] == "taken"
    assert fates["supervision/puzzle"] == "computed"
    assert set(fates.values()) == {"taken", "computed"}
    assert len(fates) == 4 + 16 + 3 + 7 + 5
    assert all(finding.rule for chapter in made.chapters for finding in chapter.findings)
    read(out / "index.html")
