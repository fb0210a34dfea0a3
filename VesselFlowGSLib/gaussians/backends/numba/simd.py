"""Eight single-precision numbers at a time in numba kernels, whatever the compiler would vectorise by itself.

`lanes8` is LLVM's <8 x float>, which becomes one AVX register, two of SSE or two of NEON. Arithmetic with scalars
spreads them over the lanes. Loads and stores are unaligned, at a flat element offset of a contiguous float32 array, and
touch eight elements: arrays that are read to their end have eight elements more.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_FAST = ("fast",)
_UNDEFINED = ir.Constant(_FLOATS, ir.Undefined)
# 2^f for |f| <= 1/2, to 1.1e-7 of it: of all polynomials that are 1 at 0 the one with the least largest error.
_EXP_ON_HALF = (0.00132647145, 0.00967151392, 0.0555073395, 0.240222424, 0.693147004, 1.0)


class _Lanes8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="lanes8")


lanes8 = _Lanes8()


@register_model(_Lanes8)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


def _floats(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [ir.Constant(_FLOAT, float(value))] * LANES)


def _ints(value: int) -> ir.Constant:
    return ir.Constant(_INTS, [ir.Constant(_INT, int(value))] * LANES)


def _spread(builder: Any, scalar: Any) -> Any:
    first = builder.insert_element(_UNDEFINED, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, _UNDEFINED, _ints(0))


def _as_lanes(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    if kind == lanes8:
        return value
    return _spread(builder, context.cast(builder, value, kind, types.float32))


def _arithmetic(symbol: Callable[..., Any], instruction: str) -> None:
    """Teaches numba the operator for lanes with lanes, and for lanes with a scalar on either side."""

    @type_callable(symbol)
    def typed(context: Any) -> Any:
        def result(x: Any, y: Any) -> Any:
            pair = (x, y)
            numbers = all(k == lanes8 or isinstance(k, types.Number) for k in pair)
            return lanes8 if numbers and lanes8 in pair else None

        return result

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_as_lanes(context, builder, v, k) for v, k in zip(arguments, signature.args, strict=True))
        return getattr(builder, instruction)(a, b, flags=_FAST)

    for pair in ((lanes8, lanes8), (lanes8, types.Number), (types.Number, lanes8)):
        lower_builtin(symbol, *pair)(generate)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


@intrinsic
def spread(typing: Any, x: Any) -> Any:
    """A scalar on all lanes."""
    return lanes8(x), lambda context, builder, signature, arguments: _as_lanes(
        context, builder, arguments[0], signature.args[0]
    )


@intrinsic
def ramp(typing: Any) -> Any:
    """0, 1, ... 7."""
    numbers = ir.Constant(_FLOATS, [ir.Constant(_FLOAT, float(i)) for i in range(LANES)])
    return lanes8(), lambda context, builder, signature, arguments: numbers


def _pointer(context: Any, builder: Any, kind: Any, array: Any, offset: Any, offset_kind: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    at = builder.gep(data, [context.cast(builder, offset, offset_kind, types.intp)])
    return builder.bitcast(at, _FLOATS.as_pointer())


@intrinsic
def load(typing: Any, array: Any, offset: Any) -> Any:
    """Eight elements from a flat offset."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], signature.args[1])
        return builder.load(at, align=4)

    return lanes8(array, offset), generate


@intrinsic
def store(typing: Any, array: Any, offset: Any, value: Any) -> Any:
    """Eight elements to a flat offset."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], signature.args[1])
        builder.store(arguments[2], at, align=4)
        return context.get_dummy_value()

    return types.void(array, offset, value), generate


def _of_each_lane(name: str) -> Any:
    @intrinsic
    def compute(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            full_name = f"llvm.{name}.v{LANES}f32"
            function = builder.module.globals.get(full_name)
            if function is None:
                function = ir.Function(builder.module, ir.FunctionType(_FLOATS, [_FLOATS]), full_name)
            return builder.call(function, arguments, fastmath=_FAST)

        return lanes8(lanes8), generate

    return compute


root, floor, ceiling = (_of_each_lane(name) for name in ("sqrt", "floor", "ceil"))


@intrinsic
def at_most(typing: Any, x: Any, limit: Any) -> Any:
    """The smaller of each lane and a limit (a scalar or lanes)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bound = _as_lanes(context, builder, arguments[1], signature.args[1])
        return builder.select(builder.fcmp_ordered("<", arguments[0], bound, flags=_FAST), arguments[0], bound)

    return lanes8(lanes8, limit), generate


