"""A series file: what it may say, which runs it stands for, and what is wrong with it, file, table and key."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from ndengine.errors import SeriesError
from ndengine.provenance import usable_cores
from ndengine.series import Series, SeriesRun, read_series
from ndengine.series.values import OPTIONS
from ndengine.settings import Settings, knobs_of

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [
    (name, block)
    for name in ("README.md", "ndengine/SERIES.md")
    for block in re.findall(r"```toml\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
]


@pytest.fixture
def written(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str) -> Path:
        path = tmp_path / "series.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def names(series: Series) -> list[str]:
    return [run.name for run in series.runs]


def test_every_setting_is_an_option() -> None:
    settings = asdict(Settings())
    fields = {*settings, *settings["knobs"]} - {"knobs"}
    assert {field for field, _ in OPTIONS.values()} == fields
    assert {"layer", "min-images", "iou-threshold", "quantile"} <= OPTIONS.keys()


def test_defaults_and_runs_that_override_them(written, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    series = read_series(
        written(
            """
            title = "Two"
            model = "alexnet"
            layer = ["conv4", "conv5"]
            data = "tiny"
            preset = "paper"
            quantile = 0.01
            size = "64x48"
            mean = [0.5, 0.5, 0.5]
            categories = "object, part"
            threads = 3

            [[run]]
            name = "plain"

            [[run]]
            name = "other"
            preset = "lite"
            layer = "conv5"
            overlap = "once"
            min-images = 0
            """
        )
    )
    assert (series.title, series.source) == ("Two", tmp_path / "series.toml")
    shared = {
        "model": "alexnet",
        "data": str(tmp_path / "tiny"),
        "size": (64, 48),
        "mean": (0.5, 0.5, 0.5),
        "categories": ("object", "part"),
        "threads": 3,
    }
    plain, other = (run.settings for run in series.runs)
    assert plain == Settings(
        layers=("conv4", "conv5"), preset="paper", knobs=knobs_of("paper", quantile="0.01"), **shared
    )
    assert other == Settings(
        layers=("conv5",),
        preset="lite",
        knobs=knobs_of("lite", quantile="0.01", overlap="once"),
        min_images=0,
        **shared,
    )
    assert [(run.label, run.group, run.x) for run in series.runs] == [("plain", "", None), ("other", "", None)]


def test_all_cores_work_unless_the_file_says_otherwise(written) -> None:  # type: ignore[no-untyped-def]
    assert read_series(written("[[run]]")).runs[0].settings.threads == usable_cores()


def test_a_grid_is_every_combination_and_its_first_key_changes_slowest(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(
        written(
            """
            [[run]]
            weights = "random"
            over = { seed = [3, 4], layer = ["conv1", ["conv2", "conv3"]] }
            """
        )
    )
    assert [(run.settings.seed, run.settings.layers) for run in series.runs] == [
        (3, ("conv1",)),
        (3, ("conv2", "conv3")),
        (4, ("conv1",)),
        (4, ("conv2", "conv3")),
    ]
    assert names(series)[:2] == ["scenesnet-random-seed-3-conv1", "scenesnet-random-seed-3-conv2-conv3"]


def test_checkpoints_by_pattern_and_by_list(written, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    series = read_series(
        written(
            """
            model = "net.py:build"

            [[run]]
            weights = "snapshots/iter_{iteration:04d}.pth"
            over.iteration = [1, 20]

            [[run]]
            name = "last"
            group = "net-build"
            label = "after {iteration}"
            over = [{ iteration = 400, weights = "final.pth" }]
            """
        )
    )
    assert [run.settings.weights for run in series.runs] == [
        str(tmp_path / name) for name in ("snapshots/iter_0001.pth", "snapshots/iter_0020.pth", "final.pth")
    ]
    assert {run.settings.model for run in series.runs} == {f"{tmp_path / 'net.py'}:build"}
    assert names(series) == ["net-build-iteration-1", "net-build-iteration-20", "last"]
    assert [(run.label, run.group, run.x, run.x_name) for run in series.runs] == [
        ("net-build-iteration-1", "net-build", 1.0, "training iteration"),
        ("net-build-iteration-20", "net-build", 20.0, "training iteration"),
        ("after 400", "net-build", 400.0, "training iteration"),
    ]


def test_networks_that_are_called_by_their_iteration_make_one_curve(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(written("[[run]]\nmodel = 'alexnet-places205-iter-{iteration}'\nover.iteration = [1, 20]"))
    assert [(run.settings.model, run.name, run.group, run.x) for run in series.runs] == [
        (f"alexnet-places205-iter-{n}", f"alexnet-places205-iter-{n}", "alexnet-places205-iter", n) for n in (1, 20)
    ]


def test_rotations_make_a_curve(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(written("rotate-seed = 3\n[[run]]\nover.rotate = [0, 0.25, 1.0]"))
    assert [(run.settings.rotate, run.settings.rotate_seed, run.x) for run in series.runs] == [
        (0.0, 3, 0.0),
        (0.25, 3, 0.25),
        (1.0, 3, 1.0),
    ]
    assert names(series) == ["scenesnet-rotate-0", "scenesnet-rotate-0.25", "scenesnet-rotate-1.0"]
    assert {(run.group, run.x_name) for run in series.runs} == {("scenesnet", "rotation α")}
    assert read_series(written("rotate = 0.5\n[[run]]")).runs[0].x is None, "all runs have the same"


def test_an_axis_may_be_any_key_or_a_number(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(
        written(
            """
            [[run]]
            name = "q{quantile}"
            x = "quantile"
            group = "quantiles of {model}"
            over.quantile = [0.005, 0.01]

            [[run]]
            x = 0.04
            x-name = "share"
            """
        )
    )
    assert [(run.name, run.group, run.x, run.x_name) for run in series.runs] == [
        ("q0.005", "quantiles of scenesnet", 0.005, "quantile"),
        ("q0.01", "quantiles of scenesnet", 0.01, "quantile"),
        ("scenesnet-x-0.04", "scenesnet", 0.04, "share"),
    ]


def test_what_the_caller_says_takes_the_place_of_the_file(written) -> None:  # type: ignore[no-untyped-def]
    path = written("limit = 7\nthreads = 2\n[[run]]\nlimit = 8")
    settings = read_series(path, {"limit": 3, "device": None, "threads": 5}).runs[0].settings
    assert (settings.limit, settings.device, settings.threads) == (3, "cpu", 5)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("limit = 3", "has no run; describe one in a [[run]] table."),
        ("run = 3", ": run is 3; write each run as a table under [[run]]."),
        ("modell = 'a'\n[[run]]", ": There is no key 'modell' here; use model."),
        ("name = 'a'\n[[run]]", ": There is no key 'name' here; "),
        ("[[run]]\nlayers = 'a'", ", [[run]] 1: There is no key 'layers' here; use layer"),
        ("title = 3\n[[run]]", ": title is 3; use text."),
        ("limit = 'many'\n[[run]]", ": limit is 'many'; use a whole number."),
        ("[[run]]\n[[run]]\nname = 'b'\nlimit = 1.5", ", [[run]] 2: limit is 1.5; use a whole number."),
        ("[[run]]\nlimit = true", ": limit is true; use a whole number."),
        ("[[run]]\nlimit = 0", ": limit is 0; use 1 or more."),
        ("[[run]]\npreset = 'papers'", ": preset is 'papers'; use one of netdissect, paper, lite, compexp."),
        ("[[run]]\nquantile = 2", ": quantile is 2; use a decimal number between 0 and 1, such as 0.005."),
        ("[[run]]\nmean = [1, 2]", ": mean is [1, 2]; use three numbers, such as [0.5, 0.5, 0.5]."),
        ("[[run]]\nsize = [3, 4]", ": size is [3, 4]; use 224 or '224x192' (height x width)."),
        ("[[run]]\nlayer = [1]", ": layer is [1]; use text, or a list of texts."),
        ("[[run]]\nmodel = ['a', 'b']", ": model is ['a', 'b']; use text."),
        ("[[run]]\niou-threshold = 'x'", ": iou-threshold is 'x'; use a number."),
        ("[[run]]\nscale = nan", ": scale is nan; use the value of a white pixel, such as 1 or 255."),
        ("[[run]]\nmean = [inf, 0, 0]", ": mean is inf,0,0; use finite numbers, one for each channel."),
        ("[[run]]\nstd = [0, 1, 1]", ": std is 0,1,1; use positive numbers, one for each channel."),
        ("[[run]]\nlimit = 1000000000000000000000", ": limit is 1000000000000000000000; use 2147483647 at most."),
        ("[[run]]\nseed = 100000000000000000000", ": seed is 100000000000000000000; use a whole number from -9223"),
        ("[[run]]\nsize = 100000000000000000000", " pixels at most."),
        ("[[run]]\nrotate-seed = 3", ": rotate_seed is 3 and nothing is rotated; use it with --rotate."),
        ("[[run]]\nname = 'a/b'", ": name is 'a/b', which can't be a run's folder; "),
        ("[[run]]\nname = 'Compare'", ": name is 'Compare', which can't be a run's folder; "),
        ("[[run]]\nname = 'series.json'", ": name is 'series.json', which can't be a run's folder; "),
        ("[[run]]\nname = 3", ": name is 3; use text."),
        ("[[run]]\n[[run]]", " has two runs called 'scenesnet'; give each a name of its own"),
        ("[[run]]\nname = 'A'\n[[run]]\nname = 'a'", " has two runs called 'a' (beside 'A'); "),
        ("[[run]]\nover = 3", ", [[run]] 1: over is 3; use a table of lists, "),
        ("[[run]]\nover.seed = []", ": over.seed is []; use a list of values."),
        ("[[run]]\nover.sede = [1, 2]", ": over.sede is no option and no text has {sede}; use seed."),
        ("[[run]]\nseed = 1\nover.seed = [1, 2]", ": over.seed is also a key of the run itself; give it once."),
        ("[[run]]\nname = 'a{b}'", ": name has {b}, which is no key of this run; use "),
        ("[[run]]\nname = 'a{'", ": 'a{' has a brace without its counterpart; "),
        ("[[run]]\nseed = 1\nname = '{seed:x!}'", ": name can't write 1 as {seed:x!}; "),
        ("[[run]]\nname = '{model.upper}'", ": name has {model.upper}, which is no key of this run; "),
        ("[[run]]\nx = 'seed'", ": x is 'seed', which is no key of this run; name one, or give a number."),
        ("[[run]]\nx = 'model'", ": x is 'scenesnet'; use a number, or the name of a key that has one."),
        ("[[run]]\nx = nan", ": x is nan; use a number, or the name of a key that has one."),
        ("[[run]]\nx-name = 'step'", ": x-name is given and x is not; name a key with a number, or give one."),
        ("[[run]]\nx = 1\nx-name = 2", ": x-name is 2; use text."),
        ("[[run]", " is no TOML: "),
    ],
)
def test_what_is_wrong_is_one_sentence(written, text: str, sentence: str) -> None:  # type: ignore[no-untyped-def]
    path = written(text)
    with pytest.raises(SeriesError) as error:
        read_series(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert sentence in said
    assert said.endswith(".")
    assert error.value.exit_code == 2


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match=r"nowhere\.toml can't be read \(No such file or directory\); name a series"):
        read_series(tmp_path / "nowhere.toml")


def test_a_series_made_in_python_is_checked_too() -> None:
    with pytest.raises(SeriesError, match="The series has two runs called 'a'"):
        Series((SeriesRun("a", Settings()), SeriesRun("a", Settings(seed=1))))


@pytest.mark.parametrize("block", [block for _, block in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_the_series_of_the_documentation_are_understood(written, block: str) -> None:  # type: ignore[no-untyped-def]
    assert len(read_series(written(block)).runs) >= 2


def test_the_documentation_has_series() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        (
            "[[run]]\nover.rotate = [0, 0.5]\nover.weights = ['default', 'random']",
            ["scenesnet-default", "scenesnet-random"] * 2,
        ),
        ("[[run]]\nover.rotate = [0, 1]\n[[run]]\nweights = 'random'\nover.rotate = [0.5]", ["scenesnet-default"] * 2 +
         ["scenesnet-random"]),
        ("[[run]]\nover.rotate = [0, 1]\nover.limit = [60, 300]", ["scenesnet-limit-60", "scenesnet-limit-300"] * 2),
        ("[[run]]\nover.rotate = [0, 1]\nover.rotate-seed = [1, 2]", ["scenesnet"] * 4),
        ("[[run]]\nx = 'quantile'\nover.quantile = [0.1, 0.2]\nover.overlap = ['once', 'twice']",
         ["scenesnet-once", "scenesnet-twice"] * 2),
        ("[[run]]\nweights = 'a/{run}-{iteration}.pth'\nover = { iteration = [1, 2], run = ['a', 'b'] }",
         ["scenesnet-a", "scenesnet-b"] * 2),
        ("[[run]]\nover = [{ iteration = 1, weights = 'a.pth' }, { iteration = 2, weights = 'b.pth' }]",
         ["scenesnet"] * 2),
        ("[[run]]\ngroup = 'mine'\nover.rotate = [0, 1]\nover.limit = [60, 300]", ["mine"] * 4),
    ],
    ids=["weights", "tables", "images", "rotate-seeds", "knobs", "trainings", "iterations", "named"],
)  # fmt: skip
def test_runs_of_different_networks_images_or_knobs_share_no_curve(  # type: ignore[no-untyped-def]
    written, text: str, groups: list[str]
) -> None:
    assert [run.group for run in read_series(written(text)).runs] == groups


def test_two_files_of_one_name_share_no_curve(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(
        written(
            "[[run]]\nname = 'a{rotate}'\nmodel = 'a/net.py:build'\nover.rotate = [0, 1]\n"
            "[[run]]\nname = 'b{rotate}'\nmodel = 'b/net.py:build'\nover.rotate = [0, 1]"
        )
    )
    first, second = series.runs[0].group, series.runs[2].group
    assert [run.group for run in series.runs] == [first, first, second, second]
    assert first != second


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (f"[[run]]\nx = 1{'0' * 400}", "x is a number of"),
        (f"[[run]]\nscale = 1{'0' * 400}", "scale is a number of"),
        ("[[run]]\nname = '{seed:>99999999999999}'", "which is wider than a name can be; use 200 places at most"),
        (f"[[run]]\nname = '{'a' * 5000}'", "which can't be a run's folder"),
        (f"[[run]]\nname = '{{{'a' * 5000}}}'", "which is no key of this run"),
        (f"[[run]]\nlimit = {'9' * 5000}", "is no TOML: "),
    ],
    ids=["x", "scale", "width", "name", "key", "digits"],
)
def test_what_is_far_too_large_is_a_short_sentence(written, text: str, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SeriesError) as error:
        read_series(written(text))
    assert sentence in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_network_of_the_benchmark_may_have_a_seed_for_its_own_rotation(written) -> None:  # type: ignore[no-untyped-def]
    path = written("[[run]]\nmodel = 'alexnet-places205-rotated-040'\nrotate-seed = 3")
    assert read_series(path).runs[0].settings.rotate_seed == 3


def test_a_minus_is_told_in_names(written) -> None:  # type: ignore[no-untyped-def]
    series = read_series(written("[[run]]\nx = 'step'\nname = 'at-{step}'\nover.step = [1, -1]"))
    assert names(series) == ["at-1", "at--1"]
    assert names(read_series(written("[[run]]\nover.x = [1, -1, -2.5]"))) == [
        "scenesnet-x-1",
        "scenesnet-x-minus-1",
        "scenesnet-x-minus-2.5",
    ]
    with pytest.raises(SeriesError, match=r"two runs called 'scenesnet-rotate-0\.0'"):
        read_series(written("[[run]]\nover.rotate = [0.0, -0.0]"))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "series.toml"
    path.write_bytes(b"\xef\xbb\xbf[[run]]\n")
    assert names(read_series(path)) == ["scenesnet"]
