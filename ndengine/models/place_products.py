"""Places after products of matrices: linear layers and attention."""

from __future__ import annotations

from dataclasses import replace

from ndengine.models.place_call import PlaceCall
from ndengine.models.places import COLUMN, KEY_COLUMN, KEY_ROW, ROW, Places, collapse, join, lost, spread, varies


def matmul(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """A product of matrices, added to what is there."""
    first, second = (call.places(t) for t in call.tensors[-2:])
    product = _product(first, second, shape)
    added = [call.places(t) for t in call.tensors[:-2]]  # addmm's and baddbmm's first argument
    return join([*added, product], shape)


def linear(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """A product with weights that do not depend on the image."""
    weight = call.places(call.tensors[1])
    if not weight.nowhere:
        return lost(shape, "a linear layer's weights depend on the image")
    return _contract(call.source, shape)


def _contract(places: Places, shape: tuple[int, ...]) -> Places:
    """Places after a product with weights along the last dim."""
    thin = collapse(places, [-1], keepdim=True)
    return replace(thin, shape=shape) if thin.lost else spread(thin, -1, shape[-1])


def _product(first: Places, second: Places, shape: tuple[int, ...]) -> Places:
    """Places of ``first [..., m, k] @ second [..., k, n]``."""
    left, right = collapse(first, [-1], keepdim=True), collapse(second, [-2], keepdim=True)
    for part in (left, right):
        if part.lost:
            return lost(shape, part.lost)
    by_row = any(varies(left.of[c], -2 % len(shape)) for c in (ROW, COLUMN))
    by_column = any(varies(right.of[c], -1 % len(shape)) for c in (ROW, COLUMN))
    left, right = (part.map(lambda c: c.expand(shape), shape) for part in (left, right))
    if not (by_row and by_column):
        return join([left, right], shape)
    if any(part.of[c] is not None for part in (left, right) for c in (KEY_ROW, KEY_COLUMN)):
        return lost(shape, "more than two places are related")
    image = join([replace(p, of=(p.of[0], None, None, None, None)) for p in (left, right)], shape)
    return replace(
        left, of=(image.of[0], left.of[ROW], left.of[COLUMN], right.of[ROW], right.of[COLUMN]), lost=image.lost
    )


def attention(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """Answers at the place of its query, image by image."""
    if shape[:-1] != call.source.shape[:-1]:
        return lost(shape, f"a side output of {call.name}")
    query = _contract(call.source, shape)
    # Keys and values add what all images of a window have in common, and no place of their own.
    rest = [collapse(call.places(t), [-2, -1], keepdim=True) for t in call.tensors[1:3]]
    rest = [part.map(lambda c: c.expand(shape), shape) for part in rest if not part.lost]
    return join([query, *rest], shape)


def multi_head(call: PlaceCall, shape: tuple[int, ...]) -> Places:
    """The fused attention and encoder layers of torch: a token answers at its own place."""
    if shape != call.source.shape:
        return lost(shape, f"a side output of {call.name}")
    return _contract(call.source, shape)
