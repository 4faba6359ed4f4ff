"""A layer's options, read once and checked; what nobody reads is not ignored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from math import isfinite

from ndengine.models.caffe.definition import Option, Value

MOST = 2**31 - 1  # Caffe's int
# What a finished network's output does not depend on: how training begins, which code computes, how memory is saved.
_OF_TRAINING = {"engine", "dropout_ratio", "moving_average_fraction", "stable_prod_grad", "force_nd_im2col"}
_FILLER = "filler"  # ends the names of those that say how weights begin


class InvalidLayer(Exception):  # noqa: N818
    """A layer that Caffe itself would refuse; the text goes on after the layer's name."""


class UnsupportedLayer(Exception):  # noqa: N818
    """A layer that Caffe would run and we can't; the text says what of it."""


class Options:
    """The options of one layer.

    Parameters
    ----------
    options : mapping of str to Option
        By Caffe's names.
    """

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._left = {
            name: value for name, value in options.items() if name not in _OF_TRAINING and not name.endswith(_FILLER)
        }

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def integer(self, name: str, default: int | None = None, least: int = 0, most: int = MOST) -> int:
        """A whole number in a range; without a default it must be there."""
        value = self._one(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InvalidLayer(f"has {name}: {short(value)} where a whole number from {least} to {most} is needed")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self._one(name, default)
        if isinstance(value, bool | str) or not isfinite(value):
            raise InvalidLayer(f"has {name}: {short(value)} where a finite number is needed")
        return float(value)

    def numbers(self, name: str) -> tuple[float, ...]:
        """The finite numbers of a repeated field."""
        values = self._several(name)
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and isfinite(v) for v in values):
            raise InvalidLayer(f"has {name}: {short(values[0])} where finite numbers are needed")
        return tuple(float(value) for value in values)

    def flag(self, name: str, default: bool) -> bool:
        """A truth value; protobuf takes 0 and 1 for one, too."""
        value = self._one(name, default)
        if value not in (0, 1):
            raise InvalidLayer(f"has {name}: {short(value)} where true or false is needed")
        return bool(value)

    def word(self, name: str, words: Sequence[str]) -> str:
        """One of some words, of which the first is the default and numbers stand for their places."""
        value = self._one(name, words[0])
        if isinstance(value, int) and 0 <= value < len(words):
            return words[value]
        if value not in words:
            raise UnsupportedLayer(f"{name}: {short(value)}")
        return str(value)

    def pair(self, name: str, default: int | None, least: int, *, alone: bool = False) -> tuple[int, int]:
        """A number for rows and one for columns: one field for both, the field twice, or two fields of their own.

        Parameters
        ----------
        name : str
            Of the field for both; those of their own end in ``_h`` and ``_w``, without ``_size``.
        default : int, optional
            Without one the field must be there.
        least : int
        alone : bool
            Whether one of the two may be left out; it has the default then.
        """
        rows, columns = (f"{name.removesuffix('_size')}_{side}" for side in "hw")
        if rows in self or columns in self:
            if name in self:
                raise InvalidLayer(f"has both {name} and {rows} or {columns}")
            other = default if alone else None
            return self.integer(rows, other, least), self.integer(columns, other, least)
        values = self._several(name)
        if len(values) > 2:
            raise UnsupportedLayer(f"{len(values)} times {name}")
        if not values and default is None:
            raise InvalidLayer(f"has no {name}")
        both = [Options({name: value}).integer(name, None, least) for value in values] or [int(default or 0)]
        return both[0], both[-1]

    def axis(self, name: str, default: int, axes: int) -> int:
        """An axis, counted from the front where it is negative."""
        value = self.integer(name, default, -axes, axes - 1)
        return value % axes

    def finish(self) -> None:
        """Refuse what is left: an option of a Caffe that we don't know, which may change what is computed."""
        if self._left:
            raise UnsupportedLayer(f"the option {short(next(iter(self._left)))}")

    def _one(self, name: str, default: Value | None) -> Value:
        value = self._left.pop(name, default)
        if value is None:
            raise InvalidLayer(f"has no {name}")
        if isinstance(value, tuple):
            if len(value) != 1:
                raise InvalidLayer(f"has {len(value)} values of {name} where one is needed")
            return value[0]
        return value

    def _several(self, name: str) -> tuple[Value, ...]:
        value = self._left.pop(name, ())
        return value if isinstance(value, tuple) else (value,)


def some(names: Collection[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(short, islice(names, most))) + more


def short(value: object, most: int = 60) -> str:
    """What a file says, for an error: cut where it is long, and without what would disturb a terminal."""
    text = str(value)
    text = text if len(text) <= most else f"{text[:most]}…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
