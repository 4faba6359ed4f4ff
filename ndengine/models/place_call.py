"""One operation of a pass, for the rules that follow places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ndengine.models.places import Places, nowhere


class PlaceCall:
    """One operation, its arguments by name, and the places of its tensors.

    Parameters
    ----------
    name : str
        The operation's, without ``aten::`` and the mark of working in place.
    func : callable
        The operation.
    args, kwargs
        What it was called with; tensors may be without data.
    places : callable
        Places of a tensor.
    values : callable
        A tensor's numbers, or None where they are not known (on the meta device).
    """

    def __init__(
        self,
        name: str,
        func: Any,
        arguments: tuple[tuple[Any, ...], dict[str, Any]],
        places: Callable[[Tensor], Places],
        values: Callable[[Tensor], Tensor | None],
    ) -> None:
        self.name, self.func = name, func
        self.args, self.kwargs = arguments
        self.places, self.values = places, values
        formal = func._schema.arguments
        self.named = {a.name: a.default_value for a in formal if a.has_default_value()}
        self.named |= {a.name: v for a, v in zip(formal, self.args, strict=False)} | self.kwargs
        self.tensors = list(tensors_among([*self.args, *self.kwargs.values()]))
        self.source = places(self.tensors[0]) if self.tensors else nowhere(())

    def spread_argument(self, name: str, count: int) -> list[int]:
        """An argument with one value a spatial dim, where one value may stand for all."""
        values = list(self.named[name])
        return values * count if len(values) == 1 else values


def tensors_among(values: Sequence[Any]) -> list[Tensor]:
    """All tensors among arguments, lists opened."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_among(value)
    return found
