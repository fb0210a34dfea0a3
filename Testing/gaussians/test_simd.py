"""Eight lanes: what each operation does with every lane, and that the machine code works on eight at a time."""

from __future__ import annotations

import numpy as np
import pytest

nb = pytest.importorskip("numba")

from VesselFlowGSLib.gaussians.backends.numba import simd  # noqa: E402
from VesselFlowGSLib.gaussians.backends.numba.simd import (  # noqa: E402
    at_most,
    below,
    exponential,
    first,
    load,
    ramp,
    root,
    spread,
    store,
    total,
    totals,
)  # fmt: skip

DRAWS = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)


@nb.njit
def arithmetic(x, y, s, out):
    store(out, 0, (load(x, 0) + load(y, 0)) * s - load(x, 0) / (load(y, 0) * load(y, 0) + 1))


@nb.njit
def chosen(x, y, limit, last, out):
    store(out, 0, at_most(load(x, 0), limit))
    store(out, 8, below(load(y, 0), load(x, 0), limit))
    store(out, 16, first(load(x, 0), last))
    store(out, 24, ramp() + spread(limit))


@nb.njit
def functions(x, out):
    for k in range(0, len(x), 8):
        store(out, k, exponential(load(x, k)))


@nb.njit
def roots(x, out):
    store(out, 0, root(load(x, 0)))


@nb.njit
def sums(x, out):
    out[8] = total(load(x, 3))
    store(out, 0, totals(x, 0))


def test_arithmetic_is_that_of_the_lanes_and_scalars_are_spread():
    x, y, out = DRAWS[0], DRAWS[1], np.zeros(8, np.float32)
    arithmetic(x, y, np.float32(2.5), out)
    np.testing.assert_allclose(out, (x + y) * 2.5 - x / (y * y + 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last", [-1, 0, 3, 7, 9])
def test_lanes_are_chosen(last):
    x, y, out = DRAWS[2], DRAWS[3], np.zeros(32, np.float32)
    chosen(x, y, np.float32(0.1), last, out)
    np.testing.assert_array_equal(out[:8], np.minimum(x, np.float32(0.1)))
    np.testing.assert_array_equal(out[8:16], np.where(x < np.float32(0.1), y, 0))
    np.testing.assert_array_equal(out[16:24], np.where(np.arange(8) <= last, x, 0))
    np.testing.assert_allclose(out[24:], np.arange(8) + np.float32(0.1), rtol=1e-6)


def test_the_exponential_is_single_precision_over_its_whole_range():
    x = np.linspace(-80, 0, 80_000).astype(np.float32)
    out = np.zeros_like(x)
    functions(x, out)
    truth = np.exp(x.astype(np.float64))
    # The product with log2(e) is rounded before its fraction is taken, which adds to the polynomial's error.
    assert (np.abs(out / truth - 1) <= 3e-7 + 1e-7 * np.abs(x)).all()
    assert out[-1] == 1


def test_square_roots():
    out = np.zeros(8, np.float32)
    roots(DRAWS[4] ** 2, out)
    np.testing.assert_allclose(out, np.abs(DRAWS[4]), rtol=1e-6)


def test_sums_over_lanes():
    out = np.zeros(9, np.float32)
    sums(DRAWS.ravel(), out)
    np.testing.assert_allclose(out[:8], DRAWS.sum(1), rtol=1e-5, atol=1e-6)
    assert out[8] == pytest.approx(DRAWS.ravel()[3:11].sum(), rel=1e-5)


def test_the_kernels_work_on_eight_numbers_at_a_time():
    from VesselFlowGSLib.gaussians.backends.numba.splatting import forward_one

    floats, distances = nb.types.Array(nb.float32, 2, "C"), nb.types.Array(nb.float32, 2, "C")
    spans, scratch = nb.types.Array(nb.int32, 2, "C"), nb.types.Array(nb.float32, 1, "C")
    kind = (nb.int64, nb.int64, scratch, floats, spans, distances, floats, nb.int64, nb.float32)
    options = {k: v for k, v in forward_one.targetoptions.items() if k not in ("cache", "nopython")}
    fresh = nb.njit(**options)(forward_one.py_func)
    fresh.compile(kind)
    code = fresh.inspect_llvm(fresh.signatures[0])
    assert f"<{simd.LANES} x float>" in code and "fsub fast <8 x float>" in code
