"""The kinds of files that the project writes, where they lie, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks import flip_readers as readers
from benchmarks import flip_rooms as rooms
from benchmarks.flip_readers import Desk

Reader = Callable[[Desk], None]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Its readers are what a user has for such a file, by the names under which they are told of.

    Attributes
    ----------
    name : str
    room : str
    patterns : tuple of str
        Where its files lie in the room, as for ``glob``.
    readers : dict of str to callable
        What reads them.
    """

    name: str
    room: str
    patterns: tuple[str, ...]
    readers: dict[str, Reader]


ROOMS: dict[str, Callable[[], None]] = {
    "packs": rooms.build_packs,
    "scenes": rooms.build_scenes,
    "results": rooms.build_results,
    "disk": partial(rooms.build_interrupted, "disk"),
    "dense": partial(rooms.build_interrupted, "dense"),
    "series": rooms.build_series,
    "small": rooms.build_small,
    "downloads": rooms.build_downloads,
}
_RESULT: dict[str, Reader] = {
    "load": readers.open_result,
    "show": readers.show,
    "compare": readers.compare,
    "run again": readers.run_again,
    "report": readers.report,
    "run --overwrite": readers.overwrite,
}
_SERIES: dict[str, Reader] = {
    "compare": readers.compare_series,
    "sweep": readers.sweep,
    "sweep --dry-run": readers.plan,
}
_CACHED: dict[str, Reader] = {
    "run": readers.run_anew,
    "data info": partial(readers.describe, data="photos"),
    "PackedDataset": readers.open_pack,
    "report": readers.report,
    "cache list": readers.list_cache,
}
_NAMED: dict[str, Reader] = {
    "run": partial(readers.run_anew, data="photos.h5"),
    "data info": partial(readers.describe, data="photos.h5"),
    "data check": partial(readers.check, data="photos.h5"),
    "data pack": readers.pack_by_hand,
    "PackedDataset": partial(readers.open_pack, pattern="photos.h5"),
    "report": partial(readers.report, folder="named"),
}
_SCENES: dict[str, Reader] = {
    "run": partial(readers.run_anew, data="scenes"),
    "packing": readers.pack_scenes_again,
}
_GO_ON: dict[str, Reader] = {
    "run again": partial(readers.go_on, spool="disk"),
    "run --overwrite": partial(readers.go_on, spool="disk", overwrite=True),
}
_SMALL: dict[str, Reader] = {
    "run": partial(readers.run_small, model="small-base"),
    "run of a snapshot": partial(readers.run_small, model="small-base-iter-1"),
}
_RECEIPT: dict[str, Reader] = {
    "training": readers.receipts,
    "paper": readers.paper,
}
KINDS = (
    Kind("pack in the cache", "packs", ("cache/*.h5",), _CACHED),
    Kind("pack made by hand", "packs", ("photos.h5",), _NAMED),
    Kind(
        "built-in scenes, pack",
        "scenes",
        ("cache/*.h5",),
        {"run": partial(readers.run_anew, data="scenes"), "data info": partial(readers.describe, data="scenes")},
    ),
    Kind("built-in scenes, tables", "scenes", ("cache/scenes*/*.csv", "cache/scenes*/*.json"), _SCENES),
    Kind("built-in scenes, pictures", "scenes", ("cache/scenes*/images/*",), _SCENES),
    Kind("result.json", "results", ("out/result.json",), _RESULT),
    Kind("images.csv", "results", ("out/images.csv",), _RESULT),
    Kind("units.csv", "results", ("out/*/units.csv",), {**_RESULT, "read_units_csv": readers.read_table}),
    Kind("counts.h5", "results", ("out/*/counts.h5",), _RESULT),
    Kind("examples.h5", "results", ("out/*/examples.h5",), _RESULT),
    Kind("activations.h5", "results", ("out/*/activations.h5",), {**_RESULT, "h5py": readers.read_activations}),
    Kind("report", "results", ("out/report/**/*",), _RESULT),
    Kind("spool of an interrupted run", "disk", ("out/unfinished/**/*.h5",), _GO_ON),
    Kind("spool.json", "disk", ("out/unfinished/**/*.json",), _GO_ON),
    Kind(
        "activations of an interrupted run",
        "dense",
        ("out/unfinished/**/*",),
        {"run again": partial(readers.go_on, spool="dense")},
    ),
    Kind("series.json", "series", ("series/series.json",), _SERIES),
    Kind("result in a series", "series", ("series/o*/**/*",), _SERIES),
    Kind("comparison", "series", ("series/compare/*",), _SERIES),
    Kind("paper.json and its page", "small", ("paper/paper.json", "paper/index.html"), {"paper": readers.paper}),
    Kind("weights trained here", "small", ("cache/small-v*/small-base/*.safetensors",), _SMALL),
    Kind("receipt of a training", "small", ("cache/small-v*/*/*.json",), _RECEIPT),
    Kind("pictures to train on", "small", ("cache/small-v*/pictures/*.safetensors",), {"training": readers.pictures}),
    Kind("weights in the package", "scenes", ("scenesnet.safetensors",), {"run": readers.run_scenesnet}),
    Kind("downloaded weights", "downloads", ("whole/*",), {"download": partial(readers.fetch, folder="whole")}),
    Kind("half a download", "downloads", ("half/*",), {"download": partial(readers.fetch, folder="half")}),
)
