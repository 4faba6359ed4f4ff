"""Find the layers that somebody asks for, and turn what they put out into maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import isqrt
from typing import Any, Literal

from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.aliases import layer_aliases, missing_layers
from ndengine.models.axes import COLUMNS, ROWS, Axes, Dim, length, places
from ndengine.models.failures import input_channels, trace_sentence
from ndengine.models.trace import IMAGES, Step, Trace, field_of, first_tensor, trace_model
from ndkernels.grid import Field

MOST_CLASS_TOKENS = 8  # a class token, a distillation token and registers

Form = Literal["maps", "maps with channels last", "vector", "tokens"]


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    name : str
        The name in public: an alias where it was found by one (``conv5_3``), else the path.
    path : str
        The ``named_modules`` path (``features.29``).
    kind : str
        The module's class.
    shape : tuple of int
        U units, h rows and w columns of its maps.
    field : tuple of Field or None
        Receptive field along rows and columns; None where it is not known.
    calls : int
        How often the module runs in one forward pass; its last output counts.
    form : str
        What its output looks like: ``maps`` [N, U, h, w], ``maps with channels last`` [N, h, w, U], a
        ``vector`` [N, U] or ``tokens`` [N, T, U].
    """

    name: str
    path: str
    kind: str
    shape: tuple[int, int, int]
    field: tuple[Field, Field] | None
    calls: int
    form: Form


@dataclass(frozen=True)
class LayerRow:
    """One line of a network's list of layers; attributes as in :class:`Layer`, ``alias`` empty where there is none."""

    layer: str
    alias: str
    kind: str
    shape: tuple[int, int, int]
    field: tuple[Field, Field] | None

    def record(self) -> dict[str, Any]:
        """The row as plain JSON values, a field as [offset, size, stride] of rows and columns."""
        field = self.field and [[f.offset, f.size, f.stride] for f in self.field]
        return {
            "layer": self.layer,
            "alias": self.alias,
            "kind": self.kind,
            "shape": list(self.shape),
            "field": field,
        }


def resolve_layers(
    module: nn.Module,
    requested: Sequence[str],
    model_name: str,
    size: tuple[int, int] = (224, 224),
    trace: Trace | None = None,
    listed: str = "",
) -> list[Layer]:
    """The layers that are asked for, in the order of asking, each once.

    Parameters
    ----------
    module : nn.Module
        The network, in eval mode.
    requested : sequence of str
        Module paths, aliases, or fnmatch patterns of either. A pattern selects, of the modules that match,
        those that run in a forward pass and put out maps.
    model_name : str
        What errors call the network.
    size : tuple of int
        Rows and columns of the network's input in pixels.
    trace : Trace, optional
        A trace at this size, where there is one already.
    listed : str
        What `ndengine layers --model` takes to list the layers, where that is not ``model_name``.

    Returns
    -------
    list of Layer

    Raises
    ------
    ModelError
        If a name is unknown (close names are given), a layer does not run, or its output can't be made into
        maps.
    """
    trace = trace or trace_model(module, size)
    command = f"`ndengine layers --model {listed or model_name}`"
    aliases, missing = layer_aliases(module), missing_layers(module)
    paths = {path: path for path, _ in module.named_modules(remove_duplicate=False) if path}
    names = aliases | {path: path for path in paths if path not in aliases and path not in missing}
    found: dict[str, Layer] = {}
    for wanted in requested:
        if wanted in names:
            matches = [wanted]
        elif wanted in missing:
            raise ModelError(
                f"Layer {wanted} of {model_name} depends on {missing[wanted]}; ask for a layer that does not "
                f"({command} lists them)."
            )
        else:
            matches = [name for name in names if fnmatchcase(name, wanted)]
            if not matches:
                raise ModelError(_unknown(wanted, list(names), model_name, command))
            usable = [name for name in matches if _is_usable(trace, names[name], size)]
            # With none, the error about the first match says why.
            matches = sorted(usable, key=lambda name: trace.steps[names[name]].end) or matches[:1]
        for name in matches:
            path = names[name]
            if path not in found:
                found[path] = _layer(module, name, path, model_name, size, trace, command)
    return list(found.values())


def list_layers(module: nn.Module, size: tuple[int, int], model_name: str = "the network") -> list[LayerRow]:
    """All layers that can be dissected, in the order in which they finish.

    Parameters
    ----------
    module : nn.Module
        The network, in eval mode.
    size : tuple of int
        Rows and columns of the network's input in pixels.
    model_name : str
        What errors call the network.

    Raises
    ------
    ModelError
        If nothing can be listed: the network can't take an input of this size, or puts out no maps.
    """
    trace = trace_model(module, size, channels=input_channels(module, size))
    named = layer_aliases(module)
    aliases = {path: alias for alias, path in named.items() if alias != path}
    hidden = {name for name in named if named[name] != name} | missing_layers(module).keys() - named.keys()
    rows = []
    for path in sorted(trace.steps, key=lambda path: trace.steps[path].end):
        if path and path not in hidden and _is_usable(trace, path, size):
            layer = _layer(module, path, path, model_name, size, trace, "")
            rows.append(LayerRow(path, aliases.get(path, ""), layer.kind, layer.shape, layer.field))
    if not rows:
        subject = f"{model_name} has no layers at an input of {size[0]}x{size[1]}"
        if not trace.failure:
            raise ModelError(f"{subject}: no module puts out maps.")
        raise ModelError(trace_sentence(subject, trace.failure, module, size))
    return rows


