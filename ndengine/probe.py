"""The forward pass: images in, the activations of the requested layers out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ndengine.clock import Clock
from ndengine.devices import CPU, exact_arithmetic
from ndengine.errors import ModelError
from ndengine.forward import USUAL, Manner, PassError, explain_pass
from ndengine.models.foreign import foreign_output, is_foreign
from ndengine.models.layers import Layer, layer_maps
from ndengine.models.preprocess import Preprocessing, make_batch, resize_images
from ndengine.settings import Precision
from ndkernels.rotate import Rotation

READ_AHEAD = 2  # batches

# What the reader's thread hands on: images with the place of the first, an error, or None at the end.
Item = tuple[int, Tensor | NDArray[np.uint8]] | BaseException | None


def _images(first: int, count: int) -> str:
    return f"image {first}" if count == 1 else f"images {first} to {first + count - 1}"


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


class _Done(BaseException):
    """Ends a forward pass behind the deepest layer."""


def read_batches(
    images: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    indices: NDArray[np.int64],  # [N]
    preprocessing: Preprocessing,
    *,
    size: tuple[int, int],
    batch_size: int,
    start: int = 0,
    device: torch.device = CPU,
    threads: int = 1,
    clock: Clock | None = None,
) -> Generator[tuple[int, Tensor], None, None]:
    """Read images on a thread of their own, a few batches ahead, and normalise them.

    Parameters
    ----------
    images : callable
        Given ascending numbers ``[B]``, the images ``[B, ih, iw, 3]`` uint8, RGB.
    indices : ndarray of int64, [N]
        The images to read.
    preprocessing : Preprocessing
        How a pixel becomes a number.
    size : tuple of int
        Height and width of the network's input; images of another size are resized whole.
    batch_size : int
        Images in a batch.
    start : int
        The place in ``indices`` to begin at.
    device : torch.device
        Where batches are wanted.
    threads : int
        Threads that make a batch, on a CPU.
    clock : Clock or None
        Told of what the thread does, and of the part ``normalise``, which makes batches on a CPU.

    Yields
    ------
    first : int
        The place in ``indices`` of the batch's first image.
    batch : Tensor
        ``[B, 3, *size]`` float32 in channels-last order; ``[B, 1, *size]`` for a grey network.
    """
    table = preprocessing.table()
    clock = clock or Clock()

    # A GPU's batches are made by the reader's thread. On a CPU that would take a core away from one half of a forward
    # pass while the other half waits for it, so there all cores make the batch between two passes.
    beside = device.type != "cpu"

    def look_up(found: NDArray[np.uint8]) -> Tensor:
        return make_batch(found, preprocessing, table, device=device, threads=threads)

    def load(first: int) -> Tensor | NDArray[np.uint8]:
        with clock.reading("read"):
            found = images(indices[first : first + batch_size])
        with clock.reading("prepare"):
            found = resize_images(found, size)
            return look_up(found) if beside else found

    ready: queue.Queue[Item] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: Item) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for first in range(start, len(indices), batch_size):
                if stopped.is_set():
                    return
                put((first, load(first)))
            put(None)
        except BaseException as error:  # handed to the thread that asked, which raises it
            put(error)

    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None

    def read_on_stream() -> None:
        with torch.cuda.stream(stream):  # the caller's: a thread begins with the default one; None changes nothing
            read()

    thread = threading.Thread(target=read_on_stream, name="ndengine-reader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            first, found = item
            if isinstance(found, Tensor):
                yield first, found
                continue
            with clock.part("normalise"):
                batch = look_up(found)
            yield first, batch
    finally:
        stopped.set()
        thread.join()


class Probe:
    """Runs a network up to the deepest of some layers, and keeps what they put out.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; its memory format becomes that of ``manner``.
    layers : sequence of Layer
        Each says which of its module's calls and tensors counts.
    device : torch.device
        Where it runs; the module is moved there.
    precision : str
        ``bfloat16`` runs it under torch's autocast, which leaves in float32 what needs it.
    rotations : mapping of str to Rotation
        What the maps of a layer are turned by, by the layer's name; the others stay as they are.
    clock : Clock or None
        Told of the part ``rotate``.
    manner : Manner
        How it is run.

    Attributes
    ----------
    module : nn.Module

    Notes
    -----
    Outputs are copied when they appear: an in-place ReLU behind a layer does not change them.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        device: torch.device = CPU,
        precision: Precision = "float32",
        rotations: Mapping[str, Rotation] = MappingProxyType({}),
        clock: Clock | None = None,
        manner: Manner = USUAL,
    ) -> None:
        self.module = manner.place(module, device)
        self._manner = manner
        self._device = device
        self._precision = precision
        self._layers = {layer.name: layer for layer in layers}
        self._rotations = dict(rotations)
        self._clock = clock or Clock()

    def activations(self, batch: Tensor, first: int = 0) -> dict[str, Tensor]:
        """The layers' activations on a batch.

        Parameters
        ----------
        batch : Tensor
            ``[N, 3, height, width]`` float32 (1 instead of 3 for a grey network), on the probe's device.
        first : int
            What errors call its first image.

        Returns
        -------
        dict of str to Tensor
            By layer name: ``[N, U, h, w]`` float32, contiguous, shared with nobody, on the probe's device.

        Raises
        ------
        ModelError
            If the network fails on the batch, a layer's output has changed its shape, or a layer does not run as
            often as it did when it was found.
        """
        try:
            return self.attempt(batch, first)
        except PassError as failed:
            half = self._precision == "bfloat16"
            paths = [layer.path for layer in self._layers.values()]
            raise explain_pass(failed.error, self.module, batch, paths, half) from failed.error

    def attempt(self, batch: Tensor, first: int = 0) -> dict[str, Tensor]:
        """The layers' activations, as :meth:`activations` gives them; PassError where the network fails."""
        ran = dict.fromkeys(self._layers, 0)
        found: dict[str, Tensor] = {}
        # A module that an image may call once more must be watched to the end of the pass.
        stops = all(layer.is_static for layer in self._layers.values())

        def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                ran[name] += 1
                if ran[name] == self._layers[name].call:
                    maps = layer_maps(output, self._layers[name])
                    found[name] = _copy_maps(maps)
                    if stops and len(found) == len(self._layers):
                        raise _Done

            return hook

        half = self._precision == "bfloat16"
        autocast = torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=half)
        images = self._manner.take(batch)
        with (
            ExitStack() as hooks,
            self._manner.running(self.module),
            exact_arithmetic(self._device),
            autocast,
            foreign_output(),
        ):
            for name, layer in self._layers.items():
                hooks.callback(self.module.get_submodule(layer.path).register_forward_hook(keep(name)).remove)
            try:
                self.module(images)
            except _Done:
                pass
            except BaseException as error:
                if isinstance(error, torch.OutOfMemoryError) or not is_foreign(error):
                    raise
                if len(found) < len(self._layers):  # else it swallowed the end of the pass, and failed behind it
                    raise PassError(error) from error
        if not stops or len(found) < len(self._layers):
            self._check_calls(ran, first, len(batch))
        if self._manner.autograd == "recording":
            found = {name: maps.detach() for name, maps in found.items()}
        with torch.inference_mode():
            for name, rotation in self._rotations.items():
                with self._clock.part("rotate"):
                    rotation.turn(found[name])
        return {name: found[name] for name in self._layers}

    def _check_calls(self, ran: Mapping[str, int], first: int, count: int) -> None:
        """Raise ModelError if a layer ran more or less often than when it was found."""
        for name, layer in self._layers.items():
            if ran[name] != layer.calls:
                raise ModelError(
                    f"Layer {name} ran {_times(ran[name])} on {_images(first, count)} and "
                    f"{_times(layer.calls)} when it was looked for; a layer that images may skip or repeat can't be "
                    "dissected."
                )


def _copy_maps(maps: Tensor) -> Tensor:
    """Maps ``[N, U, h, w]`` of any type and memory format as contiguous float32 in memory of their own."""
    copied = maps.float()
    if copied.stride(1) == 1 and not copied.is_contiguous():
        # Channels last. Torch transposes matrices in less than half the time in which it changes a memory format.
        copied = copied.movedim(1, -1).flatten(1, 2).transpose(1, 2).contiguous().view(maps.shape)
    copied = copied.contiguous()
    return copied.clone() if copied.data_ptr() == maps.data_ptr() else copied
