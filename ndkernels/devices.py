"""Where tensors live: which back end counts them, and how results leave a GPU without stopping it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def on_gpu(tensor: Tensor) -> bool:
    """Whether the Triton kernels are the ones for a tensor: CUDA's and ROCm's, which torch both calls ``cuda``."""
    return tensor.device.type == "cuda"


def run_op(op: Callable[..., Any], cpu: Callable[..., Any], gpu: Callable[..., Any], *arguments: Any) -> Any:
    """What a custom op does for its first argument, a tensor, by way of the op only where a compiler is to see it.

    The way through torch's dispatcher takes as long as counting three images, and its first use seconds of imports.
    """
    if torch.compiler.is_compiling() or type(arguments[0]) is not Tensor:
        return op(*arguments)
    with torch.no_grad():  # counts have no gradient; NumPy refuses tensors that want one
        return (gpu if on_gpu(arguments[0]) else cpu)(*arguments)


def check_devices(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors lie on one device, a CPU's or a GPU's."""
    (first, one), *others = tensors.items()
    if one.device.type not in ("cpu", "cuda"):
        raise ValueError(f"{first} is on {one.device}; the kernels work on cpu and cuda tensors")
    for name, tensor in others:
        if tensor.device != one.device:
            raise ValueError(f"{name} is on {tensor.device}, but {first} on {one.device}; move one of them with .to()")


def record_point(device: torch.device) -> torch.cuda.Event | None:
    """A mark behind all that has been queued on a GPU so far; None elsewhere."""
    return torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None


class Transfer:
    """Tensors on their way to the host, beside whatever the GPU does next.

    Parameters
    ----------
    tensors : sequence of Tensor
        Of one device; they must not change before :meth:`wait` has returned.
    after : Event or None
        The copies begin behind this mark of :func:`record_point`, on a stream of their own; None puts them behind all
        that is queued now, where they hold nothing up: for a few numbers, or in host memory.
    """

    def __init__(self, tensors: Sequence[Tensor], after: torch.cuda.Event | None = None) -> None:
        self._kept = tensors  # their memory must not be given to another tensor while it is copied
        self._done: torch.cuda.Event | None = None
        device = tensors[0].device
        if device.type == "cpu":
            self._copies = [t.clone() for t in tensors]
            return
        stream = torch.cuda.current_stream(device)
        if after is not None:
            stream = _side_stream(device)
            stream.wait_event(after)
        with torch.cuda.stream(stream):
            self._copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            for copy, tensor in zip(self._copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
            self._done = stream.record_event()

    def wait(self) -> list[Tensor]:
        """The copies in host memory, once they are complete; the GPU goes on with what was queued since."""
        if self._done is not None:
            self._done.synchronize()
        return self._copies


@lru_cache(maxsize=16)
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
