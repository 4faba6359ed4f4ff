"""The benchmark's networks on the command line; nothing here reaches for a server that is not on this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest

from ndcli.models import WIDEST, print_rows, state_of_weights
from ndengine.models.zoo import rows as zoo_rows
from ndengine.models.zoo.files import Edition, RemoteFile
from ndengine.models.zoo.rows import find_row, rows
from tests.cli.conftest import Invoke, write_hand_made


def published(where: str) -> list[str]:
    """The words of a row whose weights can be fetched, in a table of any width."""
    return ["published:", f"{where}.csail.mit.edu"]


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_models_lists_the_benchmark_in_short(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("models", "--cache", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    found = lines(done.stdout)
    assert [
        "alexnet-places205",
        "CaffeNet",
        "227",
        "conv5,",
        "4",
        "more",
        *published("netdissect"),
        "107",
        "(79)",
    ] in found
    assert ["alexnet-hybrid", "CaffeNet", "227", "conv5,", "4", "more", "yours", "115", "(85)"] in found
    assert ["alexnet-random", "CaffeNet", "227", "conv5,", "4", "more", "random", "9", "(2)"] in found
    assert [
        "resnet152-places365",
        "ResNet-152",
        "224",
        "res5c,",
        "4",
        "more",
        *published("netdissect"),
        "1452",
        "(347)",
    ] in found
    names = [line[0] for line in found if line]
    short = [row.name for row in rows() if row.family not in ("rotated", "iterations")]
    assert names[3 : 3 + len(short) + 2] == [*short, "alexnet-places205-rotated-N", "alexnet-places205-iter-N"]
    assert "57 networks" in done.stdout
    assert "Images of all: blue, green and red from 0 to 255 less 109.5388, 118.6897, 124.6901." in done.stdout


def test_models_of_one_family_are_listed_one_by_one(invoke: Invoke, tmp_path: Path) -> None:
    found = lines(invoke("models", "--family", "rotated", "--cache", tmp_path).stdout)
    names = [line[0] for line in found if line and line[0].startswith("alexnet")]
    assert names == [row.name for row in rows() if row.family == "rotated"]
    assert "101" not in names


def test_models_json_has_all_of_it(invoke: Invoke, tmp_path: Path) -> None:
    record = json.loads(invoke("models", "--json", "--cache", tmp_path).stdout)
    assert record["cache"] == str(tmp_path)
    assert [entry["name"] for entry in record["models"]] == [row.name for row in rows()]
    found = json.loads(invoke("models", "--family", "alexnet", "--json").stdout)["models"]
    assert {entry["family"] for entry in found} == {"alexnet"}
    places = next(entry for entry in found if entry["name"] == "alexnet-places205")
    assert places["layers"] == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert places["input_size"] == [227, 227]
    assert places["preprocessing"] == {"channels": "bgr", "mean": [109.5388, 118.6897, 124.6901], "scale": 255}
    assert places["weights"][0]["file"] == "caffe_reference_places205.caffemodel"
    assert places["weights"][0]["urls"][0].startswith("http://netdissect.csail.mit.edu/")
    assert places["published"]["detectors"] == 107
    assert places["published"]["by_category"]["scene"] == {"detectors": 17, "unique": 12}


@pytest.mark.parametrize(("columns", "has_sizes"), [(80, False), (127, False), (128, True), (155, True)])
def test_the_table_fits_the_terminal(
    columns: int, has_sizes: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No name is broken, and no line is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for family in (None, *dict.fromkeys(row.family for row in rows())):
        chosen = [row for row in rows() if family in (None, row.family)]
        print_rows(chosen, tmp_path, is_all=family is None)
        table = re.split("N of |Images of |Weights: ", click.unstyle(capsys.readouterr().out))[0].splitlines()
        assert max(map(len, table)) <= columns
        assert any("published: netdissect.csail.mit.edu" in line for line in table) is (
            columns >= WIDEST and family not in ("self-supervised", "iterations")
        )
        assert any("227" in line for line in table) is (has_sizes and family not in ("googlenet", "vgg16", "resnet152"))
        if family is not None:
            names = {line.split()[0] for line in table if line.strip()}
            assert names >= {row.name for row in chosen}


def test_models_knows_what_the_cache_has(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "weights" / "places_iter_44.caffemodel"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    found = lines(invoke("models", "--family", "iterations", "--cache", tmp_path).stdout)
    assert [
        "alexnet-places205-iter-44",
        "CaffeNet,",
        "still",
        "training",
        "227",
        "conv5,",
        "2",
        "more",
        "cached",
    ] in found
    record = json.loads(invoke("models", "show", "alexnet-places205-iter-44", "--json", "--cache", tmp_path).stdout)
    assert (record["weights_cached"], record["iteration"]) == (str(file), 44)
    row = find_row("alexnet-places205-iter-99")
    assert row is not None
    assert state_of_weights(row, tmp_path) == "yours"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alexnet-places205", ("CaffeNet", "109.5388, 118.6897, 124.6901", "a run takes conv5", "107 detectors")),
        ("resnet152-places365", ("res5c is caffe.Eltwise_510", "never published", "resnet152_places365.caffemodel")),
        ("alexnet-places365-gapplus", ("conv5, conv6", "Reconstructed", "not in the cache")),
        ("alexnet-places205-rotated-060", ("power 0.6, seed 1", "caffe_reference_places205.caffemodel")),
        ("alexnet-places205-iter-2400818", ("2,400,818", "places_iter_2400818.caffemodel")),
        ("egomotion", ("conv5 is cls_conv5", "alexnet-weakly_egomotion-a0a681d1.pt", "Ruth Fong")),
    ],
)
def test_models_show_tells_all_of_one(invoke: Invoke, tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    text = invoke("models", "show", name, "--cache", tmp_path).stdout
    assert text.startswith(f"{name}: ")
    assert all(word in text for word in words)


def test_models_show_gives_the_figures_by_category(invoke: Invoke) -> None:
    found = lines(invoke("models", "show", "alexnet-places205").stdout)
    assert ["object", "78", "36"] in found
    assert ["color", "2", "2"] in found


@pytest.mark.parametrize("command", ["show", "fetch"])
def test_unknown_networks_are_told_close_names(fails: Callable[..., str], command: str) -> None:
    assert "close names are alexnet-places205" in fails("models", command, "alexnet-places206")


def test_an_unknown_family_is_a_wrong_call(invoke: Invoke) -> None:
    done = invoke("models", "--family", "resnet")
    assert done.exit_code == 2
    assert "resnet152" in done.stderr


@pytest.mark.parametrize("words", [("show", "alexnet-places205"), ("fetch", "alexnet-places205")])
@pytest.mark.parametrize(
    ("lost", "remedy"),
    [
        (("--json",), "give it behind {}."),
        (("--cache", "elsewhere"), "give it behind {}."),
        (("--family", "alexnet"), "leave it out with {}."),
    ],
)
def test_options_of_the_list_are_not_lost_on_a_subcommand(
    invoke: Invoke, words: tuple[str, str], lost: tuple[str, ...], remedy: str
) -> None:
    done = invoke("models", *lost, *words)
    assert done.exit_code == 2
    found = " ".join(done.stderr.split())
    assert f"{lost[0]} in front of {words[0]} is an option of the list of networks; {remedy.format(words[0])}" in found


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on this machine; its URL. It has a file ``net.caffemodel`` and its prototxt."""
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "net.caffemodel").write_bytes(b"weights")
    (folder / "net.prototxt").write_text("layer {}")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *a: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, *editions: Edition) -> None:
    """Make these the editions of alexnet-places205."""
    row = find_row("alexnet-places205")
    assert row is not None
    monkeypatch.setattr(zoo_rows, "find_row", lambda name: replace(row, editions=editions))


