"""Find the layers that somebody asks for, and list those that can be dissected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ndengine.errors import ModelError
from ndengine.models.aliases import layer_aliases, missing_layers
from ndengine.models.layer import Layer, LayerRow, layer_maps
from ndengine.models.layer_search import Search, name_of
from ndengine.models.proof import prove_layers
from ndengine.models.trace import Trace, field_of

__all__ = ["Layer", "LayerRow", "default_layers", "layer_maps", "list_layers", "resolve_layers", "survey_layers"]

# Parts of networks that stand behind the backbone, by what they are commonly called.
BEHIND = frozenset(
    "head heads classifier fc fc_norm decoder decode_head aux aux_classifier auxiliary_head neck fpn rpn roi_heads "  # noqa: SIM905
    "mask_head keypoint_head pooler head_drop head_dist pre_logits text_model bbox_predictor class_labels_classifier "
    "segmentation_head qformer AuxLogits aux1 aux2".split()
)


def resolve_layers(
    module: nn.Module,
    requested: Sequence[str],
    model_name: str,
    size: tuple[int, int] = (224, 224),
    trace: Trace | None = None,
    **how: Any,
) -> list[Layer]:
    """The layers that are asked for, in the order of asking, each once.

    Parameters
    ----------
    module : nn.Module
        The network, in eval mode.
    requested : sequence of str
        Module paths, aliases, or fnmatch patterns of either. ``PATH/PART`` is one of several tensors that a module
        puts out, ``NAME@2`` the second call of a module that runs several times; without, the last call counts. A
        pattern selects those that are shown to put out maps.
    model_name : str
        What errors call the network.
    size : tuple of int
        Rows and columns of the network's input in pixels.
    trace : Trace, optional
        What :func:`ndengine.models.proof.prove_layers` gave at this size, where there is one already.
    **how
        ``listed``, what `ndengine layers --model` takes to list the layers, where that is not ``model_name``;
        ``layout``, a :class:`Layout` that the outputs are read by; ``tell``, called with a sentence about what a
        pattern leaves out.

    Returns
    -------
    list of Layer

    Raises
    ------
    ModelError
        If a name is unknown (close names are given), a layer does not run, or is not shown to put out maps.
    """
    search = Search(module, model_name, size, trace or prove_layers(module, size), **how)
    found: dict[tuple[str, str, int], Layer] = {}
    for wanted in requested:
        for layer in search.find(wanted):
            found.setdefault((layer.path, layer.part, layer.call), layer)
    return list(found.values())


def list_layers(module: nn.Module, size: tuple[int, int], model_name: str = "the network") -> list[LayerRow]:
    """All layers that are shown to put out maps, in the order in which they finish.

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
    return survey_layers(module, size, model_name)[0]


def survey_layers(
    module: nn.Module, size: tuple[int, int], model_name: str = "the network", trace: Trace | None = None
) -> tuple[list[LayerRow], dict[str, str]]:
    """The list of :func:`list_layers`, and the outputs that are not in it, by name, each with what was found instead.

    Parameters and errors as there; ``trace`` as in :func:`resolve_layers`.
    """
    trace = trace or prove_layers(module, size)
    named = layer_aliases(module)
    aliases = {path: alias for alias, path in named.items() if alias != path}
    hidden = {name for name in named if named[name] != name} | missing_layers(module).keys() - named.keys()
    rows, refused = [], {}
    for path in sorted(trace.steps, key=lambda path: trace.steps[path].end):
        if not path or path in hidden:
            continue
        step, kind = trace.steps[path], type(module.get_submodule(path)).__name__
        for part, output in step.outputs[-1].items():
            name, reading = name_of(path, part), output.reading
            if reading.axes:
                row = LayerRow(name, aliases.get(path, ""), kind, reading.shape, field_of(output), step.calls)
                rows.append(replace(row, axes=reading.axes, tokens=reading.tokens))
            else:
                refused[name] = reading.refusal
    if not rows:
        why = trace.failure or next(iter(refused.values()), "") or "no module puts out maps"
        raise ModelError(f"{model_name} has no layers at an input of {size[0]}x{size[1]} ({why}); try another --size.")
    return rows, refused


def default_layers(module: nn.Module, trace: Trace) -> tuple[str, ...]:
    """The layer that is dissected where nothing is asked for: the deepest of a backbone's last stage.

    Of the layers that are shown to be maps, heads, decoders and necks aside: the last one to finish whose maps are the
    smallest ones. Empty where there is none.
    """
    found: list[tuple[int, int, str]] = []
    for path, step in trace.steps.items():
        if not path or any(part in BEHIND for part in path.split(".")):
            continue
        for part, output in step.outputs[-1].items():
            _, rows, columns = output.reading.shape
            if output.reading.axes and rows > 1 and columns > 1:
                found.append((-rows * columns, step.end, name_of(path, part)))
    return (max(found)[2],) if found else ()
