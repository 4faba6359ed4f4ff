"""Which of the tensors in a checkpoint are the network's: found by the names and shapes that the network has.

Training scripts keep weights under keys of their own, beside their moving average, an optimizer's state or a loss with
weights, and with prefixes. What covers the network is taken where it is one; where it is several, nothing says which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ndengine.errors import ModelError
from ndengine.models.caffe.options import short

WRAPPERS = ("state_dict", "model_state_dict", "model")  # where most checkpoints keep the weights
MARKS = {"module", "_orig_mod"}  # what DataParallel and torch.compile put into names
DEEPEST = 4  # wrappers inside wrappers
SHOWN = 5  # names in an error
PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)

Tensors = dict[str, Tensor]


class Checkpoint(Tensors):
    """Tensors by name: those that most probably are the weights, with all that the file has besides.

    Attributes
    ----------
    groups : dict
        Every mapping in the file that holds tensors, by the path of keys that leads to it.
    path : Path
        The file.
    """

    def __init__(self, content: object, path: Path) -> None:
        self.groups = dict(_groups(content))
        self.path = path
        while isinstance(content, Mapping):
            inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
            if inner is None:
                break
            content = inner
        largest = max(self.groups.values(), key=lambda group: len(group), default={})
        super().__init__(_tensors(content) or largest)


@dataclass(frozen=True)
class _Choice:
    """One way to read a file: a group of its tensors, without a prefix."""

    group: str
    prefix: str
    state: Tensors

    @property
    def label(self) -> str:
        parts = (
            [f"the key {short(self.group)}"] if self.group else [],
            [f"the prefix {short(self.prefix)}"] if self.prefix else [],
        )
        return " with ".join(part for found in parts for part in found) or "the names as they are"


def choose_state(state: Tensors, own: Tensors, needed: Collection[str], source: str) -> Tensors:
    """The tensors of a file under the network's names, as far as those can be told.

    Parameters
    ----------
    state : dict
        As :class:`Checkpoint`, or plain.
    own : dict
        The network's tensors.
    needed : collection of str
        Names of those that a file must have.
    source : str
        What errors call the file.

    Raises
    ------
    ModelError
        If several groups of tensors or prefixes cover the network, and hold different values.
    """
    groups = state.groups if isinstance(state, Checkpoint) and state.groups else {"": state}
    choices = [choice for group, tensors in groups.items() for choice in _readings(group, tensors, own, needed)]
    if not choices:
        return _strip_prefix(_plain_names(state, own), own)
    most = max(_covered(choice.state, own) for choice in choices)
    best = [choice for choice in choices if _covered(choice.state, own) == most]
    first, *others = best
    different = [choice for choice in others if not _equal(first.state, choice.state, own)]
    if different:
        labels = "; ".join(choice.label for choice in [first, *different][:SHOWN])
        example = next((choice for choice in best if choice.group), None)
        key = "".join(f"[{part!r}]" for part in example.group.split(".")) if example else ""
        raise ModelError(
            f"{source} has weights for the network more than once, and they differ ({labels}); write those that you "
            f"mean to a file of their own, as with torch.save(torch.load({source!r}){key}, FILE)"
            f"{', without the prefix' if any(choice.prefix for choice in best) else ''}."
        )
    return first.state


def _groups(content: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensors]]:
    if isinstance(content, Mapping):
        own = _tensors(content)
        if own:
            yield ".".join(at), own
        inside = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list | tuple):
        inside = [(str(place), value) for place, value in enumerate(content)]
    else:
        return
    if len(at) < DEEPEST:
        for key, value in inside:
            yield from _groups(value, (*at, key))


def _tensors(content: object) -> Tensors:
    if not isinstance(content, Mapping):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, Tensor) and isinstance(key, str)}


def _readings(group: str, tensors: Tensors, own: Tensors, needed: Collection[str]) -> Iterator[_Choice]:
    """Every prefix without which a group of tensors covers what is needed; none at all where that does."""
    state = _plain_names(tensors, own)
    if _covers(state, own, needed):
        yield _Choice(group, "", state)
        return
    wanted = next(iter(needed), "")
    for prefix in [key.removesuffix(wanted) for key in state if wanted and key.endswith(f".{wanted}")]:
        inner = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        inner = _old_names(inner, own)
        if _covers(inner, own, needed):
            yield _Choice(group, prefix, inner)


def _plain_names(state: Tensors, own: Tensors) -> Tensors:
    """Names without the marks of wrappers, and those of torchvision's old DenseNets as they are now."""
    marks = MARKS - {part for key in own for part in key.split(".")}
    plain = {".".join(p for p in key.split(".") if p not in marks): value for key, value in state.items()}
    return _old_names(plain, own)


