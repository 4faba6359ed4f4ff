"""How a network is run: the usual way, or as it is where it does not bear that one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndengine.errors import ModelError
from ndengine.models.failures import failure_sentence, reaches
from ndengine.models.foreign import said

Autograd = Literal["inference", "idle", "recording"]


@dataclass(frozen=True)
class Manner:
    """How forward passes are made.

    Attributes
    ----------
    channels_last : bool
        Whether weights and images lie in channels-last memory, in which convolutions are faster. It is our wish and not
        the network's: a ``view`` of its own may not bear it.
    autograd : str
        ``inference`` is ``torch.inference_mode``, the fastest. ``idle`` is ``torch.no_grad``, under which a network can
        still compute gradients of its own. ``recording`` leaves autograd on, with images and parameters that require
        gradients.
    """

    channels_last: bool = True
    autograd: Autograd = "inference"

    @property
    def is_usual(self) -> bool:
        """Whether it is how networks are run that say nothing against it."""
        return self == USUAL

    def record(self) -> dict[str, Any]:
        """The manner as plain JSON values."""
        return {"channels_last": self.channels_last, "autograd": self.autograd}

    def place(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Bring a network to a device and into the memory format; it is changed in place, and given back."""
        if self.channels_last:
            return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
        module = module.to(device=device)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.dim() == 4 and not tensor.is_contiguous():  # it was in the other format
                tensor.data = tensor.data.contiguous()
        return module

    def take(self, batch: Tensor) -> Tensor:
        """A batch ``[N, C, h, w]`` as the network gets it."""
        batch = batch if self.channels_last else batch.contiguous()
        return batch.detach().requires_grad_() if self.autograd == "recording" else batch

    @contextmanager
    def running(self, module: nn.Module) -> Iterator[None]:
        """What autograd does during a pass."""
        if self.autograd == "inference":
            with torch.inference_mode():
                yield
        elif self.autograd == "idle":
            with torch.no_grad():
                yield
        else:
            module.requires_grad_(True)
            try:
                with torch.enable_grad():
                    yield
            finally:
                module.requires_grad_(False)

    def describe(self) -> str:
        """Say what is unusual about it."""
        how = {"inference": "", "idle": "under torch.no_grad", "recording": "with autograd on"}[self.autograd]
        return " and ".join(filter(None, ("" if self.channels_last else "in contiguous memory", how)))


USUAL = Manner()
OTHERS = (
    Manner(channels_last=False),
    Manner(autograd="idle"),
    Manner(channels_last=False, autograd="idle"),
    Manner(channels_last=False, autograd="recording"),
)


class PassError(Exception):
    """A network that failed, with what it raised."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(said(error))
        self.error = error


def is_full_memory(error: BaseException) -> bool:
    """Whether a pass failed as there was no memory for it: no other way of running it would help."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in said(error)  # a processor's; it has no type


def explain_pass(error: BaseException, module: nn.Module, batch: Tensor, paths: list[str], half: bool) -> ModelError:
    """The error for whoever runs a network that failed on a batch.

    Parameters
    ----------
    error : BaseException
        What the network raised.
    module : nn.Module
        The network.
    batch : Tensor
        ``[N, C, h, w]``.
    paths : list of str
        The layers that were asked for.
    half : bool
        Whether it ran under autocast.
    """
    count, (height, width) = len(batch), batch.shape[2:]
    words = said(error)
    if is_full_memory(error):
        what = words.rpartition("llocator: ")[2].partition(". Error code")[0]
        return ModelError(
            f"{count} image{'s' if count > 1 else ''} of {height}x{width} at a time take the network more "
            f"memory than there is ({what}); try a smaller {'--batch-size or ' if count > 1 else ''}--size."
        )
    subject = f"The network fails on images of {height}x{width}"
    if half and _runs_in_full(module, batch, paths):
        return ModelError(f"{subject} ({words}); it runs with --precision float32.")
    return ModelError(failure_sentence(subject, error, module, batch, paths))


def _runs_in_full(module: nn.Module, batch: Tensor, paths: list[str]) -> bool:
    with torch.autocast(batch.device.type, enabled=False):
        return reaches(module, batch[:1], paths)
