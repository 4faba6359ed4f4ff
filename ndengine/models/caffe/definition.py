"""A Caffe network as data: what a prototxt says, or what our own definitions of architectures give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool
Option = Value | tuple[Value, ...]  # a tuple where the field is repeated in the file, as in dim: 1 dim: 3


@dataclass(frozen=True)
class CaffeLayer:
    """One layer.

    Attributes
    ----------
    name : str
        Unique in the network; a caffemodel files the layer's weights under it.
    kind : str
        Caffe's type in its present spelling: ``Convolution``, ``ReLU``, ``Pooling``.
    bottoms, tops : tuple of str
        The blobs that it reads and writes; one in both is changed in place.
    options : mapping of str to Option
        The fields of its own parameters, such as ``convolution_param``, by Caffe's names: ``num_output``,
        ``kernel_size``, ``pool`` (``"MAX"``). Fields that are absent have Caffe's defaults.
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class CaffeDefinition:
    """A network.

    Attributes
    ----------
    name : str
    inputs : mapping of str to tuple of int
        The shape of each input blob, as a rule ``{"data": (1, 3, 227, 227)}``.
    layers : tuple of CaffeLayer
        In the order in which they run.
    synonyms : mapping of str to str
        Other names for blobs.
    other_stages : tuple of str
        Layers that read nothing, and may so be inputs, and were left out because they belong to other stages.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    layers: tuple[CaffeLayer, ...]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    other_stages: tuple[str, ...] = ()

    def writers(self) -> dict[str, str]:
        """Blob, by any of its names, to the path of the layer that writes it last, were all of them built."""
        return self.spell({top: path_of(layer.name) for layer in self.layers for top in layer.tops})

    def spell(self, writers: Mapping[str, str]) -> dict[str, str]:
        """The same of some blobs, by all names: synonyms, and ``/`` written ``-`` as in the released results."""
        spelled = {blob.replace("/", "-"): path for blob, path in writers.items()}
        others = {name: writers[blob] for name, blob in self.synonyms.items() if blob in writers}
        return {**others, **spelled, **writers}


def path_of(name: str) -> str:
    """A layer's name as that of a module: without dots, which part paths."""
    return name.replace(".", "_")
