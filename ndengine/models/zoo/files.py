"""Files of weights: where each is published, and under which names it is looked for in the cache folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "weights"  # in the cache folder
# Servers are tried in turn; the archive has what its crawler happened to keep.
NETDISSECT = (
    "http://netdissect.csail.mit.edu/dissect/zoo/",
    "https://netdissect.csail.mit.edu/dissect/zoo/",
    "https://web.archive.org/web/2022id_/http://netdissect.csail.mit.edu/dissect/zoo/",
)
PLACES365 = (
    "http://places2.csail.mit.edu/models_places365/",
    "https://web.archive.org/web/2022id_/http://places2.csail.mit.edu/models_places365/",
)
PLACES365_TEXTS = ("https://raw.githubusercontent.com/CSAILVision/places365/master/",)
CONVERTED = ("https://github.com/ruthcfong/pytorch_models/releases/download/v2.0/",)


@dataclass(frozen=True)
class RemoteFile:
    """A file that may be fetched.

    Attributes
    ----------
    name : str
        Its name in the cache folder.
    urls : tuple of str
        Where it is published, tried in turn; empty where it never was.
    """

    name: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edition:
    """One of the files that hold a network's weights.

    Attributes
    ----------
    weights : RemoteFile
        A caffemodel or a state dict.
    prototxt : RemoteFile or None
        The definition that goes with it; where it lies beside the weights, it decides.
    origin : str
        Who made it, for people.
    naming : str
        Which of the row's definitions it fits where there are several.
    is_converted : bool
        Whether it is a conversion for PyTorch, whose names count layers.
    """

    weights: RemoteFile
    prototxt: RemoteFile | None
    origin: str
    naming: str = ""
    is_converted: bool = False

    @property
    def is_published(self) -> bool:
        """Whether it can be fetched."""
        return bool(self.weights.urls)

    def files(self) -> tuple[RemoteFile, ...]:
        """The definition, where there is one, and the weights."""
        return (self.weights,) if self.prototxt is None else (self.prototxt, self.weights)

    def find(self, cache: Path) -> Path | None:
        """The weights in the cache folder; None where they are not there."""
        path = cache / FOLDER / self.weights.name
        return path if path.is_file() else None

    def record(self, cache: Path) -> dict[str, Any]:
        """The edition as plain JSON values."""
        found = self.find(cache)
        return {
            "file": self.weights.name,
            "origin": self.origin,
            "urls": list(self.weights.urls),
            "prototxt": self.prototxt.name if self.prototxt else None,
            "prototxt_urls": list(self.prototxt.urls) if self.prototxt else [],
            "path": str(found) if found else None,
        }


def beside(weights: Path) -> Path | None:
    """The prototxt beside a caffemodel, by its own name or by that of the Places365 releases; None without one."""
    names = (f"{weights.stem}.prototxt", f"deploy_{weights.stem}.prototxt")
    return next((path for name in names if (path := weights.with_name(name)).is_file()), None)


def netdissect(stem: str, *, also: Edition | None = None, naming: str = "") -> Edition:
    """As the authors of Network Dissection published it; ``also`` is where the same files are published, too."""
    files = []
    for place, suffix in enumerate(("prototxt", "caffemodel")):
        name = f"{stem}.{suffix}"
        more = also.files()[place].urls if also else ()
        files.append(RemoteFile(name, (*(f"{base}{name}" for base in NETDISSECT), *more)))
    return Edition(files[1], files[0], "the authors of Network Dissection", naming)


def places365(stem: str, *, naming: str = "") -> Edition:
    """As published with Places365."""
    return Edition(
        RemoteFile(f"{stem}.caffemodel", tuple(f"{base}{stem}.caffemodel" for base in PLACES365)),
        RemoteFile(f"deploy_{stem}.prototxt", tuple(f"{base}deploy_{stem}.prototxt" for base in PLACES365_TEXTS)),
        "the authors of Places365",
        naming,
    )


def converted(name: str) -> Edition:
    """As converted for PyTorch, from weights that were never published as they were."""
    file = f"alexnet-weakly_{name}.pt"
    return Edition(RemoteFile(file, tuple(f"{base}{file}" for base in CONVERTED)), None, "Ruth Fong", is_converted=True)


def unpublished(stem: str, *, naming: str = "") -> Edition:
    """Never published: whoever has it puts it into the cache folder."""
    return Edition(RemoteFile(f"{stem}.caffemodel"), RemoteFile(f"{stem}.prototxt"), "never published", naming)
