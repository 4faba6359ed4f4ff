"""Compile the GPU kernels ahead of time, with no GPU, and read what the machine code is.

The launches are not written down twice: the kernels' own host code is run with a recorder in the launcher's place, and
what it would have launched is compiled with the types, alignments and constants of its very arguments. The triton wheel
brings ptxas, cuobjdump, nvdisasm and the compiler for AMD.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ndkernels import _triton

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
TYPES = {
    torch.float32: "fp32",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint16: "u16",
    torch.uint8: "u8",
}
# An instruction of nvdisasm's listing: its address, an optional predicate, its name.
SASS = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*)")


@dataclass(frozen=True)
class Launch:
    """One launch as it was asked for: the arguments of :func:`ndkernels._triton.launch`."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Tensor | int, ...]
    constants: dict[str, Any]
    warps: int
    registers: int | None = None

    @property
    def name(self) -> str:
        """The kernel's name."""
        return str(self.kernel.__name__)


@contextmanager
def launching(replacement: Any) -> Iterator[None]:
    """Put ``replacement(launch: Launch)`` in the launcher's place."""

    def launch(
        kernel: Any,
        grid: tuple[int, ...],
        *arguments: Any,
        warps: int = 1,
        registers: int | None = None,
        **constants: Any,
    ) -> None:
        if 0 not in grid:
            replacement(Launch(kernel, tuple(grid), arguments, constants, warps, registers))

    original = _triton.launch
    _triton.launch = launch
    try:
        yield
    finally:
        _triton.launch = original


@dataclass
class Compiled:
    """What became of one kernel on one target.

    Attributes
    ----------
    name, target : str
    registers : int
        A thread; on AMD the vector registers.
    spills : int
        Bytes of stack, and loads and stores of local memory; on AMD spilled vector registers and bytes of scratch.
    scalar_spills : int
        On AMD, scalar registers kept in the lanes of a vector register, for want of room: no memory is touched.
    shared : int
        Bytes a program.
    fused : int
        Fused multiply-adds of float32.
    loads : dict of int to int
        Loads from global memory by their width in bytes.
    red, atom : int
        Atomics on global memory that give nothing back, and those that do.
    instructions : list of (int, str, str)
        Address, name and operands of the machine code, for NVIDIA.
    labels : dict of str to int
        Addresses of its labels.
    code : str
        PTX, or AMD's assembly.
    """

    name: str
    target: str
    registers: int
    spills: int
    scalar_spills: int
    shared: int
    fused: int
    loads: dict[int, int]
    red: int
    atom: int
    code: str
    instructions: list[tuple[int, str, str]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


def build(launch: Launch, target: str, **options: Any) -> Any:
    """Compile a launch for a target as the launcher would, unless ``options`` say otherwise."""
    signature: dict[str, str] = {}
    attributes: dict[tuple[int, ...], list[list[object]]] = {}
    rest = list(launch.arguments)
    for i, parameter in enumerate(launch.kernel.params):
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            continue
        argument = rest.pop(0)
        if isinstance(argument, Tensor):
            signature[parameter.name] = "*" + TYPES[argument.dtype]
            if argument.data_ptr() % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            # A specialised integer would be compiled anew in the middle of a run, when it changes.
            assert parameter.do_not_specialize, f"{launch.name} specialises {parameter.name}"
            signature[parameter.name] = "i32" if abs(argument) < 2**31 else "i64"
    assert not rest, f"{launch.name} has {len(rest)} arguments too many"
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=launch.constants, attrs=attributes)
    limit = {"maxnreg": launch.registers} if launch.registers and TARGETS[target].backend == "cuda" else {}
    settings = {"num_warps": launch.warps, **limit, **_triton.OPTIONS, **options}
    return triton.compile(source, target=TARGETS[target], options=settings)


def inspect(launch: Launch, target: str, **options: Any) -> Compiled:
    """Compile a launch and read its machine code."""
    kernel = build(launch, target, **options)
    if TARGETS[target].backend == "hip":
        return _inspect_amd(launch.name, target, kernel)
    return _inspect_nvidia(launch.name, target, kernel)


def _inspect_nvidia(name: str, target: str, kernel: Any) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        usage = _read(knobs.nvidia.cuobjdump.path, "-res-usage", str(path))
        listing = _read(knobs.nvidia.nvdisasm.path, "-c", str(path))
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    instructions = [(int(a, 16), op, rest) for a, op, rest in SASS.findall(listing)]
    counts = Counter(op.split(".")[0] for _, op, _ in instructions)
    loads: Counter[int] = Counter()
    for _, op, _ in instructions:
        if op.startswith("LDG"):
            bits = [int(part) for part in op.split(".") if part in ("64", "128", "256")]
            narrow = 1 if ".U8" in op or ".S8" in op else 2 if ".U16" in op or ".S16" in op else 4
            loads[bits[0] // 8 if bits else narrow] += 1
    return Compiled(
        name=name,
        target=target,
        registers=int(found[1]),
        spills=counts["LDL"] + counts["STL"] + int(found[2]),
        scalar_spills=0,
        shared=kernel.metadata.shared,
        fused=counts["FFMA"] + counts["FFMA2"],
        loads=dict(sorted(loads.items())),
        red=counts["RED"] + counts["REDG"],
        atom=counts["ATOM"] + counts["ATOMG"],
        code=kernel.asm["ptx"],
        instructions=instructions,
        labels=_labels(listing),
    )


def _labels(listing: str) -> dict[str, int]:
    """Addresses of the labels of nvdisasm's listing: that of the instruction behind each."""
    found: dict[str, int] = {}
    waiting: list[str] = []
    for line in listing.splitlines():
        if label := re.match(r"(\.L\w+):", line):
            waiting.append(label[1])
        elif instruction := SASS.search(line):
            found.update(dict.fromkeys(waiting, int(instruction[1], 16)))
            waiting.clear()
    return found


def _inspect_amd(name: str, target: str, kernel: Any) -> Compiled:
    code = kernel.asm["amdgcn"]
    names = re.findall(r"^\s+([a-z]\w+)", code, re.MULTILINE)

    def value(key: str) -> int:
        found = re.search(rf"\.{key}:\s+(\d+)", code)
        assert found, key
        return int(found[1])

    loads: Counter[int] = Counter()
    for op in names:
        if loaded := re.match(r"(?:global|buffer|flat)_load_(?:(dword)(?:x(\d))?|[us]?(byte|short))", op):
            loads[4 * int(loaded[2] or 1) if loaded[1] else {"byte": 1, "short": 2}[loaded[3]]] += 1
    atomics = re.findall(r"^\s+((?:global|buffer|flat)_atomic\w+)\s([^\n]*)", code, re.MULTILINE)
    returning = sum(bool(re.search(r"\b(glc|sc0)\b", rest)) for _, rest in atomics)
    return Compiled(
        name=name,
        target=target,
        registers=value("vgpr_count"),
        spills=value("vgpr_spill_count") + value("private_segment_fixed_size"),
        scalar_spills=value("sgpr_spill_count"),
        shared=kernel.metadata.shared,
        fused=sum(bool(re.match(r"v_(pk_)?(fma|mac|mad|fmac)\w*_f32", op)) for op in names),
        loads=dict(sorted(loads.items())),
        red=len(atomics) - returning,
        atom=returning,
        code=code,
    )


def _read(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
