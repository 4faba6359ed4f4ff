"""Interpolation tables against exact fractions, PyTorch and published positions; masks against their definition."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels import cases
from ndkernels.grid import (
    LARGEST_FRACTION,
    Axis,
    Field,
    Geometry,
    Grid,
    _float32,
    centres,
    make_axis,
    make_grid,
    mask_finite_maps,
    mask_maps,
    naive,
    tables,
)

# Layer: receptive field, samples, input, labels, first centre, step and last centre of the floor geometry.
PUBLISHED = {
    "alexnet-conv1": (Field(0, 11, 4), 55, 227, 113, 2, 2, 110),
    "alexnet-conv2": (Field(-16, 51, 8), 27, 227, 113, 4, 4, 108),
    "alexnet-conv5": (Field(-64, 163, 16), 13, 227, 113, 8, 8, 104),
    "vgg16-conv3_3": (Field(-18, 40, 4), 56, 224, 112, 1, 2, 111),
    "vgg16-conv4_3": (Field(-42, 92, 8), 28, 224, 112, 2, 4, 110),
    "vgg16-conv5_3": (Field(-90, 196, 16), 14, 224, 112, 4, 8, 108),
    "googlenet-3b": (Field(-39, 91, 8), 28, 224, 112, 3, 4, 111),
    "googlenet-4e": (Field(-199, 427, 16), 14, 224, 112, 7, 8, 111),
    "googlenet-5b": (Field(-327, 715, 32), 7, 224, 112, 15, 16, 111),
    "resnet152-res5c": (Field(-751, 1507, 32), 7, 224, 112, 1, 16, 97),
    "squeezenet-features.12": (Field(-88, 207, 16), 13, 224, 112, 7, 8, 103),
}
STEP = Fraction(1, 2**23)


@pytest.mark.parametrize("layer", PUBLISHED)
def test_floor_centres_are_the_published_ones(layer: str) -> None:
    field, samples, inputs, labels, first, step, last = PUBLISHED[layer]
    found = centres("receptive-field-floor", samples, labels, inputs, field)
    assert found == list(range(first, last + 1, step))


def test_exact_centres_of_alexnet_conv5() -> None:
    ratio = Fraction(227, 113)
    expected = [(Fraction(-64 + 81 + 16 * k) + Fraction(1, 2)) / ratio - Fraction(1, 2) for k in range(13)]
    assert centres("receptive-field", 13, 113, 227, Field(-64, 163, 16)) == expected


def test_receptive_field_and_half_pixel_coincide_on_vgg_conv5_3() -> None:
    field = Field(-90, 196, 16)
    assert centres("receptive-field", 14, 112, 224, field) == centres("half-pixel", 14, 112)
    shapes: dict[str, tuple[int, int]] = {"maps": (14, 14), "labels": (112, 112), "inputs": (224, 224)}
    cases.assert_identical(
        tables(make_grid("receptive-field", field=(field, field), **shapes)),
        tables(make_grid("half-pixel", **shapes)),
    )
    floor = make_grid("receptive-field-floor", field=(field, field), **shapes)
    assert not torch.equal(floor.rows.fraction, make_grid("half-pixel", **shapes).rows.fraction)


@pytest.mark.parametrize(
    ("inputs", "field", "expected"), [(17, Field(0, 3, 8), [0, 4, 8]), (14, Field(0, 3, 8), [1, 9, 17])]
)
def test_the_floor_geometry_rounds_the_ratio(inputs: int, field: Field, expected: list[int]) -> None:
    assert centres("receptive-field-floor", 3, 10, inputs, field) == expected


def test_half_pixel_and_align_corners_centres() -> None:
    assert centres("half-pixel", 2, 8) == [Fraction(3, 2), Fraction(11, 2)]
    assert centres("align-corners", 3, 9) == [0, 4, 8]
    assert centres("align-corners", 1, 9) == [0]


def check_axis(axis: Axis, positions: list[Fraction]) -> None:
    """Each entry is the exact place among the samples, rounded once."""
    assert axis.lower.dtype == torch.int32
    assert axis.fraction.dtype == torch.float32
    n = axis.samples
    for x, (lower, fraction) in enumerate(zip(axis.lower.tolist(), axis.fraction.numpy(), strict=True)):
        place = Fraction(0)
        if n > 1:
            place = min(max((x - positions[0]) / (positions[1] - positions[0]), Fraction(0)), Fraction(n - 1))
        assert 0 <= lower < n
        assert 0 <= fraction <= LARGEST_FRACTION
        assert lower < n - 1 or fraction == 0
        error = abs(lower + Fraction(float(fraction)) - place)
        # Half a unit in the last place, or a place just short of a sample that was moved to it.
        moved = fraction == 0 and place < lower
        assert error <= (STEP if moved else Fraction(float(np.spacing(fraction))) / 2)


@settings(cases.SETTINGS, max_examples=cases.examples(150))
@given(
    geometry=st.sampled_from(cases.GEOMETRIES),
    samples=st.integers(1, 30),
    size=st.integers(1, 60),
    inputs=st.integers(1, 200),
    field=st.builds(Field, offset=st.integers(-300, 50), size=st.integers(1, 500), stride=st.integers(1, 40)),
)
@example(geometry="half-pixel", samples=112, size=97, inputs=1, field=Field(0, 1, 1))
@example(geometry="align-corners", samples=14, size=113, inputs=1, field=Field(0, 1, 1))
@example(geometry="align-corners", samples=5, size=1, inputs=1, field=Field(0, 1, 1))
@example(geometry="receptive-field", samples=13, size=113, inputs=227, field=Field(-64, 163, 16))
def test_tables_are_exact(geometry: Geometry, samples: int, size: int, inputs: int, field: Field) -> None:
    grid = make_grid(geometry, maps=(samples, 3), labels=(size, 5), inputs=(inputs, 10), field=(field, Field(0, 3, 4)))
    check_axis(grid.rows, centres(grid.geometry, samples, size, inputs, field))
    check_axis(grid.columns, centres(grid.geometry, 3, 5, 10, Field(0, 3, 4)))
    assert (grid.note == "") == (grid.geometry == geometry)


def axis_at(place: Fraction) -> tuple[int, float]:
    """The table's entry for position 0 when it lies at ``place`` samples from sample 0."""
    axis = make_axis(-place, Fraction(1), 3, 1)
    return int(axis.lower[0]), float(axis.fraction[0])


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        (1 - STEP, (0, float(LARGEST_FRACTION))),
        (1 - STEP * Fraction(3, 4), (0, float(LARGEST_FRACTION))),  # a tie, which goes to the even neighbour
        (1 - STEP * Fraction(3, 4) + STEP**2, (1, 0.0)),
        (1 - STEP / 2, (1, 0.0)),
        (1 - STEP / 10, (1, 0.0)),
        (Fraction(1), (1, 0.0)),
        (2 - STEP / 2, (2, 0.0)),
        (Fraction(2), (2, 0.0)),
        (Fraction(5, 2), (2, 0.0)),
        (Fraction(-1, 2), (0, 0.0)),
        (Fraction(0), (0, 0.0)),
        (Fraction(3, 2), (1, 0.5)),
        (Fraction(1, 2) + STEP / 4 + STEP**3, (0, 0.5 + 2.0**-24)),  # float64 would lose the last term
    ],
    ids=str,
)
def test_no_fraction_exceeds_the_largest(place: Fraction, entry: tuple[int, float]) -> None:
    assert axis_at(place) == entry


