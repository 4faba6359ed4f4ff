import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ndcli import options
from ndengine.errors import SettingsError
from ndengine.settings import PRESETS, Settings


@click.command()
@options.model_options
@options.probe_options
@options.data_options
@options.knob_options
@options.how_options
def echo(**chosen: object) -> None:
    echo.settings = options.settings_of(chosen)  # type: ignore[attr-defined]


def settings(*arguments: str) -> Settings:
    echo.main(list(arguments), standalone_mode=False)
    found = echo.settings  # type: ignore[attr-defined]
    assert isinstance(found, Settings)
    return found


def test_no_options_are_the_settings_by_default_on_all_cores() -> None:
    found = settings()
    assert found == Settings(threads=options._cores())
    assert found.threads >= 1


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_its_knobs(preset: str) -> None:
    assert settings("--preset", preset).knobs == PRESETS[preset]


def test_every_option_reaches_its_setting() -> None:
    text = (
        "--model vgg16 --weights random --layer conv5_3 --layer feat.* --seed 7 --mean 1,2.5,-3 --std 4,5,6"
        " --channels bgr --scale 255 --size 20x30 --data x --split val --limit 9 --preset paper"
        " --quantile 0.01"
        " --geometry half-pixel --overlap twice --area all --detector >= --iou-threshold 0.1 --min-images 3"
        " --categories object,part --categories scene,object --batch-size 5 --threads 2 --spool dense"
        " --top-images 4 --device cuda:1 --precision bfloat16 --rotate 0.6 --rotate-seed 8"
        " --axes ntu --tokens 1: --grid 7x9"
    )
    found = settings(*text.split())
    assert found.record() == {
        "model": "vgg16",
        "weights": "random",
        "layers": ["conv5_3", "feat.*"],
        "seed": 7,
        "mean": [1.0, 2.5, -3.0],
        "std": [4.0, 5.0, 6.0],
        "channels": "bgr",
        "scale": 255.0,
        "size": [20, 30],
        "data": "x",
        "split": "val",
        "limit": 9,
        "preset": "paper",
        "knobs": {
            "quantile": "0.01",
            "geometry": "half-pixel",
            "overlap": "twice",
            "area": "all",
            "detector": ">=",
            "iou_threshold": 0.1,
        },
        "min_images": 3,
        "categories": ["object", "part", "scene"],
        "batch_size": 5,
        "threads": 2,
        "spool": "dense",
        "top_images": 4,
        "device": "cuda:1",
        "precision": "bfloat16",
        "rotate": 0.6,
        "rotate_seed": 8,
        "axes": "ntu",
        "tokens": "1:",
        "grid": [7, 9],
    }
    default = Settings().record()
    assert all(value != default[name] for name, value in found.record().items() if name != "threads")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "x"], "'x' is no size; use 224 or 224x192"),
        (["--size", "0"], "'0' is no size"),
        (["--size", "224x"], "'224x' is no size"),
        (["--mean", "1,2"], "'1,2' is not three numbers"),
        (["--std", "1,2,three"], "'1,2,three' is not three numbers"),
        (["--limit", "0"], "0 is not in the range x>=1"),
        (["--iou-threshold", "2"], "2.0 is not in the range 0<=x<=1"),
        (["--geometry", "halfpixel"], "is not one of 'receptive-field'"),
        (["--preset", "papers"], "is not one of 'netdissect'"),
        (["--precision", "half"], "'half' is not one of 'float32', 'bfloat16'"),
        (["--rotate", "1.2"], "1.2 is not in the range 0<=x<=1"),
        (["--rotate", "half"], "'half' is not a valid float"),
        (["--rotate-seed", "-1"], "-1 is not in the range 0<=x<=4294967295"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_values_are_usage_errors_that_say_what_is_right(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(echo, arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("quantile", ["0", "1", "nan", "half", "-0.1"])
def test_a_bad_quantile_is_a_settings_error(quantile: str) -> None:
    with pytest.raises(SettingsError, match="use a decimal number between 0 and 1"):
        settings("--quantile", quantile)


def test_a_power_that_is_no_number_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="rotate is nan; use a number from 0 to 1"):
        settings("--rotate", "nan")


@pytest.mark.parametrize("text", ["0.0050", "5e-3", ".005"])
def test_one_quantile_has_one_spelling(text: str) -> None:
    assert settings("--quantile", text).knobs.quantile == "0.005"


@pytest.mark.parametrize(
    ("model", "layers", "data", "name"),
    [
        ("scenesnet", (), "scenes", "scenesnet-scenes"),
        ("vgg16", ("conv5_3", "features.*"), "/data/broden1_224/", "vgg16-conv5_3-features._-broden1_224"),
        ("nets/my net.py:build", ("a/b",), "packed/set.h5", "my_net.py_build-a_b-set"),
    ],
)
def test_the_folder_of_a_result_is_named_after_what_it_holds(
    model: str, layers: tuple[str, ...], data: str, name: str
) -> None:
    assert options.result_folder(Settings(model=model, layers=layers, data=data)) == Path("dissections") / name


def test_a_rotated_network_that_is_not_rotated_has_a_folder_of_its_own() -> None:
    own = Settings(model="alexnet-places205-rotated-040")
    assert options.result_folder(own).name == "alexnet-places205-rotated-040-scenes"
    assert options.result_folder(replace(own, rotate=0)).name == "alexnet-places205-rotated-040-scenes-rotated-0"


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"rotate": 0.6}, "-rotated-0.6"),
        ({"rotate": 1}, "-rotated-1"),
        ({"rotate": 1e-5}, "-rotated-1e-05"),
        ({"rotate": 0.2, "rotate_seed": 1}, "-rotated-0.2"),
        ({"rotate": 0.2, "rotate_seed": 7}, "-rotated-0.2-seed-7"),
        ({"rotate": 0.0}, ""),
        ({"rotate": 0.0, "rotate_seed": 7}, ""),  # nothing is rotated
        ({"rotate_seed": 7}, "-seed-7"),  # of a network with a rotation of its own
    ],
    ids=str,
)
def test_a_rotated_result_has_a_folder_of_its_own(change: dict[str, Any], end: str) -> None:
    assert options.result_folder(Settings(**change)) == Path("dissections") / f"scenesnet-scenes{end}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axes", "nchw"], "axes is 'nchw'; give one letter a dim"),
        (["--axes", "nuhw", "--tokens", "1:"], "tokens and grid say which tokens make up a map"),
        (["--grid", "7x7"], "tokens and grid say which tokens make up a map"),
        (["--axes", "ntu", "--tokens", "1-9"], "tokens is '1-9'; use FIRST:LAST"),
    ],
    ids=" ".join,
)
def test_what_says_no_order_of_dims_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        settings(*arguments)
