"""Which layers put out maps: shown by a trace, by a second input size, and by a bump in a few places of the image.

Nothing is a map because it looks like one. The trace says where in the image each element of an output lies
(:mod:`ndengine.models.places`). At a second input size the same must hold of the same dims, with as many units. Then a
few places of an image are changed on the real network: where a layer answers locally, it must answer there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ndengine.models.arrange import arrange
from ndengine.models.outputs import named_tensors
from ndengine.models.readings import Reading
from ndengine.models.trace import IMAGES, Output, Step, Trace, field_of, trace_model
from ndkernels.grid import Field

# Where the image is changed: fractions of its rows and columns, no two sides alike, so that an exchange shows.
PLACES = ((0.13, 0.22), (0.18, 0.78), (0.86, 0.36), (0.58, 0.62))
PATCH = 0.08  # of a side
STRENGTH = 3.0  # of the change; inputs are about one
FAINT = 1e-3  # of the strongest answer: what is below counts as none
GROWN = ((32, 64), (64, 32))  # pixels by which the second size is larger

Answers = dict[tuple[str, int, str], Tensor]  # by path, call and part: [places, h, w]


def prove_layers(module: nn.Module, size: tuple[int, int], channels: int = 3) -> Trace:
    """Trace a network, and keep of its readings as maps those that are shown to be right.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    size : tuple of int
        Rows and columns of its input.
    channels : int
        Channels of its input.

    Returns
    -------
    Trace
        With the readings that hold; the others say why not.
    """
    trace = trace_model(module, size, channels=channels)
    second = _second_trace(module, size, channels)
    held = _change(trace, lambda key, output: _compare(output, _find(second, key), size))
    answers = _answers(module, held, size, channels)
    return _change(held, lambda key, output: _confirm(output, answers.get(key), size))


def _second_trace(module: nn.Module, size: tuple[int, int], channels: int) -> Trace:
    """A trace at another size; as far as it gets at one, where the network takes but one."""
    best = Trace()
    sizes = [(size[0] + rows, size[1] + columns) for rows, columns in GROWN] + [(2 * size[0], size[1])]
    for other in sizes:
        found = trace_model(module, other, IMAGES + 1, channels)
        if len(found.steps) > len(best.steps):
            best = found
        if not found.failure:
            break
    return best


def _find(trace: Trace, key: tuple[str, int, str]) -> Output | None:
    path, call, part = key
    step = trace.steps.get(path)
    return step.outputs[call].get(part) if step and call < len(step.outputs) else None


def _change(trace: Trace, work: Any) -> Trace:
    """A trace with the readings that ``work`` makes of each output."""
    steps: dict[str, Step] = {}
    for path, step in trace.steps.items():
        outputs = tuple(
            {part: replace(o, reading=work((path, call, part), o)) for part, o in named.items()}
            for call, named in enumerate(step.outputs)
        )
        steps[path] = replace(step, outputs=outputs)
    return replace(trace, steps=steps)


def _compare(output: Output, other: Output | None, size: tuple[int, int]) -> Reading:
    """What two input sizes leave of a reading."""
    reading = output.reading
    if reading.axes:
        if other is not None and (other.reading.axes, other.reading.shape[0]) != (reading.axes, reading.shape[0]):
            was, now = reading.shape[0], other.reading.shape[0]
            what = f"{was} and {now} units" if other.reading.axes == reading.axes else "another order of its dims"
            return Reading(refusal=f"at another input size it has {what}")
        return _cover(reading, field_of(output), size)
    if reading.is_lost and other is not None and other.reading.is_lost:
        return _guess(output.shape, other.shape, reading)
    return reading


def _cover(reading: Reading, field: tuple[Field, Field] | None, size: tuple[int, int]) -> Reading:
    """Refuse maps of a part of the image where no field says which part."""
    if field is not None:
        return reading
    for centres, pixels, what in ((reading.rows, size[0], "rows"), (reading.columns, size[1], "columns")):
        if len(centres) < 2:
            continue
        cell = pixels / len(centres)
        off = max(abs(centres[0] - (cell - 1) / 2), abs(centres[-1] - (pixels - (cell + 1) / 2)))
        if off > 1.5 * max(cell, (centres[-1] - centres[0]) / (len(centres) - 1)):
            where = f"pixels {centres[0]:.0f} to {centres[-1]:.0f} of {pixels}"
            return Reading(refusal=f"its {what} lie at {where}, a part of the image")
    return reading


def _guess(first: tuple[int, ...], second: tuple[int, ...], lost: Reading) -> Reading:
    """The one way to read maps by their lengths at two sizes, yet to be shown by a bump."""
    if len(first) != 4 or len(second) != 4 or (first[0], second[0]) != (IMAGES, IMAGES + 1):
        return lost
    changed = [d for d in (1, 2, 3) if first[d] != second[d]]
    orders: dict[tuple[int, ...], str] = {(2, 3): "nuhw", (1, 2): "nhwu", (1, 3): "nhuw"}
    letters = orders.get(tuple(changed))
    if letters is None:
        return lost
    at = {letter: first[d] for d, letter in enumerate(letters)}
    return replace(lost, axes=letters, shape=(at["u"], at["h"], at["w"]))


def _answers(module: nn.Module, trace: Trace, size: tuple[int, int], channels: int) -> Answers:
    """How much each layer's maps change where the image does; empty where the network has no data or fails."""
    if any(t.device.type == "meta" for t in (*module.parameters(), *module.buffers())):
        return {}
    images = _bumped_images(size, channels)
    answers: Answers = {}
    paths: dict[nn.Module, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        if path in trace.steps:
            paths.setdefault(part, []).append(path)
    calls: dict[nn.Module, int] = {}

    def look(part: nn.Module, inputs: Any, output: Any) -> None:
        call = calls[part] = calls.get(part, -1) + 1
        for name, tensor in named_tensors(output).items():
            for path in paths[part][:1]:
                found = _find(trace, (path, call, name))
                if found is not None and found.reading.axes and min(found.reading.shape[1:]) > 1:
                    maps = arrange(tensor, found.reading.axes, found.reading.tokens, found.reading.shape)
                    if maps is not None and len(maps) == len(images):
                        answer = (maps[1:] - maps[:1]).abs().sum(1).float()
                        answers.update({(p, call, name): answer for p in paths[part]})

    handles = [part.register_forward_hook(look) for part in paths]
    try:
        with torch.no_grad():
            module(images)
    except Exception:  # whatever a foreign forward pass raises; the run itself will tell
        return answers
    finally:
        for handle in handles:
            handle.remove()
    return answers


def _bumped_images(size: tuple[int, int], channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, channels, *size), generator=generator) - 0.5
    images = image.repeat(1 + len(PLACES), 1, 1, 1)
    for number, place in enumerate(PLACES, 1):
        (top, bottom), (left, right) = _patch(place, size)
        images[number, :, top:bottom, left:right] += STRENGTH * torch.rand(channels, 1, 1, generator=generator) + 1
    return images