def test_the_largest_fraction() -> None:
    assert Fraction(float(LARGEST_FRACTION)) == 1 - STEP


@settings(cases.SETTINGS, max_examples=cases.examples(500))
@given(st.integers(1, 2**24), st.integers(1, 2**24))
@example(1, 3)
@example(2**24 - 1, 2**24)
def test_fractions_are_rounded_once(numerator: int, denominator: int) -> None:
    # Both are exact in float32, so one IEEE division is the correctly rounded quotient.
    assert _float32(Fraction(numerator, denominator)) == np.float32(numerator) / np.float32(denominator)


def test_rounding_does_not_pass_through_float64() -> None:
    value = Fraction(1, 2) + Fraction(1, 2**25) + Fraction(1, 2**80)  # float64 loses the last term
    assert np.float32(float(value)) == np.float32(0.5)
    assert _float32(value) == np.nextafter(np.float32(0.5), np.float32(1))


FLOATS = st.one_of(
    st.floats(-cases.LARGEST, cases.LARGEST, width=32),
    st.floats(-1, 1, width=32),
    st.sampled_from([0.0, -0.0, 2.0**-149, -(2.0**-149), cases.LARGEST, -cases.LARGEST, 1.0, -1.0]),
)
FRACTIONS = st.one_of(
    st.floats(0, float(LARGEST_FRACTION), width=32),
    st.sampled_from([0.0, float(LARGEST_FRACTION), float(LARGEST_FRACTION) - 2.0**-23, 2.0**-149, 0.5]),
)


