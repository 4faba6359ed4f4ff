"""A small vector layer for Numba kernels: a few lanes of one type in one value, at raw addresses.

Numba leaves vectorisation to LLVM, which does not see through the kernels' branches. These intrinsics say what is
meant in LLVM's generic vector operations, which it turns into whatever the processor has (SSE, AVX, AVX-512, NEON): one
spelling, the same bits everywhere. Nothing is fused, reassociated or approximated.

Kernels pass addresses (integers) instead of arrays to the functions they call: an array would be reference-counted
at every call. The array must be contiguous, and be named again behind the call, or in a loop around it: Numba drops a
local array behind the last mention of its name, and memory that is only known by its address with it.

A vector's *kind* is named by a constant such as ``FLOATS``, as a scalar's is by a NumPy type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import register_model

from ndkernels._jit import jit

# What is called takes other arguments than the function that is decorated, which only types the call.
intrinsic = cast(Callable[[Callable[..., Any]], Any], numba_intrinsic)
literal_intrinsic = cast(Callable[[Callable[..., Any]], Any], numba_intrinsic(prefer_literal=True))


class Vector(types.Type):
    """Numba's type of ``lanes`` numbers of one scalar type."""

    def __init__(self, element: types.Number, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element} x {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is an LLVM vector, in memory and in registers."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            manager, kind, ir.VectorType(manager.lookup(kind.element).get_value_type(), kind.lanes)
        )


LANES = 16
FLOATS = Vector(types.float32, LANES)
INTEGERS = Vector(types.int32, LANES)
LONGS = Vector(types.int64, LANES)


@intrinsic
def address(typing: Any, array: Any) -> Any:
    """Where the first element of an array lies."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(context.make_array(array)(context, builder, arguments[0]).data, ir.IntType(64))

    return types.intp(array), emit


@intrinsic
def load(typing: Any, kind: Any, address: Any) -> Any:
    """The number or vector of a kind that lies at an address, aligned or not."""
    result = _kind(kind)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, arguments[1], result), align=1)

    return result(kind, types.intp), emit


@intrinsic
def store(typing: Any, value: Any, address: Any) -> Any:
    """Write a number or vector to an address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[0], _pointer(context, builder, arguments[1], value), align=1)
        return context.get_dummy_value()

    return types.void(value, types.intp), emit


@literal_intrinsic
def copy(typing: Any, like: Any, lanes: Any, source: Any, target: Any) -> Any:
    """Copy ``lanes`` numbers of the type of ``like`` from one address to another."""
    kind = Vector(like, lanes.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        moved = builder.load(_pointer(context, builder, arguments[2], kind), align=1)
        builder.store(moved, _pointer(context, builder, arguments[3], kind), align=1)
        return context.get_dummy_value()

    return types.void(like, lanes, types.intp, types.intp), emit


@intrinsic
def fill(typing: Any, kind: Any, number: Any) -> Any:
    """A vector with one number in every lane."""
    result = _kind(kind)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(result)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), result.lanes), None)
        return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)

    return result(kind, result.element), emit


@intrinsic
def add(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane; integers wrap around."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return (builder.fadd if isinstance(left.element, types.Float) else builder.add)(*arguments)

    return left(left, left), emit


@intrinsic
def subtract(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane, of floats."""
    return left(left, left), lambda context, builder, signature, arguments: builder.fsub(*arguments)


@intrinsic
def multiply(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane, of floats."""
    return left(left, left), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@intrinsic
def larger(typing: Any, left: Any, right: Any) -> Any:
    """Bit k tells whether lane k of the left is larger than that of the right; at most 64 lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _bits(builder, _compare(builder, left, *arguments), left.lanes)

    return types.intp(left, left), emit


@intrinsic
def maximum(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane; of floats, none of them NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(_compare(builder, left, *arguments), *arguments)

    return left(left, left), emit


@intrinsic
def minimum(typing: Any, left: Any, right: Any) -> Any:
    """Lane by lane; of floats, none of them NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(_compare(builder, left, *arguments), *reversed(arguments))

    return left(left, left), emit


@intrinsic
def highest(typing: Any, vector: Any) -> Any:
    """The largest lane of an integer vector."""
    return vector.element(vector), lambda *arguments: _reduce("smax", vector, *arguments)


@intrinsic
def lowest(typing: Any, vector: Any) -> Any:
    """The smallest lane of an integer vector."""
    return vector.element(vector), lambda *arguments: _reduce("smin", vector, *arguments)


@intrinsic
def order(typing: Any, bits: Any) -> Any:
    """Lane by lane: integers in the same order as the floats that have these 32 bits; its own inverse."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(bits)
        sign = builder.ashr(arguments[0], ir.Constant(vector, [31] * bits.lanes))
        return builder.xor(arguments[0], builder.and_(sign, ir.Constant(vector, [0x7FFFFFFF] * bits.lanes)))

    return bits(bits), emit


@intrinsic
def differ(typing: Any, seen: Any, left: Any, right: Any) -> Any:
    """Lane by lane: zero where ``seen`` is and the integers on both sides are the same, another number elsewhere."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.or_(arguments[0], builder.xor(*arguments[1:]))

    return seen(seen, seen, seen), emit


@intrinsic
def nonzero(typing: Any, vector: Any) -> Any:
    """Bit k tells whether lane k of an integer vector is not zero; at most 64 lanes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = ir.Constant(context.get_value_type(vector), None)
        return _bits(builder, builder.icmp_unsigned("!=", arguments[0], zeros), vector.lanes)

    return types.intp(vector), emit


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line at an address, without waiting for it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        call = _llvm(builder, "llvm.prefetch.p0", ir.VoidType(), pointer.type, number, number, number)
        builder.call(call, [pointer, number(0), number(3), number(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(types.intp), emit


@intrinsic
def first_bit(typing: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set; 64 where none is."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.intp(types.intp), emit


@intrinsic
def count_bits(typing: Any, bits: Any) -> Any:
    """How many bits are set."""
    return types.intp(types.intp), lambda context, builder, signature, arguments: builder.ctpop(arguments[0])


@jit
def first_bits(count: int) -> int:
    """The bits of the first ``count`` lanes, or of all lanes if that is more than there are."""
    return (1 << min(count, LANES)) - 1


def _reduce(what: str, kind: Any, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    number, vector = context.get_value_type(kind.element), context.get_value_type(kind)
    name = f"llvm.vector.reduce.{what}.v{kind.lanes}i{kind.element.bitwidth}"
    return builder.call(_llvm(builder, name, number, vector), arguments)


def _llvm(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """One of LLVM's own functions."""
    return cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        builder.module, ir.FunctionType(result, arguments), name
    )


def _compare(builder: Any, kind: Any, left: Any, right: Any) -> Any:
    floating = isinstance(kind.element, types.Float)
    return (builder.fcmp_ordered if floating else builder.icmp_signed)(">", left, right)


def _kind(named: Any) -> Any:
    """The type that a kernel's constant stands for, or that a number has."""
    return named if isinstance(named, types.Number) else named.instance_type


def _pointer(context: Any, builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, context.get_value_type(kind).as_pointer())


def _bits(builder: Any, lanes: Any, count: int) -> Any:
    bits = builder.bitcast(lanes, ir.IntType(count))
    return bits if count == 64 else builder.zext(bits, ir.IntType(64))
