"""The strict interpreter fails where it must: one small wrong kernel for each of its promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.errors import InterpreterError

from ndkernels import _triton


@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):  # right, if n is the length of both
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n, other=0.0), mask=i < n)


@triton.jit
def copy_without_other(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n))


@triton.jit
def store_everywhere(x, y, n, BLOCK: tl.constexpr):
    tl.store(y + tl.program_id(0) * 0 + tl.arange(0, BLOCK), n)


@triton.jit
def lanes_collide(x, y, n, BLOCK: tl.constexpr):
    tl.store(y + tl.arange(0, BLOCK) // 2, 1.0)


@triton.jit
def write_beside(x, y, n, BLOCK: tl.constexpr):
    tl.atomic_add(y + n + tl.arange(0, BLOCK), 1.0)


@triton.jit
def overflow(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK) + n
    tl.store(y + tl.arange(0, BLOCK), (i * 65536).to(tl.float32))


@triton.jit
def assertion(x, y, n, BLOCK: tl.constexpr):
    tl.device_assert(n < 0, "n is not negative")
    tl.store(y + tl.arange(0, BLOCK), 0.0)


@triton.jit
def misaligned(x, y, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    bytes_of = (x.to(tl.pointer_type(tl.int8)) + 1).to(tl.pointer_type(tl.float32))
    tl.store(y + i, tl.load(bytes_of + i, mask=i < BLOCK // 2, other=0.0))


def launch(kernel: Any, n: int, programs: int = 1) -> torch.Tensor:
    x, y = torch.arange(8.0), torch.zeros(8)
    _triton.launch(kernel, (programs,), x, y, n, BLOCK=8)
    return y


def test_what_is_right_passes() -> None:
    assert torch.equal(launch(copy, 8, programs=3), torch.arange(8.0))


@pytest.mark.parametrize(
    ("kernel", "n", "programs", "words"),
    [
        (copy, 9, 2, "addresses lie outside every argument"),
        (write_beside, 1, 1, "addresses lie outside every argument"),
        (store_everywhere, 3, 2, "two programs store to one address"),
        (lanes_collide, 3, 1, "two lanes store to one address"),
        (overflow, 1 << 20, 1, "int32 overflows in multiply"),
        (assertion, 1, 1, "n is not negative"),
        (misaligned, 1, 1, "not aligned"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_fails(kernel: Any, n: int, programs: int, words: str) -> None:
    with pytest.raises(InterpreterError, match=words):
        launch(kernel, n, programs)


def test_a_lane_that_is_off_holds_poison() -> None:
    found = launch(copy_without_other, 5)
    assert torch.equal(found[:5], torch.arange(5.0))
    assert found[5:].isnan().all()


def test_what_torch_hands_out_is_poisoned() -> None:
    assert torch.empty(4).isnan().all()
    assert (torch.empty(4, dtype=torch.int64) == torch.iinfo(torch.int64).max).all()


def test_programs_run_in_random_order() -> None:
    @triton.jit
    def order(x, y, n, BLOCK: tl.constexpr):
        turn = tl.atomic_add(x, 1.0)
        tl.store(y + tl.program_id(0), turn)

    orders = set()
    for _ in range(5):
        x, y = torch.zeros(1), torch.zeros(8)
        _triton.launch(order, (8,), x, y, 0, BLOCK=8)
        assert y.sort().values.tolist() == list(range(8))
        orders.add(tuple(y.tolist()))
    assert len(orders) > 1
