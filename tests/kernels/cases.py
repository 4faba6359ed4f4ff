"""Cases shared by the kernels' tests: settings, odd shapes, activations of every temper, label maps, grids.

An example is drawn by Hypothesis as a few sizes, a temper and a seed; the arrays come from the seed. So an example
is quick to make, small to print and the same on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ndkernels.grid import Field, Geometry, Grid, make_grid

SETTINGS = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

MAPS = ((1, 1), (1, 8), (5, 1), (2, 2), (7, 7), (6, 9), (13, 13), (14, 14))
LARGE_MAPS = ((7, 7), (13, 13), (14, 14), (55, 55), (112, 112))
LABELS = ((1, 1), (1, 17), (3, 5), (13, 13), (20, 31), (28, 28))
LARGE_LABELS = ((113, 113), (112, 112), (97, 131))
GEOMETRIES: tuple[Geometry, ...] = (
    "receptive-field",
    "receptive-field-floor",
    "half-pixel",
    "align-corners",
)
TEMPERS = ("normal", "relu", "steps", "negative", "zeros", "tiny", "huge", "any", "dead")
LARGEST = 2.0**126

T = TypeVar("T")

seeds = st.integers(0, 2**32 - 1)

# Triton's interpreter takes a thousand times as long as compiled code.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def examples(count: int) -> int:
    """How many examples to draw: fewer where kernels are interpreted."""
    return max(5, count // 15) if INTERPRETED else count


def activations(temper: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Activations ``[..., h, w]`` float32 of magnitudes up to 2^126."""
    normal = rng.standard_normal(shape)
    match temper:
        case "normal":
            values = normal
        case "relu":  # mostly 0, as behind a ReLU
            values = np.maximum(normal - 1, 0)
        case "steps":  # plateaus, and many values exactly at the threshold
            values = np.round(normal * 2) / 2
        case "negative":
            values = -np.abs(normal) - 0.1
        case "zeros":  # both of them, and little else
            values = rng.choice([-0.0, 0.0, -0.25, 0.25], shape, p=[0.4, 0.4, 0.1, 0.1])
        case "tiny":  # a few units of the least denormal
            values = np.round(normal * 3) * 2.0**-149
        case "huge":
            values = rng.choice([-1.0, 1.0], shape) * LARGEST * rng.choice([1.0, 0.5, 0.99], shape)
        case "any":  # every magnitude beside every other
            values = rng.choice([-1.0, 1.0], shape) * np.exp2(rng.uniform(-149, 126, shape))
        case _:  # maps that do not vary, at values on and off the edges of coarse bins
            values = np.broadcast_to(rng.choice([0.0, -0.0, 0.37, -1.7, 2.0], (*shape[:-2], 1, 1)), shape)
    return values.astype(np.float32)


def fewer(count: int) -> int:
    """How large a case may be: smaller where kernels are interpreted."""
    return max(2, count // 5) if INTERPRETED else count


def some(choices: Sequence[T], pick: int) -> Sequence[T]:
    """All of the choices, or where kernels are interpreted the one that ``pick`` falls on."""
    return [choices[pick % len(choices)]] if INTERPRETED else choices


@st.composite
def grids(draw: st.DrawFn, maps: tuple[int, int], labels: tuple[int, int]) -> Grid:
    """Tables of any geometry for maps on labels, with receptive fields that may lie anywhere."""
    geometry = draw(st.sampled_from(GEOMETRIES))
    if not geometry.startswith("receptive-field"):
        return make_grid(geometry, maps=maps, labels=labels)
    field = st.builds(Field, offset=st.integers(-90, 20), size=st.integers(1, 200), stride=st.integers(1, 40))
    inputs = tuple(max(1, int(n * draw(st.sampled_from([0.4, 1, 1.3, 2, 2.01, 4])))) for n in labels)
    return make_grid(
        geometry, maps=maps, labels=labels, inputs=(inputs[0], inputs[1]), field=(draw(field), draw(field))
    )


def thresholds(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One threshold for each row of values ``[U, n]``: 0, one of the values, or one that few or none exceed."""
    choices = np.stack(
        [
            np.zeros(len(values), np.float32),
            values[:, rng.integers(values.shape[1])],
            np.sort(values, axis=1)[:, -1 - min(3, values.shape[1] - 1)],
            values.max(axis=1),
            values.min(axis=1),
        ]
    )
    return choices[rng.integers(len(choices), size=len(values)), np.arange(len(values))]


def label_maps(
    depth: int, shape: tuple[int, int], concepts: int, rng: np.random.Generator, *, block: int = 1
) -> NDArray[np.int32]:
    """Label maps ``[M, H, W]`` of ids 0 … C in squares of ``block`` pixels; some repeat another map."""
    height, width = shape
    coarse = rng.integers(0, concepts + 1, (depth, -(-height // block), -(-width // block)), dtype=np.int32)
    if rng.random() < 0.5:  # few labels, which a mask may miss
        coarse[rng.random(coarse.shape) < 0.95] = 0
    maps = coarse.repeat(block, axis=1).repeat(block, axis=2)[:, :height, :width].copy()
    if depth > 1:
        same = rng.random(shape) < 0.5
        maps[-1][same] = maps[0][same]
    if depth > 0 and rng.random() < 0.3:
        maps[0] = 0
    return maps


def whole_labels(concepts: int, rng: np.random.Generator) -> list[int]:
    """Whole-image labels of one image, 0 ("none") and repeated ones among them."""
    labels: list[int] = rng.integers(0, concepts + 1, rng.integers(0, 4)).tolist()
    return labels + labels[: int(rng.integers(0, 2))]


def images_of_labels(
    images: int, shape: tuple[int, int], concepts: int, rng: np.random.Generator, *, block: int = 1
) -> tuple[list[NDArray[np.int32]], list[list[int]]]:
    """Label maps and whole-image labels of some images; a few images have none."""
    maps = [label_maps(int(rng.integers(0, 5)), shape, concepts, rng, block=block) for _ in range(images)]
    return maps, [whole_labels(concepts, rng) for _ in range(images)]


def strided(array: NDArray[Any]) -> torch.Tensor:
    """The same values as a tensor that is not contiguous."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    tensor = torch.from_numpy(wide)[..., ::2]
    assert array.size < 2 or not tensor.is_contiguous()
    return tensor


def assert_identical(found: Sequence[Any], expected: Sequence[Any]) -> None:
    """Arrays or tensors of the same types, shapes and bytes: -0 is not 0 here."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_array_equal(one, other)
        if one.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(one), np.signbit(other))