def _patch(place: tuple[float, float], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and one past the last row and column that are changed."""
    sides = []
    for share, pixels in zip(place, size, strict=True):
        middle, half = int(share * pixels), max(1, int(PATCH * pixels / 2))
        sides.append((max(0, middle - half), min(pixels, middle + half)))
    return sides[0], sides[1]


def _confirm(output: Output, answer: Tensor | None, size: tuple[int, int]) -> Reading:
    """What the bumps leave of a reading."""
    reading = output.reading
    if not reading.axes:
        return reading
    if reading.is_lost:
        shown = answer is not None and all(_is_local(a, p, size) for a, p in zip(answer, PLACES, strict=True))
        return replace(reading, is_lost=False, refusal="") if shown else replace(reading, axes="", shape=(0, 0, 0))
    if answer is None:
        return reading
    field = field_of(output)
    wrong = sum(_contradicts(a, p, reading, field, size) for a, p in zip(answer, PLACES, strict=True))
    if wrong > len(PLACES) // 2:
        return Reading(refusal="it answers to a change of the image in other places than its order says")
    return reading


def _peak(answer: Tensor) -> tuple[float, int, int]:
    most = float(answer.max())
    row, column = divmod(int(answer.argmax()), answer.shape[1])
    return most, row, column


def _contradicts(
    answer: Tensor,  # [h, w]
    place: tuple[float, float],
    reading: Reading,
    field: tuple[Field, Field] | None,
    size: tuple[int, int],
) -> bool:
    """Whether a layer answers most where it can't see the change, and not at all where it must."""
    most, row, column = _peak(answer)
    if not 0 < most < float("inf"):
        return False
    away = False
    near: list[slice] = []
    for at, centres, share, pixels, seen, edges in zip(
        (row, column),
        (reading.rows, reading.columns),
        place,
        size,
        field or (None, None),
        _patch(place, size),
        strict=True,
    ):
        middle = share * pixels
        closest = min(range(len(centres)), key=lambda k: abs(centres[k] - middle))
        near.append(slice(max(0, closest - 1), closest + 2))
        if seen is None:
            away = away or abs(centres[at] - middle) > pixels / 4
        else:
            first = seen.offset + at * seen.stride
            away = away or first >= edges[1] or first + seen.size <= edges[0]
    return away and float(answer[near[0], near[1]].max()) < FAINT * most


def _is_local(answer: Tensor, place: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether a layer answers strongest at a place of the image, and not at all far from it."""
    most, *found = _peak(answer)
    if not 0 < most < float("inf") or min(answer.shape) < 4:
        return False
    far = torch.zeros_like(answer, dtype=torch.bool)
    for dim, (at, share, count) in enumerate(zip(found, place, answer.shape, strict=True)):
        expected = share * count - 0.5
        if abs(at - expected) > 1 + PATCH * count:
            return False
        distance = (torch.arange(count) - expected).abs() > count / 3
        far |= distance[:, None] if dim == 0 else distance
    return bool(far.any()) and float(answer[far].max()) < FAINT * most