def interpolate(corners: NDArray[np.float32], fx: float, fy: float) -> np.float32:
    """One value between the four corners ``[2, 2]``."""
    zero = np.zeros(1, np.int32)
    row, column = np.array([fy], np.float32), np.array([fx], np.float32)
    return np.float32(naive.upsample(corners, zero, row, zero, column)[0, 0])


@settings(cases.SETTINGS, max_examples=cases.examples(500))
@given(st.lists(FLOATS, min_size=4, max_size=4), FRACTIONS, FRACTIONS)
def test_no_value_exceeds_its_corners(corners: list[float], fx: float, fy: float) -> None:
    square = np.array(corners, np.float32).reshape(2, 2)
    assert square.min() <= interpolate(square, fx, fy) <= square.max()


@settings(cases.SETTINGS, max_examples=cases.examples(30))
@given(cases.seeds, st.sampled_from(cases.TEMPERS))
def test_no_value_exceeds_its_corners_in_bulk(seed: int, temper: str) -> None:
    rng = np.random.default_rng(seed)
    activation = cases.activations(temper, (9, 11), rng)
    row, column = rng.integers(0, 8, 40).astype(np.int32), rng.integers(0, 10, 50).astype(np.int32)
    high = float(LARGEST_FRACTION)
    fy, fx = (np.where(rng.random(n) < 0.3, high, rng.random(n) * high).astype(np.float32) for n in (40, 50))
    up = naive.upsample(activation, row, fy, column, fx)
    corners = np.stack([activation[row + i][:, column + j] for i in (0, 1) for j in (0, 1)])
    assert (up <= corners.max(axis=0)).all()
    assert (up >= corners.min(axis=0)).all()


def test_a_fraction_of_one_would_exceed_its_corners() -> None:
    """Why tables stop short of 1: the difference of the corners is rounded up here."""
    corners = np.array([[-1, 2.0**-24 * 1.5]], np.float32).repeat(2, axis=0)
    assert interpolate(corners, 1.0, 0.0) > corners.max()
    assert interpolate(corners, float(LARGEST_FRACTION), 0.0) <= corners.max()


def test_upsampling_by_hand() -> None:
    grid = make_grid("align-corners", maps=(2, 2), labels=(3, 5))
    found = naive.upsample(np.array([[0, 4], [8, 16]], np.float32), *tables(grid))
    assert found.tolist() == [[0, 1, 2, 3, 4], [4, 5.5, 7, 8.5, 10], [8, 10, 12, 14, 16]]


def test_positions_outside_the_samples_take_the_edge_value() -> None:
    field = Field(2, 1, 2)  # samples at input pixels 2, 4, 6
    grid = make_grid("receptive-field", maps=(1, 3), labels=(1, 10), inputs=(1, 10), field=(field, field))
    found = naive.upsample(np.array([[1, 3, 7]], np.float32), *tables(grid))
    assert found[0].tolist() == [1, 1, 1, 2, 3, 5, 7, 7, 7, 7]


@pytest.mark.parametrize("geometry", ["half-pixel", "align-corners"])
@pytest.mark.parametrize("labels", cases.LARGE_LABELS, ids=str)
@pytest.mark.parametrize("maps", [(1, 1), (7, 7), (6, 9), (13, 13), (55, 55), (120, 140)], ids=str)
def test_geometries_of_torch(geometry: Geometry, labels: tuple[int, int], maps: tuple[int, int]) -> None:
    y, x = np.mgrid[0 : maps[0], 0 : maps[1]]
    smooth = (np.sin(3 * y / maps[0]) + np.cos(5 * x / maps[1] + y / maps[0])).astype(np.float32)
    found = naive.upsample(smooth, *tables(make_grid(geometry, maps=maps, labels=labels)))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(smooth)[None, None], labels, mode="bilinear", align_corners=geometry == "align-corners"
    )
    np.testing.assert_allclose(found, expected[0, 0].numpy(), rtol=0, atol=1e-5)


