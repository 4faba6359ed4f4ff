"""What modules put out: one tensor, or several of them in tuples, dicts, named tuples and model outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor


def named_tensors(output: object) -> dict[str, Tensor]:
    """The tensors in a module's output, each with a name.

    Parameters
    ----------
    output : object
        A tensor, or tuples, lists, mappings, named tuples and dataclasses of such, in any depth.

    Returns
    -------
    dict of str to Tensor
        By the way to them: ``last_hidden_state``, ``0``, ``hidden_states/3``. A tensor by itself, and the only one in
        a tuple or list (be it there several times), is named ``""``.
    """
    found = dict(_walk(output, ""))
    if len({id(tensor) for tensor in found.values()}) == 1 and all(
        part.isdecimal() for name in found for part in name.split("/")
    ):
        return {"": next(iter(found.values()))}
    return found


def _walk(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
        return
    for key, inner in _entries(value):
        yield from _walk(inner, f"{name}/{key}" if name else key)


def _entries(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or range(len(value))
        yield from ((str(key), inner) for key, inner in zip(names, value, strict=True))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((part.name, getattr(value, part.name, None)) for part in fields(value))