def _old_names(state: Tensors, own: Tensors) -> Tensors:
    old = {key: re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", key) for key in state}  # norm.1.weight is norm1.weight
    return {old[key] if key not in own and old[key] in own else key: value for key, value in state.items()}


def _strip_prefix(state: Tensors, own: Tensors) -> Tensors:
    """Without the first part of all names, where that makes some of them the network's."""
    first = {key.partition(".")[0] for key in state}
    if len(first) == 1 and not state.keys() & own.keys():
        inner = _old_names({key.partition(".")[2]: value for key, value in state.items()}, own)
        return inner if inner.keys() & own.keys() else state
    return state


def _covers(state: Tensors, own: Tensors, needed: Collection[str]) -> bool:
    tied: dict[int, list[str]] = {}
    for key, tensor in own.items():
        tied.setdefault(id(tensor), []).append(key)

    def has(key: str) -> bool:
        return any(name in state and state[name].shape == own[key].shape for name in tied[id(own[key])])

    return bool(needed) and all(has(key) for key in needed)


def _covered(state: Tensors, own: Tensors) -> int:
    return sum(key in state and state[key].shape == tensor.shape for key, tensor in own.items())


def _equal(one: Tensors, other: Tensors, own: Tensors) -> bool:
    both = [key for key in own if key in one and key in other]
    return all(
        one[key].dtype == other[key].dtype
        and one[key].layout == other[key].layout == torch.strided
        and not one[key].is_meta
        and not other[key].is_meta
        and torch.equal(one[key], other[key])
        for key in both
    )


def check_values(state: Tensors, own: Tensors, needed: Collection[str], complaint: str) -> Tensors:
    """A file's tensors in a form that a network takes.

    Parameters
    ----------
    state : dict
        By the network's names, of the network's shapes.
    own : dict
        The network's tensors.
    needed : collection of str
        Names of those whose values must be numbers.
    complaint : str
        How errors begin.

    Raises
    ------
    ModelError
        If a tensor has no values, or such as another tensor would be needed to understand: integers and 8-bit floats
        for weights, which some scale belongs to.
    """
    checks: Sequence[tuple[Callable[[Tensor, Tensor], bool], str]] = (
        (lambda new, old: new.is_meta, "has no values (device meta); write the weights after they have been made"),
        (lambda new, old: new.is_quantized, "is quantised; write the weights before quantisation"),
        (lambda new, old: type(new) not in PLAIN, "is of a class of its own; write plain tensors"),
        (lambda new, old: new.is_complex() != old.is_complex(), "has complex numbers; use weights of this network"),
        (_is_coded, "has {} for the network's {}, whose scale is not known; write the weights as floats"),
        (_is_cut, "has {} for the network's {}; use weights of this very architecture"),
    )
    for key, tensor in state.items():
        for fails, what in checks:
            if fails(tensor, own[key]):
                raise ModelError(f"{complaint}: {short(key)} {what.format(_name(tensor), _name(own[key]))}.")
    dense = {key: tensor if tensor.layout == torch.strided else tensor.to_dense() for key, tensor in state.items()}
    for key, tensor in dense.items():
        # A sum is one pass; only where it is no number a second one looks why.
        if key in needed and tensor.is_floating_point() and tensor.sum().isnan() and tensor.isnan().any():
            raise ModelError(f"{complaint}: {short(key)} has values that are no numbers (NaN); get the file again.")
    return dense


def _is_coded(new: Tensor, old: Tensor) -> bool:
    """Whether these are numbers that stand for others."""
    return old.is_floating_point() and (not new.is_floating_point() or new.dtype.itemsize == 1)


def _is_cut(new: Tensor, old: Tensor) -> bool:
    """Whether fractions would be lost."""
    return not old.is_floating_point() and new.is_floating_point() and not torch.equal(new, new.round())


def _name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")
