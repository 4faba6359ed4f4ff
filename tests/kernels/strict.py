"""Triton's interpreter, made strict: what a GPU would punish, or leave to chance, fails here.

- Every argument lies alone between guard zones. A load, store or atomic whose address is outside the argument's own
  elements fails, and so does one that is not aligned to its type.
- Programs run in random order, and no two of them may store to one address.
- A masked-out lane that no ``other`` is given for holds poison, not 0.
- Integer arithmetic that overflows fails, and device_assert works.
- Memory that torch hands out is poisoned, so that what a kernel must write shows where it did not.

It needs TRITON_INTERPRET=1 before triton is first imported.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from triton.runtime import interpreter as triton_interpreter

from ndkernels import _triton

ARITHMETIC = {"create_add": np.add, "create_sub": np.subtract, "create_mul": np.multiply}
GUARD = 4096  # bytes on either side of an argument
POISON = 0xA5


class StrictError(Exception):
    """A kernel did what it must not do."""


class Watch:
    """The arguments of the launch in progress: where they lie, and who has stored to them."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []
        self.stored: dict[int, int] = {}
        self.program = 0

    def check(self, pointers: Any, mask: Any) -> NDArray[np.uint64]:
        """The addresses of the lanes that are on; fails where one is outside or not aligned."""
        addresses = np.asarray(pointers.data)
        if mask is not None:
            addresses = addresses[np.broadcast_to(np.asarray(mask.data, bool), addresses.shape)]
        addresses = addresses.reshape(-1)
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        inside = np.zeros(addresses.shape, bool)
        for first, last in self.spans:
            inside |= (addresses >= first) & (addresses + size <= last)
        if not inside.all():
            raise StrictError(f"{int((~inside).sum())} of {inside.size} addresses lie outside every argument")
        if (addresses % size).any():
            raise StrictError("an address is not aligned to its type")
        return addresses

    def store(self, addresses: NDArray[np.uint64]) -> None:
        """Note who stores; fails where another program, or another lane, has stored before."""
        if len(np.unique(addresses)) != len(addresses):
            raise StrictError("two lanes store to one address")
        for address in addresses.tolist():
            if self.stored.setdefault(address, self.program) != self.program:
                raise StrictError("two programs store to one address")


@contextmanager
def interpreter() -> Iterator[None]:
    """Make the interpreter strict, and send the project's launches through it."""
    builder = triton_interpreter.interpreter_builder
    names = (
        "create_masked_load", "create_masked_store", "create_atomic_rmw", "set_grid_dim", "set_grid_idx", "options",
        *ARITHMETIC,
    )  # fmt: skip
    before = {name: getattr(builder, name) for name in names}
    load, store, atomic = (before[name] for name in names[:3])
    watch = Watch()
    order: list[tuple[int, int, int]] = []

    def masked_load(pointers: Any, mask: Any, other: Any, *rest: Any) -> Any:
        watch.check(pointers, mask)
        result = load(pointers, mask, other, *rest)
        if other is None:
            data = np.array(result.data)
            kind = data.dtype.kind
            poison = np.nan if kind == "f" else True if kind == "b" else np.iinfo(data.dtype).max
            data[~np.broadcast_to(np.asarray(mask.data, bool), data.shape)] = poison
            result.data = data
        return result

    def masked_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.store(watch.check(pointers, mask))
        return store(pointers, value, mask, *rest)

    def atomic_rmw(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.check(pointers, mask)
        return atomic(operation, pointers, value, mask, *rest)

    def grid_dim(*sizes: int) -> None:
        before["set_grid_dim"](*sizes)
        order[:] = [tuple(map(int, place)) for place in np.ndindex(*sizes)]  # type: ignore[misc]
        random.shuffle(order)

    def grid_index(*_: int) -> None:
        watch.program += 1
        before["set_grid_idx"](*order.pop())

    builder.create_masked_load, builder.create_masked_store = masked_load, masked_store
    builder.create_atomic_rmw = atomic_rmw
    builder.set_grid_dim, builder.set_grid_idx = grid_dim, grid_index
    for name, exact in ARITHMETIC.items():
        setattr(builder, name, checked(before[name], exact))
    # Triton's own checks of overflow are programs of many operations, and interpreted too.
    builder.options = triton_interpreter.InterpreterOptions(debug=True, sanitize_overflow=False)
    plain, patch = _triton.launch, triton_interpreter._patch_lang
    patched: dict[frozenset[str], Any] = {}

    def patch_once(function: Any) -> Any:
        """Triton's language is patched anew at every call of a helper, over what is patched already: once will do."""
        modules = (value.__name__ for value in function.__globals__.values() if inspect.ismodule(value))
        key = frozenset(name for name in modules if name.startswith("triton.language"))
        if key not in patched:
            patched[key] = patch(function)
        return triton_interpreter._LangPatchScope()  # restores nothing: that is done at the end

    triton_interpreter._patch_lang = patch_once

    def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **rest: Any) -> None:
        if 0 in grid:
            return
        guarded = {id(a): Guarded(a) for a in arguments if isinstance(a, Tensor)}
        watch.spans = [g.span for g in guarded.values()]
        watch.stored = {}
        plain(kernel, grid, *(guarded[id(a)].tensor if isinstance(a, Tensor) else a for a in arguments), **rest)
        for g in guarded.values():
            g.put_back()

    _triton.launch = launch
    deterministic = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fills what torch.empty gives with NaN, or the largest integer
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        _triton.launch, triton_interpreter._patch_lang = plain, patch
        for scope in reversed(patched.values()):
            scope.restore()
        for name, value in before.items():
            setattr(builder, name, value)


def checked(operation: Any, exact: Any) -> Any:
    """An integer operation that fails where its result does not fit."""

    def call(one: Any, other: Any) -> Any:
        result = operation(one, other)
        data = np.asarray(result.data)
        if data.dtype.kind in "iu" and data.dtype.itemsize < 8:
            wide = exact(np.asarray(one.data).astype(np.int64), np.asarray(other.data).astype(np.int64))
            if not np.array_equal(wide, data):
                raise StrictError(f"{data.dtype} overflows in {exact.__name__}")
        return result

    return call


class Guarded:
    """A copy of an argument between guard zones."""

    def __init__(self, original: Tensor) -> None:
        assert original.is_contiguous(), "a kernel is given a tensor that is not contiguous"
        self._original = original
        self._bytes = torch.full((original.nbytes + 2 * GUARD,), POISON, dtype=torch.uint8)
        inside = self._bytes[GUARD : GUARD + original.nbytes]
        self.tensor = inside.view(original.dtype).reshape(original.shape) if original.numel() else original
        self.tensor.copy_(original)
        self._before = self._bytes.clone()
        start = self.tensor.data_ptr()
        self.span = (start, start + original.nbytes)

    def put_back(self) -> None:
        """Check the guards, and take what was written."""
        guards = torch.cat([self._bytes[:GUARD], self._bytes[GUARD + self._original.nbytes :]])
        if bool((guards != POISON).any()):
            raise StrictError("a kernel wrote beside an argument")
        if not torch.equal(self._bytes, self._before):  # what is only read may be a tensor that can't be written
            self._original.copy_(self.tensor)