@st.composite
def mask_cases(
    draw: st.DrawFn,
    maps: tuple[tuple[int, int], ...] = cases.MAPS,
    labels: tuple[tuple[int, int], ...] = cases.LABELS,
) -> tuple[NDArray[np.float32], NDArray[np.float32], Grid]:
    shape = draw(st.sampled_from(maps))
    rng = np.random.default_rng(draw(cases.seeds))
    activations = cases.activations(draw(st.sampled_from(cases.TEMPERS)), (draw(st.integers(0, 5)), *shape), rng)
    limits = cases.thresholds(activations.reshape(len(activations), shape[0] * shape[1]), rng)
    return activations, limits, draw(cases.grids(shape, draw(st.sampled_from(labels))))


def check_masks(activations: NDArray[np.float32], limits: NDArray[np.float32], grid: Grid) -> None:
    expected = naive.mask_maps(activations, limits, *tables(grid))
    found = mask_maps(torch.from_numpy(activations), torch.from_numpy(limits), grid)
    cases.assert_identical([found], [expected])


@settings(cases.SETTINGS, max_examples=cases.examples(300))
@given(mask_cases())
def test_masks(case: tuple[NDArray[np.float32], NDArray[np.float32], Grid]) -> None:
    check_masks(*case)


@settings(cases.SETTINGS, max_examples=cases.examples(25))
@given(mask_cases(cases.LARGE_MAPS, cases.LARGE_LABELS))
def test_large_masks(case: tuple[NDArray[np.float32], NDArray[np.float32], Grid]) -> None:
    check_masks(*case)


def test_masks_are_strictly_greater() -> None:
    grid = make_grid("align-corners", maps=(1, 2), labels=(1, 3))
    found = mask_maps(torch.tensor([[[1.0, 3.0]]]).repeat(3, 1, 1), torch.tensor([1.0, 2.0, 3.0]), grid)
    assert found.tolist() == [[[False, True, True]], [[False, False, True]], [[False, False, False]]]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (6, 9)], ids=str)
def test_nothing_beyond_the_edges_is_read(shape: tuple[int, int]) -> None:
    """Every second map is NaN; guarded.py looks at the end of the last one."""
    rng = np.random.default_rng(5)
    maps = np.full((8, *shape), np.nan, np.float32)
    maps[::2] = cases.activations("normal", maps[::2].shape, rng)
    limits = np.full(8, -0.5, np.float32)
    for geometry in ("half-pixel", "align-corners"):
        grid = make_grid(geometry, maps=shape, labels=(20, 31))
        found = mask_finite_maps(torch.from_numpy(maps), torch.from_numpy(limits), grid).numpy()
        assert found[::2].any()
        assert not found[1::2].any()
        np.testing.assert_array_equal(found, naive.mask_maps(maps, limits, *tables(grid)))


def test_masks_of_strided_tensors() -> None:
    rng = np.random.default_rng(3)
    activations, grid = (
        cases.activations("steps", (4, 7, 7), rng),
        make_grid("half-pixel", maps=(7, 7), labels=(20, 31)),
    )
    limits = np.array([0, 0.5, -0.5, 1], np.float32)
    expected = naive.mask_maps(activations, limits, *tables(grid))
    assert expected.any()
    cases.assert_identical([mask_maps(cases.strided(activations), cases.strided(limits), grid)], [expected])
    turned = torch.from_numpy(activations.transpose(0, 2, 1).copy()).transpose(1, 2)
    cases.assert_identical([mask_maps(turned, torch.from_numpy(limits), grid)], [expected])


FIELDS = (Field(0, 3, 1), Field(0, 3, 1))


def test_fallback_where_the_field_is_not_known() -> None:
    grid = make_grid("receptive-field-floor", maps=(3, 3), labels=(9, 9), inputs=(18, 18))
    assert grid.geometry == "half-pixel"
    assert grid.note == (
        "geometry receptive-field-floor fell back to half-pixel: the layer's receptive field is not known"
    )
    cases.assert_identical(tables(grid), tables(make_grid("half-pixel", maps=(3, 3), labels=(9, 9))))


