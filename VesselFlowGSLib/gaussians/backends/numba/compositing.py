"""Kernels that lay splats over each other from front to back, eight pixels at a time."""

from __future__ import annotations

import numpy as np

from VesselFlowGSLib.gaussians.backends.numba.footprint import (
    A11,
    AMPLITUDE,
    C11,
    FOOT_U,
    PART_U,
)
from VesselFlowGSLib.gaussians.backends.numba.kernel import kernel
from VesselFlowGSLib.gaussians.backends.numba.simd import (
    LANES,
    at_most,
    exponential,
    first,
    load,
    ramp,
    store,
    total,
)
from VesselFlowGSLib.gaussians.backends.numba.splatting import (
    CENTRE,
    CONSTANT,
    DEEPEST,
    FAST,
    HALF,
    HIGH,
    LOW,
    ONE,
    REST,
    SLOPE,
    fill_lines,
)
from VesselFlowGSLib.gaussians.splats import LARGEST_ALPHA, LEAST_TRANSMITTANCE

DENSEST, LEAST = np.float32(LARGEST_ALPHA), np.float32(LEAST_TRANSMITTANCE)


@kernel(**FAST)
def lay(low, high, scratch, table, spans, colour, columns, cut2, planes, picture):
    """Image rows low ... high - 1 of the picture (rows, columns, 4), from splats in the order of their depth.

    table, spans and colour (N, 3) are in that order.
    planes (4, rows, columns + LANES): red, green, blue, all zero, and what is left of the light, all one.
    """
    stride = columns + LANES
    plane = planes.shape[1] * stride
    steps = ramp()
    for n in range(len(table)):
        first_row, last_row = max(low, spans[n, 0]), min(high - 1, spans[n, 1])
        if first_row > last_row:
            continue
        row = table[n]
        foot_u, part_u = row[FOOT_U], row[PART_U]
        a11, c11, opacity = row[A11], row[C11], row[AMPLITUDE]
        red, green, blue = colour[n, 0], colour[n, 1], colour[n, 2]
        for y in range(first_row, last_row + 1):
            k = (y - first_row) % LANES
            if k == 0:
                fill_lines(scratch, y, row, cut2, columns)
            low_x, high_x, rest = scratch[LOW + k], scratch[HIGH + k], scratch[REST + k]
            if low_x > high_x or rest >= cut2:
                continue
            x0, x1 = int(low_x), int(high_x)
            centre, constant, slope = scratch[CENTRE + k], scratch[CONSTANT + k], scratch[SLOPE + k]
            for x in range(x0, x1 + 1, LANES):
                at = y * stride + x
                left = load(planes, at + 3 * plane)
                if total(left) < LEAST:
                    continue
                du = steps + ((np.float32(x) - foot_u) - part_u)
                apart = du - centre
                exponent = (apart * apart * a11 + rest) / ((du * c11 + slope) * du + constant)
                hidden = exponential(at_most(exponent, -DEEPEST) * -HALF) * opacity
                hidden = first(at_most(hidden, DENSEST), x1 - x)
                seen = hidden * left
                store(planes, at + 3 * plane, left - seen)
                store(planes, at, load(planes, at) + seen * red)
                store(planes, at + plane, load(planes, at + plane) + seen * green)
                store(planes, at + 2 * plane, load(planes, at + 2 * plane) + seen * blue)
    for y in range(low, high):
        for x in range(columns):
            for k in range(3):
                picture[y, x, k] = planes[k, y, x]
            picture[y, x, 3] = ONE - planes[3, y, x]