def layer_maps(output: object, layer: Layer) -> Tensor:
    """A layer's output as maps ``[N, U, h, w]``: a view, in the layer's own memory.

    Parameters
    ----------
    output : object
        What the module returned: a tensor, or a tuple whose first entry is one.
    layer : Layer
        The layer, as found at the same input size.

    Raises
    ------
    ModelError
        If the output has another shape than the layer had when it was found.
    """
    tensor = first_tensor(output)
    units, rows, columns = layer.shape
    if tensor is not None and layer.form == "tokens" and tensor.dim() == 3 and tensor.shape[1] >= rows * columns:
        grid = tensor[:, tensor.shape[1] - rows * columns :]
        tensor = grid.view(len(grid), rows, columns, -1).movedim(-1, 1)
    elif tensor is not None and layer.form == "maps with channels last":
        tensor = tensor.movedim(-1, 1)
    elif tensor is not None and layer.form == "vector":
        tensor = tensor[..., None, None]
    if tensor is None or tuple(tensor.shape[1:]) != layer.shape:
        shape = "no tensor" if tensor is None else "x".join(map(str, tensor.shape[1:]))
        raise ModelError(
            f"Layer {layer.name} put out {shape} instead of {units}x{rows}x{columns}; "
            "a network that changes the shape of a layer between images can't be dissected there."
        )
    return tensor


def _unknown(wanted: str, names: list[str], model_name: str, command: str) -> str:
    close = get_close_matches(wanted, names, 4, 0.5)
    hint = f"close names are {', '.join(close)}" if close else "no name comes close"
    return f"{model_name} has no layer {wanted!r}: {hint}; {command} lists them all."


def _layer(
    module: nn.Module, name: str, path: str, model_name: str, size: tuple[int, int], trace: Trace, command: str
) -> Layer:
    step = trace.steps.get(path)
    if step is None and trace.failure:
        subject = f"{model_name} stopped before layer {name} on an input of {size[0]}x{size[1]}"
        raise ModelError(trace_sentence(subject, trace.failure, module, size, [path]))
    if step is None:
        raise ModelError(
            f"Layer {name} of {model_name} never runs in a forward pass; ask for a layer that does "
            f"({command} lists them)."
        )
    form = _form(step, size)
    if form is None:
        shape = "no tensor" if step.shape is None else f"a tensor of {_shape(step.shape)}"
        raise ModelError(
            f"Layer {name} of {model_name} puts out {shape}, which is neither maps [N, U, h, w], a vector [N, U] "
            "nor tokens [N, T, U] of a grid; ask for a layer inside or after it."
        )
    kind = type(module.get_submodule(path)).__name__
    return Layer(name, path, kind, form[1], field_of(step), step.calls, form[0])


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(['N', *map(str, shape[1:])])}]" if shape[:1] == (IMAGES,) else str(list(shape))


def _is_usable(trace: Trace, path: str, size: tuple[int, int]) -> bool:
    return path in trace.steps and _form(trace.steps[path], size) is not None


def _form(step: Step, size: tuple[int, int]) -> tuple[Form, tuple[int, int, int]] | None:
    """What a module's output looks like, and U, h and w of its maps; None where it can't be made into maps."""
    shape = step.shape
    if not shape or shape[0] != IMAGES or 0 in shape:
        return None
    if len(shape) == 2:
        return "vector", (shape[1], 1, 1)
    if len(shape) == 3:
        grid = _grid(step.axes, shape[1], size)
        return grid and ("tokens", (shape[2], *grid))
    if len(shape) != 4:
        return None
    if _has_channels_last(step, size):
        return "maps with channels last", (shape[3], shape[1], shape[2])
    return "maps", (shape[1], shape[2], shape[3])


def _has_channels_last(step: Step, size: tuple[int, int]) -> bool:
    """Whether the dims of a map are [N, h, w, U]: known from the trace, else told by a square of h and w."""
    found = places(step.axes)
    if found is not None:
        return found == (1, 2)
    if step.axes is not None or step.shape is None:
        return False
    _, first, second, third = step.shape
    return size[0] == size[1] and first == second != third


def _grid(axes: Axes | None, tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of the grid that tokens come from, class tokens dropped.

    Followed from the image where the trace could; else the longest run of tokens that fills a grid of the
    image's proportions. None where there is no such grid, or tokens are not what lies along the second dim.
    """
    if axes is not None and any(_axes_of(dim) for dim in axes):
        return _followed_grid(axes)
    for extra in range(min(MOST_CLASS_TOKENS, tokens - 1) + 1):
        square = (tokens - extra) * size[0]
        rows = isqrt(square // size[1]) if square % size[1] == 0 else 0
        if rows and rows * rows * size[1] == square and (tokens - extra) % rows == 0:
            return rows, (tokens - extra) // rows
    return None


def _followed_grid(axes: Axes) -> tuple[int, int] | None:
    if _axes_of(axes[1]) != [ROWS, COLUMNS] or len(axes[1]) != 2:
        return None
    rows, columns = (length((factor,)) for factor in axes[1])
    return rows, columns


def _axes_of(dim: Dim) -> list[int]:
    return [factor.axis for factor in dim if factor.axis is not None]
