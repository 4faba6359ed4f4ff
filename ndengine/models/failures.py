"""What to say of a forward pass that fails: the network's own words, and a way out that was seen to work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn import functional

from ndengine.errors import ModelError
from ndengine.models.foreign import foreign_output, is_foreign, is_scripted, said

USUAL_SIZES = (224, 256, 32, 28, 64, 96, 112, 128, 227, 299, 384)
MOST_TRIED = 6  # sizes that are tried with a real image, where a network does not run without data

Size = tuple[int, int]

# What torch says where the input is of the right size, and of the wrong kind.
_TYPES = ("same dtype", "input type (", "scalar type", "type float but", "bias type (", "to be one of the following")


class _Reached(BaseException):
    """Ends a forward pass behind the layers that are asked for."""


def failure_sentence(
    subject: str,
    error: BaseException | str,
    module: nn.Module,
    images: Tensor,  # [N, C, h, w]
    paths: Sequence[str] = (),
) -> str:
    """One sentence about a network that failed, and code where the way out is code.

    Parameters
    ----------
    subject : str
        How the sentence begins: "The network fails on images of 32x32".
    error : BaseException or str
        What ended the pass; as text where only that is left.
    module : nn.Module
        The network, in evaluation mode, in a memory format that it runs in.
    images : Tensor
        What it was given, on its device; zeros will do where it failed on zeros.
    paths : sequence of str
        Modules that the pass was to reach; with none, it was to go through.

    Returns
    -------
    str
        Another ``--size`` is named in it only where the network was run at that size and did not fail.
    """
    words = said(error) if isinstance(error, BaseException) else error
    begun = f"{subject} ({words})"
    height, width = images.shape[2:]
    adapter = _adapter_for(words, module, images.shape[1])
    if adapter:
        return f"{begun}; {adapter}"
    size = working_size(module, images, paths)
    if size is not None:
        shown = str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
        return f"{begun}; it runs at --size {shown}."
    if "dynamic_s" in words or "Guard failed" in words:
        return (
            f"{begun}; an exported program takes what it was exported for: export it with dynamic_shapes for the batch "
            f"and with images of {height}x{width}."
        )
    return f"{begun}."


def working_size(module: nn.Module, images: Tensor, paths: Sequence[str] = ()) -> Size | None:
    """Another size at which a network that fails on some images runs; None where none was found, or size is no matter.

    It is looked for on tensors without data, which costs little, and then tried with the first image in that size;
    where the network does not run without data, a few sizes are tried with the image at once.
    """
    size = (int(images.shape[2]), int(images.shape[3]))
    one = images[:1].detach()

    def runs(at: Size) -> bool:
        with suppress(RuntimeError, ValueError):
            resized = one if at == size else functional.interpolate(one, at)
            return reaches(module, resized.contiguous(), paths)
        return False

    if runs(size):
        return None  # one image alone is taken: whatever it was, it was not the size
    twin = hollow_copy(module)
    sizes = list(_sizes(module, size))
    if twin is not None:
        shape = (2, images.shape[1])
        found = [at for at in sizes if reaches(twin, torch.zeros(*shape, *at, device="meta"), paths)]
        if found:
            return next(filter(runs, found[:2]), None)
    return next(filter(runs, sizes[:MOST_TRIED]), None)


def _sizes(module: nn.Module, size: Size) -> Iterator[Size]:
    """Sizes worth trying: what the network says itself, what is near, what is usual."""
    sides: list[int] = []
    for part in module.modules():
        for owner in (part, getattr(part, "config", None)):
            for name in ("image_size", "img_size"):
                value = getattr(owner, name, None)
                value = value[0] if isinstance(value, tuple | list) and value else value
                if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1024:
                    sides.append(value)
    largest = max(size)
    near = [-(-largest // step) * step for step in (32, 14, 16)]
    seen = {size}
    for side in (*sides, *near, *USUAL_SIZES):
        at = side, side
        if at not in seen:
            seen.add(at)
            yield at


def reaches(module: nn.Module, images: Tensor, paths: Sequence[str] = ()) -> bool:
    """Whether a forward pass gets as far as some modules, or through where none are named."""
    left = set(paths)

    def hook(path: str) -> Callable[[nn.Module, object, object], None]:
        def finish(part: nn.Module, inputs: object, output: object) -> None:
            left.discard(path)
            if not left:
                raise _Reached

        return finish

    parts = [(path, module.get_submodule(path)) for path in paths]
    handles = [part.register_forward_hook(hook(path)) for path, part in parts if not is_scripted(part)]
    try:
        with torch.random.fork_rng(devices=[]), foreign_output(), torch.no_grad():
            module(images)
    except _Reached:
        return True
    except BaseException as error:
        if not is_foreign(error):
            raise
        return False
    finally:
        for handle in handles:
            handle.remove()
    return not left


def hollow_copy(module: nn.Module) -> nn.Module | None:
    """A network's copy whose tensors have no data, and with it no cost; None where it can't be copied so."""
    hollow: dict[int, Tensor] = {}
    try:
        for tensor in (*module.parameters(), *module.buffers()):
            empty = tensor.detach().to("meta")
            hollow[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
        with foreign_output():
            return copy.deepcopy(module, dict(hollow))
    except Exception:  # whatever a copy of somebody's own class raises
        return None


def _adapter_for(words: str, module: nn.Module, channels: int) -> str:
    """What to do where the network wants another input than images; empty where that does not show."""
    lower = words.lower()
    try:
        inputs = list(signature(module.forward).parameters)
    except (TypeError, ValueError):
        inputs = []
    if "pixel_values" in inputs[1:]:
        return adapter(f"its first input is {inputs[0]} and not the images", "pixel_values=images, …")
    if "missing" in lower and "required" in lower and "argument" in lower:
        return adapter("it takes more than a batch of images", "images, …")
    if any(mark in lower for mark in _TYPES):
        if any(number in lower for number in ("long", "int;")):
            return adapter("it takes whole numbers, and images are float32", "images, …")
        return (
            "images and weights are float32, whatever the weights were: let its forward pass compute in the type of "
            "its weights, as in images.to(self.conv.weight.dtype)."
        )
    first = first_channels(module)
    if "channels" in lower and first is not None and first != channels:
        return adapter(f"its first convolution takes {first} channels, and images have {channels}", "images, …")
    return ""


def adapter(why: str, arguments: str) -> str:
    """How to write a network around a network, behind the reason."""
    return (
        f"{why}. Give --model a factory that returns an adapter, and --layer as net.NAME:\n"
        "    class Adapter(torch.nn.Module):\n"
        "        def __init__(self):\n"
        "            super().__init__()\n"
        "            self.net = build()\n"
        "        def forward(self, images):  # [N, 3, height, width]\n"
        f"            return self.net({arguments})  # whatever it takes, made from the images"
    )


def first_channels(module: nn.Module) -> int | None:
    """Channels that the first convolution takes, in the order in which modules were added; None without one."""
    for part in module.modules():
        weight = getattr(part, "weight", None)
        if isinstance(part, nn.modules.conv._ConvNd) and not is_scripted(part) and isinstance(weight, Tensor):
            return int(part.in_channels)
    return None


def input_channels(module: nn.Module, size: Size = (224, 224)) -> int:
    """Whether a network takes images of three channels or of one.

    That is what it runs with: three where its first module with weights takes three, else one where it takes one, as
    networks for digits and for X-rays do. A network that takes neither counts as one for three, and says why not.

    Parameters
    ----------
    module : nn.Module
        The network, on the CPU, in evaluation mode.
    size : tuple of int
        Rows and columns of its input.
    """
    return next((channels for channels in (3, 1) if takes_channels(module, size, channels)), 3)


def image_channels(module: nn.Module, size: Size, asked: str | None, model: str) -> int:
    """Channels of the images that a network gets, with ``--channels`` as asked for.

    Raises
    ------
    ModelError
        If it takes others than those that were asked for.
    """
    if asked is None:
        return input_channels(module, size)
    wanted, other = (1, 3) if asked == "grey" else (3, 1)
    if not takes_channels(module, size, wanted) and takes_channels(module, size, other):
        remedy = "leave --channels out" if asked == "grey" else "use --channels grey"
        takes = "one channel" if other == 1 else "three channels"
        raise ModelError(f"{model} takes {takes} and not {asked}; {remedy}.")
    return wanted


def trace_sentence(subject: str, failure: str, module: nn.Module, size: Size, paths: Sequence[str] = ()) -> str:
    """What :func:`failure_sentence` says of a network that was traced, on the CPU, and failed.

    Parameters
    ----------
    subject : str
        How the sentence begins.
    failure : str
        What the trace says of it.
    module : nn.Module
        The network.
    size : tuple of int
        Rows and columns of the images.
    paths : sequence of str
        Modules that the pass was to reach; with none, it was to go through.
    """
    images = torch.rand(2, input_channels(module, size), *size, generator=torch.Generator().manual_seed(0))
    return failure_sentence(subject, failure, module, images, paths)


def takes_channels(module: nn.Module, size: Size, channels: int) -> bool:
    """Whether a network on the CPU takes images of so many channels as far as its first module with weights.

    A network without such modules is run through.
    """
    own = (nn.modules.conv._ConvNd, nn.Linear)

    def finish(part: nn.Module, inputs: object, output: object) -> None:
        raise _Reached

    weighty = [part for part in module.modules() if isinstance(part, own) and not is_scripted(part)]
    handles = [part.register_forward_hook(finish) for part in weighty]
    try:
        return reaches(module, torch.zeros(2, channels, *size))
    finally:
        for handle in handles:
            handle.remove()
