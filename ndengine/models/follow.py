"""Follow places through a forward pass, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ndengine.models.fields import tensors_in
from ndengine.models.place_call import PlaceCall
from ndengine.models.place_rules import NEEDS_NUMBERS, PARTS, follow_call, follow_parts
from ndengine.models.places import NONE, Places, core, image_places, lost, nowhere

MOST_SIDE = 1 << 14  # pixels: coordinates of a larger image would take longer than the network itself
MOST_NUMBERS = 1 << 20  # of a constant that is computed beside a pass without data


class Follower:
    """The places of all tensors of a pass.

    Parameters
    ----------
    numbers : mapping of Tensor to Tensor
        Buffers of a network without data, each with its data.
    """

    def __init__(self, numbers: Mapping[int, Tensor] | None = None) -> None:
        self._places: MutableMapping[Tensor, Places] = WeakTensorKeyDictionary()
        self._bases: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._numbers: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._buffers = dict(numbers or {})
        self.lacks_numbers = False  # whether places were lost for want of numbers that a pass over data would have

    def mark_images(self, images: Tensor) -> None:
        """Make ``images [N, channels, ih, iw]`` the input that places are measured on."""
        count, channels, rows, columns = images.shape
        if max(rows, columns) > MOST_SIDE:
            self._places[images] = lost(images.shape, f"the image has a side of more than {MOST_SIDE:,} pixels")
            return
        self._places[images] = image_places(count, channels, (rows, columns))

    def places(self, tensor: Tensor) -> Places:
        """Where a tensor's elements lie."""
        found = self._places.get(tensor)
        return nowhere(tensor.shape) if found is None else found

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Note the places of what an operation gave."""
        name = func._schema.name.removeprefix("aten::")
        name = name.removesuffix("_") or name
        outputs = list(tensors_in([result]))
        inputs = list(tensors_in([*args, *kwargs.values()]))
        if all(self.places(tensor).nowhere for tensor in inputs):
            found = [nowhere(output.shape) for output in outputs]
            self._compute(func, args, kwargs, inputs, outputs)
        else:
            found = self._found(PlaceCall(name, func, (args, kwargs), self.places, self.numbers), outputs)
        alias = func._schema.returns[0].alias_info if func._schema.returns else None
        for output, places in zip(outputs, found, strict=True):
            self.lacks_numbers = self.lacks_numbers or places.lost == NEEDS_NUMBERS
            if alias is not None and alias.is_write:
                self._write_through(output, places)
            elif alias is not None and inputs:
                self._bases[output] = self._bases.get(inputs[0], inputs[0])
            if places.nowhere:
                self._places.pop(output, None)
            else:
                self._places[output] = places

    def _found(self, call: PlaceCall, outputs: list[Tensor]) -> list[Places]:
        shapes = [tuple(output.shape) for output in outputs]
        try:
            if call.name in PARTS:
                return follow_parts(call, shapes)
            return [follow_call(call, shape) for shape in shapes]
        except (RuntimeError, IndexError, TypeError, ValueError, KeyError) as error:
            # An overload that a rule was not written for: its places are not known, which is no error.
            return [lost(shape, f"torch's {call.name} can't be followed ({type(error).__name__})") for shape in shapes]

    def numbers(self, tensor: Tensor) -> Tensor | None:
        """A tensor's data; None where a pass without data does not have it."""
        if tensor.device.type != "meta":
            return tensor
        found = self._numbers.get(tensor)
        return self._buffers.get(id(tensor)) if found is None else found

    def _compute(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        """Compute a constant of a pass without data: an index may be made of it."""
        if len(outputs) != 1 or outputs[0].device.type != "meta" or outputs[0].numel() > MOST_NUMBERS:
            return
        known = {id(tensor): self.numbers(tensor) for tensor in inputs}
        if any(value is None for value in known.values()):
            return
        named = dict(kwargs)
        if named.get("device") is not None:
            named["device"] = torch.device("cpu")
        try:
            result = func(*_with(args, known), **_with(named, known))
        except (RuntimeError, TypeError, NotImplementedError):
            return
        if isinstance(result, Tensor) and result.device.type != "meta" and result.shape == outputs[0].shape:
            self._numbers[outputs[0]] = result

    def _write_through(self, view: Tensor, places: Places) -> None:
        """Write into what a view was cut from what was written into the view."""
        base = self._bases.get(view)
        if base is None or base is view:
            return
        before, whole = self.places(view), self.places(base)
        if places.nowhere and before.nowhere:
            return
        if places.lost or whole.lost or not base.is_contiguous():
            self._places[base] = lost(base.shape, places.lost or whole.lost or "a part was written over")
            return
        if all(a is b for a, b in zip(places.of, before.of, strict=True)) or _equal(places, before):
            return
        start = view.storage_offset() - base.storage_offset()
        written: list[Tensor | None] = []
        for old, new in zip(whole.of, places.of, strict=True):
            if old is None and new is None:
                written.append(None)
                continue
            full = torch.full(base.shape, NONE) if old is None else old.clone(memory_format=torch.contiguous_format)
            part = full.as_strided(view.shape, view.stride(), start)
            part.copy_(torch.full((), NONE) if new is None else new)
            written.append(full)
        self._places[base] = replace(whole, of=tuple(written), blur=max(whole.blur, places.blur))


def _equal(first: Places, second: Places) -> bool:
    return all(
        (a is None) == (b is None)
        and (
            a is None
            or b is None
            or (core(a).shape == core(b).shape and torch.equal(core(a).nan_to_num(-1), core(b).nan_to_num(-1)))
        )
        for a, b in zip(first.of, second.of, strict=True)
    )


def _with(value: Any, known: Mapping[int, Any]) -> Any:
    """Arguments with tensors replaced by their data."""
    if isinstance(value, Tensor):
        return known[id(value)]
    if isinstance(value, dict):
        return {key: _with(inner, known) for key, inner in value.items()}
    return type(value)(_with(inner, known) for inner in value) if isinstance(value, list | tuple) else value