def edition(base: str, stem: str = "net", *others: str) -> Edition:
    files = (RemoteFile(f"{stem}.{end}", (*others, f"{base}{stem}.{end}")) for end in ("caffemodel", "prototxt"))
    return Edition(*files, "this test")


def test_models_fetch_says_where_the_files_lie(
    invoke: Invoke, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, edition(server))
    cache = tmp_path / "cache"
    weights, prototxt = (cache / "weights" / f"net.{end}" for end in ("caffemodel", "prototxt"))
    done = invoke("models", "fetch", "alexnet-places205", "--cache", cache)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [f"weights: {weights}", f"prototxt: {prototxt}"]
    assert (weights.read_bytes(), prototxt.read_text()) == (b"weights", "layer {}")
    again = json.loads(invoke("models", "fetch", "alexnet-places205", "--cache", cache, "--json").stdout)
    assert (again["weights"], again["prototxt"]) == (str(weights), str(prototxt))
    assert len(again["sha256"]) == 64
    assert invoke("models", "fetch", "alexnet-places205", "--cache", cache, "--quiet").output == ""


def test_models_fetch_goes_on_to_other_weights(
    invoke: Invoke, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, edition(server, "gone"), edition(server))
    done = invoke("models", "fetch", "alexnet-places205", "--cache", tmp_path)
    assert f"weights: {tmp_path / 'weights' / 'net.caffemodel'}" in done.stdout
    assert f"{server}gone.caffemodel can't be fetched (404 File not found); other weights of alexnet" in done.stderr