@pytest.mark.parametrize("inputs", [(18, 18), (36, 18), (4, 4)], ids=["step", "one axis", "input"])
def test_fallback_where_the_floor_has_no_step(inputs: tuple[int, int]) -> None:
    """VGG's first layers step by less than a label pixel; or the labels are finer than twice the input."""
    fields = (Field(0, 3, 4), Field(0, 3, 1))
    grid = make_grid("receptive-field-floor", maps=(3, 3), labels=(9, 9), inputs=inputs, field=fields)
    assert grid.geometry == "receptive-field"
    assert grid.note.startswith("geometry receptive-field-floor fell back to receptive-field: ")
    exact = make_grid("receptive-field", maps=(3, 3), labels=(9, 9), inputs=inputs, field=fields)
    cases.assert_identical(tables(grid), tables(exact))
    assert exact.note == ""


def test_rows_and_columns_have_their_own_field() -> None:
    rows, columns = Field(-3, 9, 4), Field(2, 5, 6)
    grid = make_grid("receptive-field-floor", maps=(5, 4), labels=(20, 17), inputs=(40, 34), field=(rows, columns))
    check_axis(grid.rows, centres("receptive-field-floor", 5, 20, 40, rows))
    check_axis(grid.columns, centres("receptive-field-floor", 4, 17, 34, columns))
    assert (len(grid.rows.lower), len(grid.columns.lower)) == (20, 17)


def test_impossible_grids_are_refused() -> None:
    shapes: dict[str, tuple[int, int]] = {"maps": (3, 3), "labels": (9, 9)}
    for unknown in ("bilinear", "receptive-field-ceil"):
        with pytest.raises(ValueError, match=r"geometry must be one of receptive-field, .*, not '"):
            make_grid(unknown, **shapes)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"geometry must be one of receptive-field, .*, not '"):
            centres(unknown, 3, 9)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="geometry receptive-field needs the input size"):
        make_grid("receptive-field", field=FIELDS, **shapes)
    for geometry in cases.GEOMETRIES:
        for wrong in ({"maps": (0, 3)}, {"labels": (9, 0)}, {"maps": (3, -1)}):
            with pytest.raises(ValueError, match="an axis needs at least one sample and one position"):
                make_grid(geometry, inputs=(18, 18), field=FIELDS, **{**shapes, **wrong})
    with pytest.raises(ValueError, match="samples must advance along the axis, not by 0"):
        make_grid("receptive-field", inputs=(18, 18), field=(Field(0, 3, 0), Field(0, 3, 1)), **shapes)
    with pytest.raises(ValueError, match="samples must advance along the axis, not by -1"):
        make_axis(Fraction(0), Fraction(-1), 2, 4)
    for samples, size in ((0, 4), (2, 0)):
        with pytest.raises(ValueError, match=f"one sample and one position, not {samples} and {size}"):
            make_axis(Fraction(0), Fraction(1), samples, size)
        with pytest.raises(ValueError, match=f"one sample and one position, not {samples} and {size}"):
            centres("half-pixel", samples, size)


def test_impossible_centres_are_refused() -> None:
    for geometry in ("receptive-field", "receptive-field-floor"):
        for inputs, field in ((18, None), (0, Field(0, 3, 1))):
            with pytest.raises(ValueError, match=f"{geometry} needs the input size and the layer's receptive"):
                centres(geometry, 3, 9, inputs, field)
    with pytest.raises(ValueError, match="needs an input of at least half the labels' size"):
        centres("receptive-field-floor", 3, 9, 4, Field(0, 3, 1))


def test_maps_that_do_not_fit_are_refused() -> None:
    grid = make_grid("half-pixel", maps=(2, 3), labels=(4, 6))
    maps, limits = torch.zeros(5, 2, 3), torch.zeros(5)
    for wrong in (maps[0], maps.double(), torch.zeros(5, 3, 2), torch.zeros(5, 2, 4)):
        with pytest.raises(ValueError, match=r"maps must be float32 \[A, 2, 3\], not torch"):
            mask_maps(wrong, limits, grid)
    for wrong in (limits[:4], limits.double(), limits[:, None]):
        with pytest.raises(ValueError, match=r"thresholds must be float32 \[5\], not torch"):
            mask_maps(maps, wrong, grid)