@intrinsic
def at_least(typing: Any, x: Any, limit: Any) -> Any:
    """The larger of each lane and a limit (a scalar or lanes)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bound = _as_lanes(context, builder, arguments[1], signature.args[1])
        return builder.select(builder.fcmp_ordered(">", arguments[0], bound, flags=_FAST), arguments[0], bound)

    return lanes8(lanes8, limit), generate


@intrinsic
def below(typing: Any, value: Any, x: Any, limit: Any) -> Any:
    """The value where x < limit (a scalar), else 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bound = _as_lanes(context, builder, arguments[2], signature.args[2])
        inside = builder.fcmp_ordered("<", arguments[1], bound)
        return builder.select(inside, arguments[0], _floats(0))

    return lanes8(lanes8, lanes8, limit), generate


@intrinsic
def first(typing: Any, x: Any, last: Any) -> Any:
    """The lanes 0 ... last; the others become 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bound = context.cast(builder, arguments[1], signature.args[1], types.int32)
        undefined = ir.Constant(_INTS, ir.Undefined)
        bounds = builder.shuffle_vector(
            builder.insert_element(undefined, bound, ir.Constant(_INT, 0)), undefined, _ints(0)
        )
        numbers = ir.Constant(_INTS, [ir.Constant(_INT, i) for i in range(LANES)])
        return builder.select(builder.icmp_signed("<=", numbers, bounds), arguments[0], _floats(0))

    return lanes8(lanes8, last), generate


@intrinsic
def exponential(typing: Any, x: Any) -> Any:
    """exp(x) for x in [-80, 0], to 3e-7 of it near 0: 2^n times a polynomial of degree 5."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scaled = builder.fmul(arguments[0], _floats(1.4426950408889634), flags=_FAST)
        whole = builder.fptosi(builder.fsub(scaled, _floats(0.5), flags=_FAST), _INTS)
        part = builder.fsub(scaled, builder.sitofp(whole, _FLOATS), flags=_FAST)
        result = _floats(_EXP_ON_HALF[0])
        for coefficient in _EXP_ON_HALF[1:]:
            result = builder.fadd(builder.fmul(result, part, flags=_FAST), _floats(coefficient), flags=_FAST)
        power = builder.bitcast(builder.shl(builder.add(whole, _ints(127)), _ints(23)), _FLOATS)
        return builder.fmul(result, power, flags=_FAST)

    return lanes8(lanes8), generate


@intrinsic
def total(typing: Any, x: Any) -> Any:
    """The sum of the lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = arguments[0]
        for width in (4, 2, 1):
            order = [ir.Constant(_INT, i + width if i < width else i) for i in range(LANES)]
            folded = builder.shuffle_vector(value, _UNDEFINED, ir.Constant(_INTS, order))
            value = builder.fadd(value, folded, flags=_FAST)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(lanes8), generate


@intrinsic
def totals(typing: Any, array: Any, offset: Any) -> Any:
    """The sums of eight times eight elements from a flat offset: lane k holds that of elements 8 k ... 8 k + 7."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        begin = _pointer(context, builder, signature.args[0], arguments[0], arguments[1], signature.args[1])
        rows = []
        for k in (0, 4, 2, 6, 1, 5, 3, 7):  # the rounds leave the rows in bit-reversed order
            rows.append(builder.load(builder.gep(begin, [ir.Constant(_INT, k)]), align=4))
        # Each round adds the halves of two rows side by side, until one row is left.
        width = LANES // 2
        while width:
            low, high = [], []
            for block in range(0, LANES, 2 * width):
                low += range(block, block + width)
                high += range(block + width, block + 2 * width)
            halves = [low + [LANES + i for i in low], high + [LANES + i for i in high]]
            step = len(rows) // 2
            joined = []
            for k in range(step):
                a, b = (
                    builder.shuffle_vector(
                        rows[k], rows[k + step], ir.Constant(_INTS, [ir.Constant(_INT, i) for i in half])
                    )
                    for half in halves
                )
                joined.append(builder.fadd(a, b, flags=_FAST))
            rows, width = joined, width // 2
        return rows[0]

    return lanes8(array, offset), generate
