"""One forward pass that shows what a network really does: which modules run, in what order, with what output."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ndengine.models.axes import Axes
from ndengine.models.axes import places as dims_of_places
from ndengine.models.fields import FieldMode
from ndengine.models.follow import Follower
from ndengine.models.outputs import named_tensors
from ndengine.models.places import Places
from ndengine.models.readings import Reading, read_places
from ndkernels.grid import Field

IMAGES = 2  # images in the traced batch: with one, a squeeze would take the batch for a spare dim


@dataclass(frozen=True)
class Output:
    """One tensor that a module put out.

    Attributes
    ----------
    shape : tuple of int
        With :data:`IMAGES` images.
    axes : Axes or None
        Where its dims lie in the image; None where that got lost.
    reading : Reading
        What its elements' places say of it.
    """

    shape: tuple[int, ...]
    axes: Axes | None
    reading: Reading


@dataclass(frozen=True)
class Step:
    """What one module did in the pass.

    Attributes
    ----------
    start, end : int
        Ticks at which its first call began and its last one ended.
    outputs : tuple of dict
        One a call: the tensors that it put out, by name (:func:`ndengine.models.outputs.named_tensors`).
    """

    start: int
    end: int
    outputs: tuple[dict[str, Output], ...]

    @property
    def calls(self) -> int:
        """How often the module ran."""
        return len(self.outputs)

    @property
    def last(self) -> Output | None:
        """The first tensor of the last call; None where it puts out none."""
        return next(iter(self.outputs[-1].values()), None)

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of :attr:`last`."""
        return None if self.last is None else self.last.shape

    @property
    def axes(self) -> Axes | None:
        """Axes of :attr:`last`."""
        return None if self.last is None else self.last.axes


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
    is_static : bool
        Whether it went through without data: then no module runs more or less often because of an image.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    failure: str = ""
    is_static: bool = False

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


def trace_model(module: nn.Module, size: tuple[int, int], images: int = IMAGES, channels: int = 3) -> Trace:
    """Follow one forward pass over images of ``size`` (rows, columns).

    On tensors without data where the network lets us, which takes milliseconds; else on noise. The network
    itself is left as it was.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    size : tuple of int
        Rows and columns of the images.
    images, channels : int
        How many there are, and of how many channels.

    Returns
    -------
    Trace
        As far as the pass got: a network may fail behind the layer that somebody asks for.
    """
    shape = (images, channels, *size)
    tensors = [*module.parameters(), *module.buffers()]
    hollow: dict[int, Tensor] = {}
    try:
        # Deep-copied around its tensors, so that nothing a forward pass stores ends up in the network itself.
        for tensor in tensors:
            empty = tensor.detach().to("meta")
            hollow[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
        twin = copy.deepcopy(module, dict(hollow))
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return _follow(module, torch.rand(shape, generator=torch.Generator().manual_seed(0)), Follower())
    buffers = {id(hollow[id(b)]): b for b in module.buffers() if b.device.type != "meta"}
    follower = Follower(buffers)
    trace = _follow(twin, torch.zeros(shape, device="meta"), follower)
    if trace.failure or follower.lacks_numbers:
        if any(tensor.device.type == "meta" for tensor in tensors):
            return trace
        second = _follow(module, torch.rand(shape, generator=torch.Generator().manual_seed(0)), Follower())
        return replace(second, is_static=not trace.failure)
    return replace(trace, is_static=True)


def _follow(module: nn.Module, images: Tensor, follower: Follower) -> Trace:
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

    mode = FieldMode(read, follower.follow)
    paths: dict[nn.Module, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        paths.setdefault(part, []).append(path)
    begun: dict[nn.Module, int] = {}

    def begin(part: nn.Module, inputs: Any) -> None:
        begun.setdefault(part, advance())

    ends: dict[nn.Module, int] = {}
    seen: dict[nn.Module, list[dict[str, tuple[Axes | None, Places]]]] = {}

    def finish(part: nn.Module, inputs: Any, output: Any) -> None:
        # Read when the pass is over: here every look at the places would be taken for a step of the network.
        found = {name: (mode.axes(t), follower.places(t)) for name, t in named_tensors(output).items()}
        seen.setdefault(part, []).append(found)
        ends[part] = advance()

    handles = [h for part in paths for h in (part.register_forward_pre_hook(begin), part.register_forward_hook(finish))]
    failure = ""
    try:
        with torch.no_grad():
            mode.mark_images(images)
            follower.mark_images(images)
            with mode:
                module(images)
    except Exception as error:  # whatever a foreign forward pass raises; the caller decides whether it matters
        failure = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    finally:
        for handle in handles:
            handle.remove()
    for part, calls in seen.items():
        outputs = tuple({name: _output(*found, len(images)) for name, found in call.items()} for call in calls)
        trace.steps.update({path: Step(begun[part], ends[part], outputs) for path in paths[part]})
    return replace(trace, failure=failure)


def _output(axes: Axes | None, places: Places, images: int) -> Output:
    return Output(places.shape, axes, read_places(places, images))


def field_of(output: Step | Output) -> tuple[Field, Field] | None:
    """Receptive field of a module's output along rows and columns; None where it is not known."""
    found = dims_of_places(output.axes)
    if found is None or output.axes is None:
        return None
    rows, columns = (output.axes[place][0].field for place in found)
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