def test_models_fetch_does_without_a_prototxt(
    invoke: Invoke, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server" / "net.prototxt").unlink()
    publish(monkeypatch, edition(server))
    done = invoke("models", "fetch", "alexnet-places205", "--cache", tmp_path)
    assert "prototxt: none; the definition is ndengine's own" in done.stdout
    assert "net.caffemodel is used with ndengine's own definition" in done.stderr


def test_models_fetch_tells_that_the_servers_are_gone(
    fails: Callable[..., str], server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = f"{server}mirror/gone.caffemodel"
    publish(monkeypatch, edition(server, "gone", mirror))
    message = fails("models", "fetch", "alexnet-places205", "--cache", tmp_path)
    assert f"{mirror} (404 File not found), {server}gone.caffemodel (404 File not found)" in message
    where = f"put it into {tmp_path / 'weights'} as gone.caffemodel, or give it to `ndengine run` with --weights FILE."
    assert message.endswith(where)
    publish(monkeypatch, edition(server, "gone"))
    one = fails("models", "fetch", "alexnet-places205", "--cache", tmp_path)
    assert one.startswith(f"{server}gone.caffemodel can't be fetched (404 File not found); ")
    assert one.endswith(where)


def test_models_fetch_tells_that_weights_were_never_published(fails: Callable[..., str], tmp_path: Path) -> None:
    message = fails("models", "fetch", "alexnet-hybrid", "--cache", tmp_path)
    assert message.startswith("The weights of alexnet-hybrid were never published; put yours into ")
    assert f"{tmp_path / 'weights'} as caffe_reference_imagenetplaces205.caffemodel" in message
    assert message.endswith("or give it to `ndengine run` with --weights FILE, or --weights random.")


def test_a_run_without_weights_to_be_had_says_so(fails: Callable[..., str], broden: Path, tmp_path: Path) -> None:
    words = ("--model", "colorization", "--data", broden, "--cache", tmp_path / "cache", "--out", tmp_path / "out")
    message = fails("run", *words, "--quiet")
    assert message.startswith("The weights of colorization were never published; ")


def test_a_result_is_shown_beside_the_published_figures(
    invoke: Invoke, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ndcli.summary import print_summary, summary_record
    from ndengine.report.page import render_layer, render_overview

    found = write_hand_made(tmp_path / "out", "conv4", "conv5")
    sentence = "Published for alexnet-places205, conv5: 107 detectors among 256 units, 79 unique detectors per category"
    for model, weights, is_shown in (
        ("alexnet-places205", "default", True),
        ("alexnet-places205", "mine.caffemodel", True),
        ("alexnet-places205", "random", False),
        ("alexnet-places205-rotated-100", "default", False),
        ("vgg16", "default", False),
    ):
        shown = replace(found, settings={**found.settings, "model": model, "weights": weights})
        print_summary(shown)
        assert (sentence in capsys.readouterr().out) is is_shown
        assert (sentence in render_layer(shown, shown.layers["conv5"], tmp_path, alone=True)) is is_shown
        assert sentence not in render_layer(shown, shown.layers["conv4"], tmp_path, alone=True)
        assert (f"conv5: {sentence}" in render_overview(shown)) is is_shown
        layers = summary_record(shown)["layers"]
        assert ("published" in layers["conv5"]) is is_shown
        assert "published" not in layers["conv4"]
        if is_shown:
            assert layers["conv5"]["published"]["unique_per_category"] == 79
