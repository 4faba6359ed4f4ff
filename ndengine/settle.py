"""Before the first image counts: how a network can be run, and whether its activations depend on the image alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ndengine.forward import OTHERS, USUAL, Manner, PassError, explain_pass, is_full_memory
from ndengine.models.layers import Layer
from ndengine.models.preprocess import make_batch, resize_images
from ndengine.plan import Run
from ndengine.probe import Probe
from ndengine.progress import Progress
from ndengine.settings import Precision

FEW = 2  # images that it is tried with
ROUNDING = {"float32": 1e-3, "bfloat16": 0.1}  # of a layer's largest activation: what rounding never reaches
NAMED = 3  # modules in a note

Maps = dict[str, Tensor]


def settle_run(run: Run, progress: Progress) -> Run:
    """A run with the manner in which its network is run, and notes on what makes its activations depend on more.

    The network sees two of the run's images a few times. What it keeps in buffers, and torch's random numbers, are as
    before afterwards.

    Raises
    ------
    ModelError
        If the network fails on them in every manner.
    """
    images = run.images(np.arange(min(FEW, len(run.indices))))
    batch = make_batch(resize_images(images, run.size), run.preprocessing, device=run.device, threads=1)
    layers = [layer for layer, _ in run.homes]
    with left_alone(run.model.module, run.device) as buffers:
        trial = Trial(run.model.module, layers, batch, buffers, run.settings.precision)
        manner, notes = trial.settle()
    for note in notes:
        progress.note(note)
    return replace(run, manner=manner, notes=(*run.notes, *notes))


class Trial:
    """A few passes of a network over the same images.

    Parameters
    ----------
    module : nn.Module
        The network.
    layers : sequence of Layer
        The layers that are asked for.
    batch : Tensor
        ``[N, C, h, w]`` with one or two images, on the device where the network is to run.
    buffers : dict of str to Tensor
        The network's buffers as they were before.
    precision : str
        What it computes in.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Layer],
        batch: Tensor,
        buffers: Maps,
        precision: Precision = "float32",
    ) -> None:
        self._module, self._layers, self._batch, self._buffers = module, layers, batch, buffers
        self._device, self._precision = batch.device, precision

    def settle(self) -> tuple[Manner, list[str]]:
        """The manner, and sentences about it."""
        alone = self._plainly(self._batch[:1]) or self._plainly(self._batch)
        manner, first, obstacle = self._find()
        notes = []
        if obstacle:
            notes.append(f"The network runs {manner.describe()}; the usual way it fails ({obstacle}).")
        again = self._run(manner, self._batch)
        changing = [path for path in first if not _same(first[path], again[path])]
        if changing:
            return manner, [*notes, self._random_note(changing, first, again)]
        if alone is None or not self._differ(alone, first):
            return manner, notes
        both = self._plainly(self._batch)
        if manner.is_usual and both is not None and (wrong := self._differ(both, first)):
            manner = OTHERS[0]
            notes.append(
                f"In channels-last memory the network computes something else at {', '.join(wrong)}; it runs "
                f"{manner.describe()}."
            )
            first = both
        if apart := self._differ(alone, first):
            notes.append(self._batch_note(apart, alone, first))
        return manner, notes

    def _find(self) -> tuple[Manner, Maps, str]:
        """The first manner in which the network runs, with its activations, and why it is not the usual one."""
        plainest: BaseException | None = None
        obstacle = ""
        for manner in (USUAL, *OTHERS):
            try:
                with warnings.catch_warnings():
                    if manner == OTHERS[-1]:  # of what autograd records of a network that never asked for it
                        warnings.simplefilter("ignore")
                    return manner, self._run(manner, self._batch), obstacle
            except PassError as failed:
                obstacle = obstacle or str(failed)
                if is_full_memory(failed.error):
                    plainest = failed.error
                    break
                # The later manners are closer to what its author did; the last one has autograd's own troubles.
                plainest = failed.error if manner != OTHERS[-1] else plainest
        assert plainest is not None
        half, paths = self._precision == "bfloat16", [layer.path for layer in self._layers]
        raise explain_pass(plainest, self._module, self._batch, paths, half) from plainest

    def _run(self, manner: Manner, batch: Tensor) -> Maps:
        try:
            probe = Probe(self._module, self._layers, self._device, self._precision, manner=manner)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a memory format that weights of five dims do not have; a foreign .to()
            raise PassError(error) from error
        return probe.attempt(batch)

    def _plainly(self, batch: Tensor) -> Maps | None:
        """Activations in contiguous memory; None where the network does not run so."""
        try:
            return self._run(Manner(channels_last=False, autograd="idle"), batch)
        except PassError as failed:
            if is_full_memory(failed.error):
                raise explain_pass(failed.error, self._module, batch, [], False) from failed.error
            return None

    def _differ(self, found: Maps, others: Maps) -> list[str]:
        """Layers whose activations differ by more than rounding, on the images that both have."""
        return [layer.name for layer in self._layers if self._distance(found, others, layer) > self._rounding]

    @property
    def _rounding(self) -> float:
        return ROUNDING[self._precision]

    def _distance(self, found: Maps, others: Maps, layer: Layer) -> float:
        """The largest difference, as a share of the layer's largest activation."""
        one, other = found[layer.name], others[layer.name]
        count = min(len(one), len(other))
        one, other = one[:count], other[:count]
        usable = torch.isfinite(one) & torch.isfinite(other)  # what is not finite is an error of its own, later
        if not usable.any():
            return 0.0
        one, other = one[usable], other[usable]
        largest = float(torch.maximum(one.abs(), other.abs()).max())
        return float((one - other).abs().max()) / largest if largest else 0.0

    def _random_note(self, changing: list[str], first: Maps, again: Maps) -> str:
        those = [layer for layer in self._layers if layer.name in changing]
        share = max(self._distance(first, again, layer) for layer in those)
        kept = _changed(self._module, self._buffers)
        why = f"changes what it keeps ({_some(kept)})" if kept else "is random, or keeps something,"
        parts = _some([path for path, part in self._module.named_modules() if _drops(part)])
        return (
            f"Two forward passes of the same images differ at {', '.join(layer.name for layer in those)}, by up to "
            f"{share:.2g} of the largest activation: the network {why} in evaluation mode too"
            f"{f' ({parts})' if parts else ''}. The result holds for this run's passes alone."
        )

    def _batch_note(self, apart: list[str], alone: Maps, first: Maps) -> str:
        largest = max(self._distance(alone, first, layer) for layer in self._layers if layer.name in apart)
        parts = _some([path for path, part in self._module.named_modules() if _normalises_by_batch(part)])
        return (
            f"The same image gives other activations at {', '.join(apart)} alone and beside another one, by up to "
            f"{largest:.2g} of the largest: the network mixes the images of a batch"
            f"{f' (batch norm without statistics: {parts})' if parts else ''}. The result depends on --batch-size and "
            "on the order of the images."
        )


def _drops(part: nn.Module) -> bool:
    return isinstance(part, _DropoutNd) and part.training


def _normalises_by_batch(part: nn.Module) -> bool:
    return isinstance(part, _BatchNorm) and (part.training or part.running_mean is None)


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:NAMED], *(["…"] if len(names) > NAMED else [])])


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same bits, those of NaN too."""
    return one.shape == other.shape and bool((one.view(torch.int32) == other.view(torch.int32)).all())


def _changed(module: nn.Module, before: Maps) -> list[str]:
    """Names of buffers that have other values now."""
    now = dict(module.named_buffers())
    return [name for name, tensor in before.items() if name in now and not torch.equal(now[name].cpu(), tensor)]


@contextmanager
def left_alone(module: nn.Module, device: torch.device) -> Iterator[Maps]:
    """Leave a network's buffers and torch's random numbers as they are; gives the buffers, on the CPU."""
    before = {name: tensor.detach().cpu().clone() for name, tensor in module.named_buffers()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield before
    with torch.inference_mode():  # what a pass has put in their place may belong to it
        now = dict(module.named_buffers())
        for name in _changed(module, before):
            if now[name].shape == before[name].shape:
                now[name].copy_(before[name])
