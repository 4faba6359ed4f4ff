"""A Caffe network as a torch module: a child a layer, a blob's name for what the blob holds in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.caffe import modules
from ndengine.models.caffe.blobs import tensors_of
from ndengine.models.caffe.definition import CaffeDefinition, CaffeLayer, path_of
from ndengine.models.caffe.makers import MOST_PARAMETERS, MOST_VALUES, Shape, check_values, make_layer
from ndengine.models.caffe.options import InvalidLayer, Options, UnsupportedLayer, short, some

State = dict[str, Tensor]

MOST_ALIVE = 4 * MOST_VALUES  # values of all blobs that are needed at once, for one image
MOST_READS = 10_000  # blobs that all layers read, each time counted; ResNet-152 has 700
IMAGE_CHANNELS = (3, 1)
SHOWN = 3  # inputs named in an error
_RELUS = ("ReLU", "PReLU", "ELU")
_UNCHANGED = ("Dropout", "Split")  # as in a trained network
# What may put out its input itself, or a view of it: the two share their memory.
_PASSING = (modules.Split, modules.Dropout, modules.Flatten, modules.Power)


@dataclass(frozen=True)
class Step:
    """One layer's turn in a forward pass.

    Attributes
    ----------
    path : str
        Its module.
    reads, writes : tuple of int
        Places of blobs; each value that a blob ever has gets a place of its own.
    frees : tuple of int
        Places that nobody reads afterwards.
    """

    path: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]


class CaffeNetwork(nn.Module):
    """A network built from a Caffe definition, as it runs behind training; see :func:`build_network`.

    Attributes
    ----------
    definition : CaffeDefinition
    size : tuple of int
        Rows and columns of the definition's image.
    paths : dict
        Module path of each layer that was built, by the layer's name; ``.`` in a name becomes ``_``.
    shapes : dict
        What each blob holds in the end, for one image of that size: channels, rows and columns, or fewer axes.
    missing : dict
        Blobs and layers that can't be computed, each with the reason.
    """

    def __init__(self, definition: CaffeDefinition) -> None:
        super().__init__()
        self.definition = definition
        self.size = (0, 0)
        self.paths: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.missing: dict[str, str] = {}
        self._aliases: dict[str, str] = {}
        self._steps: tuple[Step, ...] = ()
        self._places = 1
        self._channels = 3

    def aliases(self) -> dict[str, str]:
        """Blob to the path of the module that writes it last: ``conv5`` to ``relu5``, which works in place.

        A name with ``/`` is also known with ``-``, as in the released results: ``inception_5b-output``.
        """
        return self.definition.spell(self._aliases)

    def state_of(self, blobs: Mapping[str, Sequence[Tensor]]) -> State:
        """A state dict from a caffemodel's blobs, in this network's names and shapes.

        Parameters
        ----------
        blobs : mapping of str to sequence of Tensor
            By the name of the layer.

        Returns
        -------
        dict of str to Tensor
            Blobs that do not fit are among it, in shapes that tell. Layers that the network lacks are passed over,
            as Caffe does, unless it has none of them: then they are there as ``name.blobs``.
        """
        state: State = {}
        if not self.paths.keys() & blobs.keys():
            return {f"{short(name)}.blobs": found[0] for name, found in blobs.items() if found}
        for name, found in blobs.items():
            path = self.paths.get(name)
            if path is not None:
                state |= {
                    f"{path}.{key}": tensor for key, tensor in tensors_of(self.get_submodule(path), found).items()
                }
        return state

    def default_layer(self) -> str:
        """The last blob with positions that a ReLU leaves, or a concatenation of such ones; empty where there is none.

        So the end of a block and not a branch of it: ``res5c``, ``inception_5b/output``. Heads of detectors have no
        ReLU; only where nothing has one, the last convolution is taken.
        """
        rectified: dict[str, None] = {}  # in the order of writing
        last = ""
        for layer in self.definition.layers:
            wanted = [blob for blob in layer.tops if blob in self._aliases and self._has_positions(blob)]
            is_rectified = layer.kind in _RELUS or (
                layer.kind == "Concat" and all(blob in rectified for blob in layer.bottoms)
            )
            if layer.kind in _UNCHANGED and layer.tops == layer.bottoms:
                continue
            for blob in layer.tops:
                rectified.pop(blob, None)
            if is_rectified:
                rectified.update(dict.fromkeys(wanted))
            elif layer.kind == "Convolution":
                last = next(iter(wanted), last)
        return next(reversed(rectified), last)

    def _has_positions(self, blob: str) -> bool:
        shape = self.shapes[blob]
        return len(shape) == 3 and shape[1] * shape[2] > 1

    def forward(self, images: Tensor) -> Tensor:
        """Run all layers.

        Parameters
        ----------
        images : Tensor
            ``[N, 3, h, w]``; a network with one input channel gets their mean.

        Returns
        -------
        Tensor
            What the last layer puts out.
        """
        if images.shape[1] != self._channels == 1:
            images = images.mean(1, keepdim=True)
        values: list[Tensor | None] = [images, *[None] * (self._places - 1)]
        del images
        result: Any = None
        for step in self._steps:
            result = None  # else the blob before would live on
            result = self._modules[step.path](*(values[place] for place in step.reads))  # type: ignore[misc]
            outputs = result if isinstance(result, tuple) else (result,)
            for place, output in zip(step.writes, outputs, strict=True):
                values[place] = output
            for place in step.frees:
                values[place] = None
            del outputs, output
        last: Tensor = result[0] if isinstance(result, tuple) else result
        return last


def build_network(definition: CaffeDefinition, *, random: bool, source: str = "") -> CaffeNetwork:
    """Build a network.

    Parameters
    ----------
    definition : CaffeDefinition
    random : bool
        Draw weights (He's normal ones, biases 0) from torch's generator; else they stay uninitialised, for a
        file's are to follow.
    source : str
        What errors call the network: the file that it was read from.

    Returns
    -------
    CaffeNetwork
        Layers of types that are not known, and all that depends on them, are left out; ``missing`` names them.

    Raises
    ------
    ModelError
        If the definition contradicts itself, needs more than 2^28 parameters, blobs of more than 2^26 values an
        image or 10,000 blobs, or nothing in it can be computed. Nothing has been allocated by then.
    """
    name = source or definition.name or "the Caffe network"
    network = CaffeNetwork(definition)
    with torch.device("meta"):
        _Builder(network, name).build()
    network.to_empty(device="cpu")
    if random:
        for part in network.children():
            draw = getattr(part, "draw", None)
            if draw is not None:
                draw()
    return network.eval().requires_grad_(False)


class _Builder:
    """Adds layer after layer to a network."""

    def __init__(self, network: CaffeNetwork, name: str) -> None:
        self._network = network
        self._name = name
        self._blobs: dict[str, int] = {}  # the place of what a blob holds now
        self._shapes: list[Shape] = []  # by place
        self._memory: list[int] = []  # by place: the first place with the same memory
        self._steps: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
        self._parameters = 0
        self._repeats: dict[str, int] = {}  # how many layers of a name there have been

    def build(self) -> None:
        layers = self._network.definition.layers
        reads_in_all = sum(max(len(layer.bottoms), len(layer.tops), 1) for layer in layers)
        if reads_in_all > MOST_READS:
            raise ModelError(
                f"{self._name} has layers that read or write {reads_in_all:,} blobs, more than {MOST_READS:,}; use "
                "another definition."
            )
        self._take_image(self._network.definition.inputs)
        for layer in layers:
            reads = self._reads(layer)
            if reads is not None:
                try:
                    self._add(layer, reads)
                except UnsupportedLayer as error:
                    what = f" with {error}" if str(error) else ""
                    reason = f"layer {short(layer.name)} of type {short(layer.kind)}{what}, which is not supported"
                    self._leave_out(layer, reason)
                except InvalidLayer as error:
                    raise ModelError(
                        f"Layer {short(layer.name)} ({short(layer.kind)}) of {self._name} {error}; correct the "
                        "definition."
                    ) from None
        if not self._steps:
            why = next(iter(self._network.missing.values()), "")
            raise ModelError(
                f"{self._name} has no layer that can be computed{f': all of it depends on {why}' if why else ''}; "
                "use another definition."
            )
        self._finish()

    def _take_image(self, inputs: Mapping[str, tuple[int, ...]]) -> None:
        """The first input that can be an image is the image; nothing else is known of a run."""
        found = [name for name, shape in inputs.items() if len(shape) == 4 and shape[1] in IMAGE_CHANNELS]
        if not found:
            named = [f"{short(name)} [{'x'.join(map(str, inputs[name]))}]" for name in islice(inputs, SHOWN)]
            more = f" and {len(inputs) - SHOWN} more" if len(inputs) > SHOWN else ""
            given = ", ".join(named) + more
            others = self._network.definition.other_stages
            left_out = f", and left out because of their stage are {some(others)}" if others else ""
            or_stage = ', or state { stage: "..." } with the stage of one that was left out' if others else ""
            raise ModelError(
                f"{self._name} has no input of images with 3 channels or 1 (it has {given or 'none'}{left_out}); give "
                f"it input_shape {{ dim: 1 dim: 3 dim: 224 dim: 224 }}{or_stage}."
            )
        shape = tuple(inputs[found[0]][1:])
        try:
            check_values(shape)
        except InvalidLayer as error:
            raise ModelError(f"Input {short(found[0])} of {self._name} {error}; correct its shape.") from None
        self._network.size = (shape[1], shape[2])
        self._network._channels = shape[0]
        self._blobs[found[0]] = 0
        self._shapes.append(shape)
        self._memory.append(0)
        for name in inputs:
            if name != found[0]:
                self._network.missing[name] = f"the input {short(name)}, which is not the image"

    def _reads(self, layer: CaffeLayer) -> list[int] | None:
        """The places of what a layer reads; None where one can't be computed, and so neither can the layer."""
        for bottom in layer.bottoms:
            if bottom not in self._blobs:
                reason = self._network.missing.get(bottom, f"the blob {short(bottom)}, which nothing puts out")
                self._leave_out(layer, reason)
                return None
        return [self._blobs[bottom] for bottom in layer.bottoms]

    def _leave_out(self, layer: CaffeLayer, reason: str) -> None:
        missing = self._network.missing
        missing.setdefault(layer.name, reason)
        for top in layer.tops:
            missing[top] = reason
            self._blobs.pop(top, None)
            self._network._aliases.pop(top, None)

    def _add(self, layer: CaffeLayer, reads: list[int]) -> None:
        network = self._network
        module, shapes = make_layer(
            layer.kind, Options(layer.options), [self._shapes[place] for place in reads], len(layer.tops)
        )
        self._parameters += modules.parameters_of(module)
        if self._parameters > MOST_PARAMETERS:
            raise InvalidLayer(f"brings the parameters to {self._parameters:,}, more than {MOST_PARAMETERS:,}")
        path = self._path(layer.name)
        network.add_module(path, module)
        network.paths.setdefault(layer.name, path)
        writes = tuple(range(len(self._shapes), len(self._shapes) + len(shapes)))
        self._shapes += shapes
        shared = isinstance(module, _PASSING)
        self._memory += [self._memory[reads[0]] if shared else place for place in writes]
        for top, place in zip(layer.tops, writes, strict=True):
            self._blobs[top] = place
            network._aliases[top] = path
            network.missing.pop(top, None)
        self._steps.append((path, tuple(reads), writes))

    def _path(self, name: str) -> str:
        """A name for a module: without dots, which part paths, and not one that modules use for themselves."""
        name = path_of(name) or "layer"
        path = name
        while path in self._network._modules or hasattr(self._network, path):
            self._repeats[name] = self._repeats.get(name, 1) + 1
            path = f"{name}_{self._repeats[name]}"
        return path

    def _finish(self) -> None:
        """Settle when each value is dropped, and which layers may overwrite what they read."""
        last = {place: turn for turn, (_, reads, _) in enumerate(self._steps) for place in reads}
        used: dict[int, int] = {}  # memory to the turn in which it is read last
        for place, turn in last.items():
            memory = self._memory[place]
            used[memory] = max(turn, used.get(memory, 0))
        steps, alive, most = [], prod(self._shapes[0]), 0
        for turn, (path, reads, writes) in enumerate(self._steps):
            alive += sum(prod(self._shapes[place]) for place in writes)
            most = max(most, alive)
            frees = {place for place in reads if last[place] == turn} | {p for p in writes if p not in last}
            alive -= sum(prod(self._shapes[place]) for place in frees)
            steps.append(Step(path, reads, writes, tuple(sorted(frees))))
            module = self._network._modules[path]
            if isinstance(module, modules.ReLU):
                memory = self._memory[reads[0]]
                module.in_place = memory > 0 and used[memory] == turn  # the image is the caller's
        if most > MOST_ALIVE:
            raise ModelError(
                f"{self._name} has blobs of {most:,} values in use at once for one image, more than {MOST_ALIVE:,}; "
                "use a smaller input."
            )
        self._network._steps = tuple(steps)
        self._network._places = len(self._shapes)
        self._network.shapes = {name: self._shapes[place] for name, place in self._blobs.items()}
