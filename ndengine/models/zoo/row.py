"""What a row of the benchmark is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ndengine.models.caffe.definition import CaffeDefinition, path_of
from ndengine.models.zoo.files import Edition
from ndengine.models.zoo.published import Published

Triple = tuple[float, float, float]
Definer = Callable[[], CaffeDefinition]

FAMILIES = ("alexnet", "googlenet", "vgg16", "resnet152", "self-supervised", "rotated", "iterations")
MEAN: Triple = (109.5388, 118.6897, 124.6901)  # blue, green, red of pixels from 0 to 255


@dataclass(frozen=True)
class Row:
    """One network of the benchmark.

    Attributes
    ----------
    name : str
        What ``--model`` calls it.
    family : str
        Rows of one family have an architecture, or a question, in common.
    architecture : str
        Its architecture in words.
    size : int
        Rows and columns of its input.
    layers : tuple of str
        The layers that were dissected, deepest last: the one that a run takes unless told otherwise.
    editions : tuple of Edition
        Its weights, the preferred ones first.
    definers : mapping of str to callable
        Its definition; several by naming where its editions name their layers differently, the first of them
        where there are no weights.
    mean : tuple of float
        Of blue, green and red, in the order in which the network takes them, with 255 for white.
    published : Published or None
        What was released of it; None where nothing was.
    same : mapping of str to str
        Pairs of names that mean one layer, of which an edition knows one.
    is_random : bool
        Whether it was never trained: without a file it has random weights.
    rotate : float or None
        The power of the rotation that its units go through; None for none.
    rotate_seed : int or None
        Seed of that rotation.
    iteration : int or None
        The iteration of training at which its weights were kept; None for those of the end.
    note : str
        What its users should know, as sentences.
    """

    name: str
    family: str
    architecture: str
    size: int
    layers: tuple[str, ...]
    editions: tuple[Edition, ...]
    definers: Mapping[str, Definer]
    mean: Triple = MEAN
    published: Published | None = None
    same: Mapping[str, str] = field(default_factory=dict)
    is_random: bool = False
    rotate: float | None = None
    rotate_seed: int | None = None
    iteration: int | None = None
    note: str = ""

    @property
    def is_published(self) -> bool:
        """Whether its weights can be fetched."""
        return any(edition.is_published for edition in self.editions)

    def servers(self) -> list[str]:
        """Hosts from which its weights can be fetched, in the order in which they are asked."""
        urls = [url for edition in self.editions for url in edition.weights.urls]
        return list(dict.fromkeys(urlsplit(url).netloc for url in urls))

    def definition(self, naming: str = "") -> CaffeDefinition:
        """Its definition, by the names of one of its editions; by those of the first where none is named."""
        return self.name_layers(self.definers[naming or next(iter(self.definers))]())

    def name_layers(self, definition: CaffeDefinition) -> CaffeDefinition:
        """A definition whose blobs go by the row's other names for them, too."""
        blobs = {top for layer in definition.layers for top in layer.tops}
        pairs = [*self.same.items(), *((ours, theirs) for theirs, ours in self.same.items())]
        return replace(definition, synonyms={a: b for a, b in pairs if a not in blobs and b in blobs})

    def published_at(self, layer: str) -> Published | None:
        """What was released of a layer, by any of its names; None where another layer was dissected, or none.

        A name means the blob of that name, which is what its last layer leaves there, else the layer.
        """
        known = self.published
        if known is None:
            return None
        for naming in self.definers:
            writers = self.definition(naming).writers()
            if writers.get(layer, path_of(layer)) == writers.get(known.layer, path_of(known.layer)):
                return known
        return None

    def record(self, cache: Path) -> dict[str, Any]:
        """The row as plain JSON values, with what the cache folder has of it."""
        editions = [edition.record(cache) for edition in self.editions]
        return {
            "name": self.name,
            "family": self.family,
            "architecture": self.architecture,
            "input_size": [self.size, self.size],
            "preprocessing": {"channels": "bgr", "mean": list(self.mean), "scale": 255},
            "layers": list(self.layers),
            "weights": editions,
            "weights_published": self.is_published,
            "weights_cached": next((edition["path"] for edition in editions if edition["path"]), None),
            "random": self.is_random,
            "rotate": self.rotate,
            "rotate_seed": self.rotate_seed,
            "iteration": self.iteration,
            "published": self.published.record() if self.published else None,
            "note": self.note,
        }
