"""A layer of a network as it is dissected, and its output as maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.arrange import arrange
from ndengine.models.outputs import named_tensors
from ndengine.models.readings import Ranges
from ndkernels.grid import Field


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    name : str
        The name in public: as it was asked for where that was an alias (``conv5_3``), else path, part and call.
    path : str
        The ``named_modules`` path (``features.29``).
    kind : str
        The module's class.
    shape : tuple of int
        U units, h rows and w columns of its maps.
    field : tuple of Field or None
        Receptive field along rows and columns; None where it is not known.
    calls : int
        How often the module runs in one forward pass.
    call : int
        Which of these calls counts, from 1.
    part : str
        Which of the tensors that the module puts out (:func:`ndengine.models.outputs.named_tensors`).
    axes : str
        A letter a dim of its output: n images, u units, h rows, w columns, t tokens, 1 for a dim of length one.
    tokens : tuple of (int, int)
        The stretches of tokens that make up the grid.
    said : bool
        Whether somebody said how the output is read, so that nothing was shown.
    is_static : bool
        Whether no image can change how often the module runs.
    """

    name: str
    path: str
    kind: str
    shape: tuple[int, int, int]
    field: tuple[Field, Field] | None
    calls: int = 1
    call: int = 1
    part: str = ""
    axes: str = "nuhw"
    tokens: Ranges = ()
    said: bool = False
    is_static: bool = True

    @property
    def note(self) -> str:
        """What the user should see about how the layer was chosen or read; empty where there is nothing."""
        said = []
        if self.calls > 1 and "@" not in self.name:
            said.append(
                f"the module runs {self.calls} times in a pass and the last one is taken; {self.path}@1 is the first"
            )
        if self.said:
            taken = ", ".join(f"{first}:{last}" for first, last in self.tokens)
            of = f", tokens {taken} as {self.shape[1]}x{self.shape[2]}" if self.tokens else ""
            said.append(f"its output is read as {self.axes}{of}, as --axes says; nothing was shown")
        elif len(self.tokens) > 1 or (self.tokens and self.tokens[0][0]):
            taken = ", ".join(f"{first} to {last - 1}" for first, last in self.tokens)
            said.append(f"tokens {taken} are taken as {self.shape[1]}x{self.shape[2]}")
        return "; ".join(said)

    def record(self) -> dict[str, Any]:
        """How the layer's output is read, as plain JSON values."""
        return {
            "axes": self.axes,
            "tokens": [list(stretch) for stretch in self.tokens],
            "part": self.part,
            "call": self.call,
            "calls": self.calls,
            "said": self.said,
        }


@dataclass(frozen=True)
class LayerRow:
    """One line of a network's list of layers; attributes as in :class:`Layer`, ``alias`` empty where there is none."""

    layer: str
    alias: str
    kind: str
    shape: tuple[int, int, int]
    field: tuple[Field, Field] | None
    calls: int = 1
    axes: str = "nuhw"
    tokens: Ranges = ()

    def record(self) -> dict[str, Any]:
        """The row as plain JSON values, a field as [offset, size, stride] of rows and columns."""
        field = self.field and [[f.offset, f.size, f.stride] for f in self.field]
        return {
            "layer": self.layer,
            "alias": self.alias,
            "kind": self.kind,
            "shape": list(self.shape),
            "field": field,
            "calls": self.calls,
            "axes": self.axes,
            "tokens": [list(stretch) for stretch in self.tokens],
        }


def layer_maps(output: object, layer: Layer) -> Tensor:
    """A layer's output as maps ``[N, U, h, w]``: mostly a view, in the layer's own memory.

    Parameters
    ----------
    output : object
        What the module returned.
    layer : Layer
        The layer, as found at the same input size.

    Raises
    ------
    ModelError
        If the output has another shape than the layer had when it was found.
    """
    tensor = named_tensors(output).get(layer.part)
    maps = None if tensor is None else arrange(tensor, layer.axes, layer.tokens, layer.shape)
    if maps is None:
        units, rows, columns = layer.shape
        shape = "no such tensor" if tensor is None else "x".join(map(str, tensor.shape))
        raise ModelError(
            f"Layer {layer.name} put out {shape} instead of {units} units of {rows}x{columns}; "
            "a network that changes the shape of a layer between images can't be dissected there."
        )
    return maps
