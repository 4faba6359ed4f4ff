"""Options that commands share, each written once; and how they become the engine's settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

from ndengine.settings import AREAS, COMPARISONS, GEOMETRIES, OVERLAPS, PRECISIONS, PRESETS, SPOOLS, Settings, knobs_of

Command = TypeVar("Command", bound=Callable[..., object])
KNOBS = ("quantile", "geometry", "overlap", "area", "detector", "iou_threshold")


class Size(click.ParamType[tuple[int, int]]):
    """Pixels as ``224`` (square) or ``HEIGHTxWIDTH``."""

    name = "H[xW]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Read ``224`` as (224, 224) and ``224x192`` as (224, 192)."""
        found = re.fullmatch(r"([1-9][0-9]*)(?:x([1-9][0-9]*))?", str(value))
        if not found:
            self.fail(f"{value!r} is no size; use 224 or 224x192 (height x width).", param, ctx)
        return int(found[1]), int(found[2] or found[1])


class Triple(click.ParamType[tuple[float, ...]]):
    """Three numbers with commas between them, one a channel."""

    name = "A,B,C"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Read ``104.007,116.669,122.679``."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 3:
            self.fail(f"{value!r} is not three numbers; use the form 104.007,116.669,122.679.", param, ctx)
        return numbers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default_cache() -> Path:
    from ndengine.cache import default_cache

    return default_cache()


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Join decorators into one that keeps their order in the help."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(options), command)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors (and what --json asks for).")
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_cache,
    show_default="the user's cache folder",
    envvar="NDENGINE_CACHE",
    help="Folder for packed datasets, the built-in data and weights.",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=_cores,
    show_default="all cores",
    help="Threads to compute on.",
)
model_options = together(
    click.option(
        "--model",
        default="scenesnet",
        show_default=True,
        metavar="NAME",
        help="scenesnet, small-base and others of ndengine paper, a torchvision name, one of ndengine models, "
        "package.module:factory, file.py:factory or a Caffe net.prototxt.",
    ),
    click.option(
        "--size",
        type=Size(),
        metavar="H[xW]",
        help="Input of the network in pixels; images are resized, never cropped.  [default: the data's]",
    ),
)
probe_options = together(
    click.option("--weights", default="default", show_default=True, help="default, random or a file."),
    click.option(
        "--layer",
        "layers",
        multiple=True,
        metavar="NAME",
        help="Layer or pattern, such as conv5_3 or 'features.*'; NAME@2 for the second call of a module, NAME/PART for "
        "one of several outputs; repeatable.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of random weights."),
    click.option("--mean", type=Triple(), help="Mean of each channel, in units of --scale.  [default: the model's]"),
    click.option("--std", type=Triple(), help="Deviation of each channel.  [default: the model's; 1 with --mean]"),
    click.option(
        "--channels", type=click.Choice(["rgb", "bgr"]), help="Order of the channels.  [default: the model's]"
    ),
    click.option("--scale", type=float, help="Value of a white pixel: 1 or 255.  [default: the model's]"),
    click.option(
        "--rotate",
        type=click.FloatRange(0, 1),
        metavar="A",
        help="Rotate each layer's units at random before they are counted, from 0 (not at all) to 1 (by the whole "
        "rotation).  [default: 0, but for the benchmark's rotated networks]",
    ),
    click.option(
        "--rotate-seed",
        type=click.IntRange(0, 2**32 - 1),
        metavar="N",
        help="Seed of the rotation.  [default: 1]",
    ),
    click.option(
        "--axes",
        default="",
        metavar="LETTERS",
        help="How the layers' outputs are read where that can't be shown: a letter a dim, n images, u units, h rows, w "
        "columns, t tokens, such as nhwu or ntu.",
    ),
    click.option(
        "--tokens", default="", metavar="FIRST:LAST", help="With --axes ntu: the tokens of the grid.  [default: all]"
    ),
    click.option(
        "--grid",
        type=Size(),
        metavar="HxW",
        help="With --axes ntu: rows and columns that the tokens fill.  [default: the image's proportions]",
    ),
)
data_options = together(
    click.option(
        "--data",
        default="scenes",
        show_default=True,
        metavar="PATH",
        help="scenes (built in), a folder in Broden's layout or a packed .h5 file.",
    ),
    click.option("--split", default="", metavar="NAME", help="Use only this split, such as val.  [default: all]"),
    click.option("--limit", type=click.IntRange(min=1), help="Use only the first images."),
)
knob_options = together(
    click.option(
        "--preset",
        type=click.Choice(list(PRESETS)),
        default="netdissect",
        show_default=True,
        help="Knobs set together; each of the next six overrides its own.",
    ),
    click.option("--quantile", metavar="Q", help="Share of positions above a unit's threshold, such as 0.005."),
    click.option("--geometry", type=click.Choice(GEOMETRIES), help="Where activations sit on the label grid."),
    click.option("--overlap", type=click.Choice(OVERLAPS), help="How a concept counts that two maps put on one pixel."),
    click.option("--area", type=click.Choice(AREAS), help="Images over which a unit's area is counted."),
    click.option("--detector", type=click.Choice(COMPARISONS), help="How an IoU is compared with the threshold."),
    click.option("--iou-threshold", type=click.FloatRange(0, 1), help="IoU that a detector must pass."),
    click.option(
        "--min-images",
        type=click.IntRange(min=0),
        help="Images that a concept needs to be scored.  [default: 0 on Broden, 10 elsewhere]",
    ),
    click.option(
        "--categories",
        multiple=True,
        metavar="A,B",
        help="Score only these categories; repeatable.  [default: all]",
    ),
)
how_options = together(
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        metavar="NAME",
        help="Where to compute: cpu, cuda or cuda:N.",
    ),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="float32",
        show_default=True,
        help="What the network computes in; bfloat16 gives other numbers, faster on devices that have it.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Images at once; a network may round otherwise in others.",
    ),
    threads_option,
    click.option(
        "--spool",
        type=click.Choice(SPOOLS),
        default="auto",
        show_default=True,
        help="Where activations wait to be counted.",
    ),
    click.option(
        "--top-images",
        type=click.IntRange(min=1),
        default=5,
        show_default=True,
        help="Images shown for each unit.",
    ),
)


def settings_of(options: dict[str, Any]) -> Settings:
    """Turn the options of a command into settings; the knobs that were given override the preset's.

    Raises
    ------
    SettingsError
        If a value is not understood.
    """
    rest = dict(options)
    changes = {name: rest.pop(name) for name in KNOBS}
    names = [name.strip() for text in rest.pop("categories") for name in text.split(",")]
    return Settings(
        knobs=knobs_of(rest["preset"], **changes),
        categories=tuple(dict.fromkeys(filter(None, names))),
        **rest,
    )


def result_folder(settings: Settings) -> Path:
    """Name the folder for a result that no ``--out`` names: ``dissections/<model>-<layers>-<data>[-rotated-<A>]``."""
    model = re.sub(r"\.prototxt(\.txt)?$", "", settings.model.rsplit("/", 1)[-1], flags=re.IGNORECASE)
    data = Path(settings.data).resolve()
    words = [model, *settings.layers, data.stem if data.suffix == ".h5" else data.name]
    if settings.rotate or (settings.rotate == 0 and re.search(r"-rotated-[0-9]+$", model)):
        words += ["rotated", str(settings.rotate).removesuffix(".0")]
    if settings.rotate_seed not in (None, 1) and settings.rotate != 0:
        words += ["seed", str(settings.rotate_seed)]
    return Path("dissections") / re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(words)).strip("._-")
