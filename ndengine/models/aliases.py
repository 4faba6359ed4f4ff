"""Names that the literature uses for layers: ``conv5_3``, ``fire9``, ``res5c``, and the blobs of Caffe's networks.

A convolution's name means its output after the ReLU (and after batch norm where there is one), as in the
papers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_lowercase

from torch import nn

from ndengine.models.caffe.network import CaffeNetwork


def layer_aliases(module: nn.Module) -> dict[str, str]:
    """Alias to module path, for a network built by torchvision or with its classes, or Caffe's; empty for any other.

    A name that is a path of the network itself is never an alias, but for Caffe's: there ``conv5`` is the blob, which
    the layer ``relu5`` writes last, and not the layer ``conv5``.
    """
    if isinstance(module, CaffeNetwork):
        return module.aliases()
    kind = type(module)
    family = kind.__module__.removeprefix("torchvision.models.") if "torchvision" in kind.__module__ else ""
    pairs = _FAMILIES[family](module) if family in _FAMILIES else iter(())
    paths = dict(module.named_modules())
    return {alias: path for alias, path in pairs if path in paths and alias not in paths}


def missing_layers(module: nn.Module) -> dict[str, str]:
    """Names of layers that a network should have and can't compute, each with the reason."""
    return module.missing if isinstance(module, CaffeNetwork) else {}


def _vgg(module: nn.Module) -> Iterator[tuple[str, str]]:
    block, number = 1, 0
    for path, part in _children(module, "features"):
        if isinstance(part, nn.Conv2d):
            number += 1
        elif isinstance(part, nn.ReLU):
            yield f"conv{block}_{number}", path
        elif isinstance(part, nn.MaxPool2d):
            yield f"pool{block}", path
            block, number = block + 1, 0
    yield from _fully_connected(module)


def _alexnet(module: nn.Module) -> Iterator[tuple[str, str]]:
    yield from _plain_stack(module)
    yield from _fully_connected(module)


def _squeezenet(module: nn.Module) -> Iterator[tuple[str, str]]:
    yield from _plain_stack(module)
    yield "conv10", "classifier.2"


def _plain_stack(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Convolutions, their pools and fire modules, counted in one row."""
    number = 0
    for path, part in _children(module, "features"):
        if isinstance(part, nn.Conv2d):
            number += 1
        elif isinstance(part, nn.ReLU):
            yield f"conv{number}", path
        elif isinstance(part, nn.MaxPool2d):
            yield f"pool{number}", path
        else:
            number += 1
            if type(part).__name__ == "Fire":
                yield f"fire{number}", path


def _fully_connected(module: nn.Module) -> Iterator[tuple[str, str]]:
    number = 5
    parts = list(_children(module, "classifier"))
    for place, (path, part) in enumerate(parts):
        if isinstance(part, nn.Linear):
            number += 1
            after = parts[place + 1 : place + 2]
            yield f"fc{number}", after[0][0] if after and isinstance(after[0][1], nn.ReLU) else path


def _googlenet(module: nn.Module) -> Iterator[tuple[str, str]]:
    for name, _ in module.named_children():
        if name.startswith("inception"):
            yield f"inception_{name.removeprefix('inception')}", name


def _resnet(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Blocks as ``res4f``, or ``res4b22`` in stages of the deep networks that outgrow the alphabet's custom."""
    counts = [len(list(_children(module, f"layer{stage - 1}"))) for stage in range(2, 6)]
    for stage, count in enumerate(counts, 2):
        for name, block in zip(_block_names(count, deep=max(counts) > 6), range(count), strict=True):
            yield f"res{stage}{name}", f"layer{stage - 1}.{block}"


def _block_names(count: int, deep: bool) -> Sequence[str]:
    return ["a", *(f"b{i}" for i in range(1, count))] if deep and count > 3 else ascii_lowercase[:count]


def _children(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Children of one part of the network by path; none where a custom network has no such part."""
    part = getattr(module, name, None)
    if isinstance(part, nn.Sequential):
        yield from ((f"{name}.{child}", inner) for child, inner in part.named_children())


_FAMILIES = {
    "vgg": _vgg,
    "alexnet": _alexnet,
    "squeezenet": _squeezenet,
    "googlenet": _googlenet,
    "resnet": _resnet,
}
