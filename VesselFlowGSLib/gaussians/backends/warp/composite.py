"""Compositing on a GPU: splats sorted by depth, listed for each tile of the image, blended by a thread for each pixel.

Neighbouring threads share a tile's list and read the same splat at the same time; each stops by itself where nothing
more would be seen.
"""

from __future__ import annotations

import torch
import warp as wp
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.warp.footprint import (
    AMPLITUDE,
    BLOCK,
    COLUMN,
    ROW,
    ROW_LENGTH,
    Row,
    U,
    V,
    inverse_denominator,
    squared,
    tabulate_splats,
    view_numbers,
)
from VesselFlowGSLib.gaussians.backends.warp.launching import array, gaussian_arrays, launch, on_stream_of
from VesselFlowGSLib.gaussians.backends.warp.tiles import SIDE, TILE, tile_lists
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.splats import LARGEST_ALPHA, LEAST_TRANSMITTANCE, Splats, depths
from VesselFlowGSLib.gaussians.views import View, Views

PIXELS = wp.constant(SIDE * SIDE)  # of a tile, one for each thread
HIDDEN, OPAQUE = wp.constant(LEAST_TRANSMITTANCE), wp.constant(LARGEST_ALPHA)

wp.set_module_options({"enable_backward": False, "fast_math": True, "block_dim": SIDE * SIDE})


@wp.kernel
def blend(
    table: wp.array(dtype=Row),
    colour: wp.array(dtype=wp.vec3),
    first: wp.array(dtype=int),
    entries: wp.array(dtype=int),
    low: int,
    across: int,
    cut2: float,
    picture: wp.array2d(dtype=wp.vec4),
):
    """Every pixel of the tiles, front to back; 32 neighbouring threads cover 8 columns and 4 rows."""
    thread = wp.tid()
    tile, lane = thread / PIXELS, thread % PIXELS
    x = tile % across * TILE + lane / 32 % 2 * 8 + lane % 8
    y = (low + tile / across) * TILE + lane / 64 * 4 + lane % 32 / 8
    if x >= picture.shape[1] or y >= picture.shape[0]:
        return
    seen = wp.vec3()
    transmittance = wp.float32(1.0)
    k, end = int(first[tile]), first[tile + 1]
    while k < end and transmittance >= HIDDEN:
        row = entries[k]
        g = table[row]
        du = float(x) - g[COLUMN] - g[U]
        dv = float(y) - g[ROW] - g[V]
        numerator = squared(g, du, dv)
        if numerator < cut2:
            exponent = -0.5 * numerator * inverse_denominator(g, du, dv)
            alpha = wp.min(g[AMPLITUDE] * wp.exp(exponent), OPAQUE)
            seen += alpha * transmittance * colour[row]
            transmittance *= 1.0 - alpha
        k += 1
    picture[y, x] = wp.vec4(seen[0], seen[1], seen[2], 1.0 - transmittance)


def _alone(view: View) -> Views:
    source, origin, column_step, row_step = (
        x.detach()[None] for x in (view.source, view.origin, view.column_step, view.row_step)
    )
    return Views(source, origin, column_step, row_step, view.rows, view.columns)


def _by_depth(splats: Splats, view: View) -> Tensor:
    """(N,) int32, nearest first, equals in their own order."""
    count = len(splats)
    keys = torch.cat(
        [depths(splats.mean, view), torch.zeros(count, dtype=view.source.dtype, device=view.source.device)]
    )
    order = torch.arange(2 * count, dtype=torch.int32, device=keys.device)
    if count:
        wp.utils.radix_sort_pairs(array(keys), array(order), count)
    return order[:count]


def composite(splats: Splats, view: View, cut: float, threads: int) -> Tensor:
    """(rows, columns, 4) premultiplied red, green, blue, and opacity, in single precision; forward only."""
    g, colour = splats.gaussians, splats.colour.detach().contiguous()
    table = torch.zeros(len(g), ROW_LENGTH, device=colour.device)
    picture = torch.zeros(view.rows, view.columns, 4, device=colour.device)
    numbers = view_numbers(_alone(view))
    with on_stream_of(table):
        launch(
            tabulate_splats, len(g), *gaussian_arrays(g.mean, g.log_sigma, g.quaternion, g.density), array(numbers),
            float(cut), PIXEL_VARIANCE, view.rows, view.columns, array(table, Row), like=table, block=BLOCK,
        )  # fmt: skip
        for lists in tile_lists(table, _by_depth(splats, view), view.rows, view.columns):
            launch(
                blend, lists.tiles * SIDE * SIDE, array(table, Row), array(colour, wp.vec3), array(lists.first),
                array(lists.entries), lists.low, lists.across, float(cut * cut), array(picture, wp.vec4),
                like=table, block=SIDE * SIDE,
            )  # fmt: skip
    return picture
