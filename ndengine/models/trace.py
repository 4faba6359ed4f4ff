"""One forward pass that shows what a network really does: which modules run, in what order, with what output."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ndengine.models.axes import Axes, places
from ndengine.models.fields import FieldMode
from ndengine.models.foreign import is_scripted
from ndkernels.grid import Field

IMAGES = 2  # images in the traced batch: with one, a squeeze would take the batch for a spare dim


@dataclass(frozen=True)
class Step:
    """What one module did in the pass.

    Attributes
    ----------
    start, end : int
        Ticks at which its first call began and its last one ended.
    calls : int
        How often it was called; shape and axes are those of the last call.
    shape : tuple of int or None
        Shape of its output with :data:`IMAGES` images; None where it puts out no tensor.
    axes : Axes or None
        Where the output's dims lie in the image; None where that got lost.
    """

    start: int
    end: int
    calls: int
    shape: tuple[int, ...] | None
    axes: Axes | None


@dataclass(frozen=True)
class Trace:
    """A forward pass.

    Attributes
    ----------
    steps : dict
        One a module that ran, by path, in the order in which they first ended.
    reads : dict
        The tick at which a parameter or buffer was first read, by its name in the state dict.
    failure : str
        What stopped the pass; empty where it went through.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    failure: str = ""

    def needs(self, paths: Iterable[str]) -> set[str]:
        """Names of the parameters and buffers that are read before the deepest of these layers is done."""
        end = self.end(paths)
        return {name for name, tick in self.reads.items() if tick < end}

    def end(self, paths: Iterable[str]) -> int:
        """The tick at which the deepest of these layers is done."""
        return max(self.steps[path].end for path in paths)

    def state(self, path: str, until: int) -> str:
        """Whether a module was ``untouched``, ``running`` or ``done`` at a tick, its children's calls counted in.

        A container that is never called itself (a ModuleList) runs from its first child's start until something
        runs behind its last one.
        """
        inside = [s for p, s in self.steps.items() if not path or p == path or p.startswith(path + ".")]
        if not inside or min(step.start for step in inside) > until:
            return "untouched"
        last = max(step.end for step in inside)
        return "done" if last < until or (last == until and path in self.steps) else "running"


def trace_model(module: nn.Module, size: tuple[int, int], channels: int = 3) -> Trace:
    """Follow one forward pass over images of ``size`` (rows, columns).

    On tensors without data where the network lets us, which takes milliseconds; else on zeros. The network
    itself is left as it was.

    Returns
    -------
    Trace
        As far as the pass got: a network may fail behind the layer that somebody asks for.
    """
    tensors = [*module.parameters(), *module.buffers()]
    hollow: dict[int, Tensor] = {}
    try:
        # Deep-copied around its tensors, so that nothing a forward pass stores ends up in the network itself.
        for tensor in tensors:
            empty = tensor.detach().to("meta")
            hollow[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
        twin = copy.deepcopy(module, dict(hollow))
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return _follow(module, size, "cpu", channels)
    trace = _follow(twin, size, "meta", channels)
    return _follow(module, size, "cpu", channels) if trace.failure else trace


def _follow(module: nn.Module, size: tuple[int, int], device: str, channels: int) -> Trace:
    trace = Trace()
    names: dict[int, list[str]] = {}
    for name, tensor in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        names.setdefault(id(tensor), []).append(name)
    now = 0

    def advance() -> int:
        nonlocal now
        now += 1
        return now

    def read(tensor: Tensor) -> None:
        for name in names.get(id(tensor), ()):
            trace.reads.setdefault(name, now)

    mode = FieldMode(read)
    paths: dict[nn.Module, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        paths.setdefault(part, []).append(path)
    begun: dict[nn.Module, int] = {}

    def begin(part: nn.Module, inputs: Any) -> None:
        begun.setdefault(part, advance())

    def finish(part: nn.Module, inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        shape, axes = (None, None) if tensor is None else (tuple(tensor.shape), mode.axes(tensor))
        tick = advance()
        for path in paths[part]:
            calls = trace.steps[path].calls + 1 if path in trace.steps else 1
            trace.steps[path] = Step(begun[part], tick, calls, shape, axes)

    watched = [part for part in paths if not is_scripted(part)]
    handles = [h for p in watched for h in (p.register_forward_pre_hook(begin), p.register_forward_hook(finish))]
    try:
        with torch.no_grad():
            images = torch.zeros(IMAGES, channels, *size, device=device)
            mode.mark_images(images)
            with mode:
                module(images)
    except Exception as error:  # whatever a foreign forward pass raises; the caller decides whether it matters
        return replace(trace, failure=f"{type(error).__name__}: {error}".strip().splitlines()[0])
    finally:
        for handle in handles:
            handle.remove()
    return trace


def first_tensor(output: object) -> Tensor | None:
    """The tensor that a module puts out, the first of several; None where there is none."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def field_of(step: Step) -> tuple[Field, Field] | None:
    """Receptive field of a module's output along rows and columns; None where it is not known."""
    found = places(step.axes)
    if found is None or step.axes is None:
        return None
    rows, columns = (step.axes[place][0].field for place in found)
    return None if rows is None or columns is None else (rows, columns)


def field_map(module: nn.Module, paths: Iterable[str], size: tuple[int, int]) -> dict[str, tuple[Field, Field] | None]:
    """Receptive fields of a network's modules for images of ``size`` (rows, columns).

    Parameters
    ----------
    module : nn.Module
        The network, in eval mode.
    paths : iterable of str
        ``named_modules`` paths.
    size : tuple of int
        Rows and columns of the input in pixels.

    Returns
    -------
    dict
        Path to the fields along rows and columns, or None where there is none: the module did not run, or it
        works on something else than a map, or what runs before it has no field
        (:mod:`ndengine.models.fields`).
    """
    steps = trace_model(module, size).steps
    return {path: field_of(steps[path]) if path in steps else None for path in paths}
