"""The machine code of the Triton kernels, compiled ahead of time with no GPU: what it must hold, and must not.

Compiling happens in a process of its own where this one interprets; here it never does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch

from ndkernels import _triton

pytest.importorskip("triton", reason="triton is not installed on this system")
from benchmarks.gpu_compile import TARGETS, Compiled, Launch, build, inspect
from benchmarks.gpu_launches import Shapes, record

SHAPES = (
    Shapes((14, 14), (112, 112)),
    Shapes((14, 14), (112, 112), rich=True),
    Shapes((7, 7), (113, 113), rich=True),
    Shapes((113, 113), (113, 113), rich=True, area="touched"),
    Shapes((1, 1), (192, 192)),
)
# Registers a thread. With 64, all the warps of an H100 that blocks of one warp can fill are at work; 128 leave 16.
REGISTERS = {"tally_kernel": 128, "find_kernel": 128, "mark_kernel": 144}
OTHER_REGISTERS = 104
SHARED = 4096  # bytes a program
SCALAR_SPILLS = 12  # on AMD, and into lanes of a vector register: no memory is touched
NVIDIA = [target for target in TARGETS if target.startswith("sm")]
# What adds to counts that other programs add to as well.
ATOMIC = {"count_kernel", "level_kernel", "tally_kernel"}


@lru_cache(maxsize=1)
def launches() -> list[Launch]:
    found = {}
    for shapes in SHAPES:
        for launch in record(shapes):
            found[launch.name, *sorted(launch.constants.items())] = launch
    return list(found.values())


def test_every_kernel_is_looked_at() -> None:
    names = {launch.name for launch in launches()}
    assert names == {
        "copy_kernel", "count_kernel", "expand_kernel", "find_kernel", "kept_kernel", "level_kernel", "mark_kernel",
        "mask_kernel", "tally_kernel",
    }  # fmt: skip
    assert {launch.constants["BINS"] for launch in launches() if launch.name == "tally_kernel"} == {128, 256}
    assert {launch.constants["TOUCHED"] for launch in launches() if launch.name == "tally_kernel"} == {False, True}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_code_of_a_target(target: str) -> None:
    codes = [inspect(launch, target) for launch in launches()]
    check_vector_loads(codes)
    for code in codes:
        where = f"{code.name} on {target}"
        assert code.spills == 0, where
        assert code.scalar_spills <= SCALAR_SPILLS, where
        assert code.fused == 0, where
        assert code.registers <= REGISTERS.get(code.name, OTHER_REGISTERS), f"{where}: {code.registers} registers"
        assert code.shared <= SHARED, where
        assert code.atom == 0, where
        assert (code.red > 0) == (code.name in ATOMIC), where
        assert ".ftz" not in code.code, f"{where} flushes denormal numbers to zero"
        if target.startswith("gfx"):
            # 3: denormal numbers are neither flushed when read nor when written.
            assert ".amdhsa_float_denorm_mode_32 3" in code.code, where


def check_vector_loads(codes: list[Compiled]) -> None:
    """Wherever a shape lets a lane load several neighbours, it does."""
    for launch, code in zip(launches(), codes, strict=True):
        if launch.name == "count_kernel" and launch.constants["SIZE"] == 196:
            assert code.loads.get(16, 0) > 0, "activations of 14×14 maps, four at a time"
        if launch.name == "tally_kernel":
            assert code.loads.get(2, 0) == 0, "codes, four at a time"
            assert code.loads.get(8, 0) > 0


def test_the_launcher_hands_on_what_is_compiled_here() -> None:
    """What is compiled ahead of time has the options of a launch; an empty grid launches nothing."""
    given = []

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *arguments, **options: given.append((grid, arguments, options))

    tensor = torch.zeros(3)
    _triton.launch(Kernel(), (2, 0), tensor, N=3)
    _triton.launch(Kernel(), (2,), tensor, 7, warps=4, registers=128, N=3)
    options = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": False, "maxnreg": 128, "N": 3}
    assert [(grid, arguments[1], found) for grid, arguments, found in given] == [((2,), 7, options)]
    assert given[0][1][0] is tensor


def fusing() -> list[Launch]:
    return [launch for launch in launches() if launch.name in ("tally_kernel", "mask_kernel")][:2]


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_fusion_would_show(target: str) -> None:
    """With the compiler's default, the interpolation is fused: the count above can find it."""
    for launch in fusing():
        assert inspect(launch, target, enable_fp_fusion=True).fused > 0
        assert inspect(launch, target).fused == 0


def test_spills_would_show() -> None:
    launch = next(launch for launch in launches() if launch.name == "find_kernel")
    assert inspect(launch, "sm_90", maxnreg=32).spills > 0


def test_atomics_that_order_memory_would_show() -> None:
    """A RED gives nothing back and orders nothing: PTX says so, and machine code has no ATOM."""
    for launch in launches():
        if launch.name in ATOMIC:
            ptx = build(launch, "sm_80").asm["ptx"]
            atomics = [line for line in ptx.splitlines() if "atom." in line or "red." in line]
            globals_ = [line for line in atomics if ".global." in line]
            assert globals_
            assert all("relaxed" in line for line in globals_)
