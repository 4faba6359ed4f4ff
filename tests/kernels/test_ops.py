"""The custom ops for PyTorch's tools, and the compiled kernels for a caller's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import ndkernels.grid.cpu
import ndkernels.labels.cpu
import ndkernels.sieve.cpu
import ndkernels.tally.cpu
from kernels import cases
from ndkernels.grid import make_grid, mask_maps, tables
from ndkernels.labels import LabelBlock, encode_labels, tensors
from ndkernels.sieve import Sieve, count_batch, expand_survivors, gather_maps
from ndkernels.sieve.ops import count_batch_cpu
from ndkernels.tally import UnitCounts, list_maps, tally_maps

ROOT = Path(__file__).resolve().parents[2]


def count_arguments() -> tuple[Tensor, Tensor, Tensor, int]:
    activations = torch.from_numpy(cases.activations("normal", (3, 4, 5, 6), np.random.default_rng(0)))
    return activations, torch.zeros(4), torch.zeros((4, 2048), dtype=torch.int64), 2


def gather_arguments() -> tuple[Tensor, Tensor, Tensor, int]:
    activations = count_arguments()[0]
    return activations.flatten(0, 1), torch.arange(0, 12, 2), torch.ones(6), 2


def label_block() -> LabelBlock:
    rng = np.random.default_rng(1)
    return encode_labels(*cases.images_of_labels(3, (13, 17), 9, rng, block=2), (13, 17))


def tally_arguments() -> tuple[object, ...]:
    activations = count_arguments()[0]
    grid = make_grid("half-pixel", maps=(5, 6), labels=(13, 17))
    counts = UnitCounts.zeros(4, 9, 2)
    return (
        *list_maps(activations),
        torch.zeros(4),
        [torch.from_numpy(table) for table in tables(grid)],
        list(tensors(label_block())),
        torch.arange(9, dtype=torch.int32) % 3 - 1,
        True,
        1,
        2,
        counts.intersection,
        counts.unit_area,
        counts.unit_area_all,
    )


OPS = {
    "sieve_count": (count_batch, count_arguments),
    "sieve_gather": (gather_maps, gather_arguments),
    "tally_maps": (tally_maps, tally_arguments),
}


@pytest.mark.parametrize("name", OPS)
def test_ops_are_sound(name: str) -> None:
    op, arguments = OPS[name]
    torch.library.opcheck(op, arguments())


def test_ops_are_registered_by_name() -> None:
    for name, (op, arguments) in OPS.items():
        given, other = arguments(), arguments()
        cases.assert_identical(
            torch.utils._pytree.tree_leaves((getattr(torch.ops.ndkernels, name)(*given), given)),
            torch.utils._pytree.tree_leaves((op(*other), other)),
        )


def pipeline(
    activations: Tensor, bound: Tensor, histogram: Tensor, shapes: list[Tensor], labels: list[Tensor]
) -> tuple[Tensor, ...]:
    """Through all three ops, with arithmetic around them."""
    activations = activations * 2
    maximum, minimum = count_batch(activations, bound, histogram, 1)
    maps = activations.flatten(0, 1)
    bitmap, values = gather_maps(maps, torch.arange(len(maps)), bound.repeat(len(activations)), 1)
    rest = [torch.zeros((4, 9), dtype=torch.int64), torch.zeros((4, 2), dtype=torch.int64)]
    areas = torch.zeros(4, dtype=torch.int64)
    _, unit, image = list_maps(activations)
    category = torch.arange(9, dtype=torch.int32) % 3 - 1
    tally_maps(maps, unit, image, bound, shapes, labels, category, False, 0, 1, *rest, areas)
    return maximum + 1, minimum, bitmap, values * 2, *rest, areas


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_ops_compile_into_one_graph(backend: str) -> None:
    activations, bound, histogram, _ = count_arguments()
    shapes, labels = tally_arguments()[4:6]
    expected = pipeline(activations, bound, histogram, shapes, labels)
    assert expected[4].any()
    other = torch.zeros_like(histogram)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(pipeline, fullgraph=True, backend=backend)
        cases.assert_identical(compiled(activations, bound, other, shapes, labels), expected)
    cases.assert_identical([other], [histogram])
    assert histogram.any()


class Sieving(torch.nn.Module):
    """A model that sieves what it has computed."""

    def forward(self, x: Tensor, bound: Tensor, histogram: Tensor) -> tuple[Tensor, ...]:
        x = torch.relu(x)
        return *count_batch(x, bound, histogram, 1), *gather_maps(x.flatten(0, 1), torch.arange(12), bound.repeat(3), 1)


class Tallying(torch.nn.Module):
    """A model that counts what it has computed."""

    def forward(self, x: Tensor, limits: Tensor, shapes: list[Tensor], labels: list[Tensor]) -> tuple[Tensor, ...]:
        counts = (torch.zeros((4, 9), dtype=torch.int64), torch.zeros((4, 2), dtype=torch.int64))
        areas, category = torch.zeros(4, dtype=torch.int64), torch.arange(9, dtype=torch.int32) % 3 - 1
        maps, unit, image = list_maps(torch.relu(x))
        tally_maps(maps, unit, image, limits, shapes, labels, category, False, 0, 1, *counts, areas)
        return *counts, areas


def test_the_tally_exports() -> None:
    shapes, labels = tally_arguments()[4:6]
    arguments = (count_arguments()[0], torch.zeros(4), shapes, labels)
    program = torch.export.export(Tallying(), arguments)
    assert "ndkernels.tally_maps.default" in {str(node.target) for node in program.graph.nodes}
    found = program.module()(*arguments)
    assert found[0].any()
    cases.assert_identical(found, Tallying()(*arguments))


def test_ops_export() -> None:
    activations, bound, histogram, _ = count_arguments()
    program = torch.export.export(Sieving(), (activations, bound, histogram))
    targets = {str(node.target) for node in program.graph.nodes}
    assert {"ndkernels.sieve_count.default", "ndkernels.sieve_gather.default"} <= targets
    other = histogram.clone()
    cases.assert_identical(program.module()(activations, bound, other), Sieving()(activations, bound, histogram))
    cases.assert_identical([other], [histogram])


@pytest.mark.parametrize("name", OPS)
def test_ops_are_there_for_cuda(name: str) -> None:
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"ndkernels::{name}", "CUDA")


def test_ops_trace_on_cuda_without_a_gpu() -> None:
    """What torch.compile and torch.export need: shapes, types and devices of results."""
    with FakeTensorMode():
        activations = torch.empty((3, 4, 5, 6), device="cuda")
        bound, histogram = torch.empty(4, device="cuda"), torch.empty((4, 2048), dtype=torch.int64, device="cuda")
        for extreme in count_batch(activations, bound, histogram, 1):
            assert (extreme.device.type, tuple(extreme.shape), extreme.dtype) == ("cuda", (3, 4), torch.float32)


def test_ops_say_what_they_write_into() -> None:
    written = {
        name: [a.name for a in getattr(torch.ops.ndkernels, name).default._schema.arguments if a.is_write]
        for name in OPS
    }
    assert written == {
        "sieve_count": ["histogram"],
        "sieve_gather": [],
        "tally_maps": ["intersection", "unit_area", "unit_area_all"],
    }


@numba.njit
def masked_pixels(maps, last_maps, thresholds, rows, row_fraction, columns, column_fraction):  # type: ignore[no-untyped-def]
    masks = np.empty((len(maps), len(row_fraction), 17), np.bool_)
    draw_masks(maps, last_maps, thresholds, rows, row_fraction, columns, column_fraction, masks)
    return masks.sum()


@numba.njit
def codes_on(cells, limit, rows, row_fraction, columns, column_fraction, codes, like):  # type: ignore[no-untyped-def]
    h, w = cells.shape
    marks, scratch, listed = np.zeros((h, 2), np.int64), np.empty((2, 64), np.float32), np.empty(999, codes.dtype)
    mark_cells(cells.ctypes.data, h, w, limit, marks.ctypes.data, 1)
    pixels = list_codes(
        cells.ctypes.data, h, w, limit, marks.ctypes.data, 1, rows.ctypes.data, row_fraction.ctypes.data,
        columns.ctypes.data, column_fraction.ctypes.data, 17, codes.ctypes.data, like, 2,
        scratch[0].ctypes.data, scratch[1].ctypes.data, listed.ctypes.data,
    )  # fmt: skip
    return listed[:pixels]


@numba.njit
def keys(values):  # type: ignore[no-untyped-def]
    return [key_of(v) for v in values]


draw_masks, mark_cells = ndkernels.grid.cpu.draw_masks, ndkernels.grid.cpu.mark_cells
list_codes = ndkernels.tally.cpu.list_codes
key_of = ndkernels.sieve.cpu.key_of


def test_kernels_are_callable_from_compiled_code() -> None:
    activations, grid = count_arguments()[0], make_grid("half-pixel", maps=(5, 6), labels=(13, 17))
    maps, limits, block = activations.flatten(0, 1), torch.zeros(12), label_block()
    masks = mask_maps(maps, limits, grid)
    assert 0 < masks.sum() < masks.numel()
    row, row_fraction, column, column_fraction = tables(grid)
    rows, columns = ndkernels.grid.cpu.cell_starts(row, 5), ndkernels.grid.cpu.cell_starts(column, 6)
    last, fraction = ndkernels.grid.cpu.pad_last(maps.numpy()), ndkernels.grid.cpu.pad(column_fraction)
    assert masked_pixels(maps.numpy(), last, limits.numpy(), rows, row_fraction, columns, fraction) == masks.sum()

    codes = block.codes[0].numpy()
    found = codes_on(
        maps[0].numpy(),
        np.float32(0),
        rows,
        row_fraction,
        columns,
        fraction,
        ndkernels.grid.cpu.pad(codes),
        codes[0, 0],
    )
    np.testing.assert_array_equal(np.sort(found), np.sort(codes[masks[0]]))

    values = np.array([-2, -1, -0.0, 0, 2.0**-149, 1, np.inf], np.float32)
    assert keys(values.view(np.int32)) == sorted(keys(values.view(np.int32)))
    assert keys(values.view(np.int32)) == ndkernels.sieve.cpu.keys_of(values).tolist()
    cases.assert_identical([ndkernels.sieve.cpu.floats_of(ndkernels.sieve.cpu.keys_of(values))], [values])


def test_imports_load_no_compiler() -> None:
    modules = (
        "ndkernels",
        *(f"ndkernels.{m}" for m in ("threads", "grid", "labels", "sieve", "tally", "paint", "pixels")),
    )
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
    print(name, *({{"numba", "llvmlite", "triton"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(modules)


def test_strided_state_of_a_sieve() -> None:
    activations = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    bound = torch.tensor([0.0, 9, 0.5, 9, 1, 9])[::2]
    expected, found = torch.zeros(3, 2048, dtype=torch.int64), torch.zeros(3, 4096, dtype=torch.int64)[:, :2048]
    for call in (count_batch, count_batch_cpu):
        call(activations, bound.contiguous(), expected, 1)
        call(activations, bound, found, 1)
    assert expected.any()
    assert torch.equal(found, expected)


def test_strided_survivors() -> None:
    activations = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    survivors = Sieve(3, 5).add(activations, 0)[0]
    wide = torch.stack([survivors.bitmap, torch.full_like(survivors.bitmap, 255)], 1)
    strided = replace(survivors, bitmap=wide[:, 0])
    assert not strided.bitmap.is_contiguous()
    assert torch.equal(expand_survivors(strided, torch.zeros(3)), expand_survivors(survivors, torch.zeros(3)))


def test_activations_that_want_a_gradient() -> None:
    """Straight from a network outside of ``no_grad``."""
    activations = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = Sieve(3, 5).add(activations, 0)
    found = Sieve(3, 5).add(activations.requires_grad_(), 0)
    assert torch.equal(found[0].values, expected[0].values)
    assert torch.equal(found[1], expected[1])
