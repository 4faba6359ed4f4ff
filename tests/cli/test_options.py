from pathlib import Path

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
        " --top-images 4 --device cuda:1 --precision bfloat16"
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
