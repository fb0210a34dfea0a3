"""Projection on a GPU: a block of 32 threads for each Gaussian, pixel by pixel of its footprint's box.

Forward, one frame is added up atomically. Many frames gather instead: each pixel keeps its sums in registers and goes
through what touches its tile, so that no frame costs a memory access per pixel and Gaussian. Backward, the gradient of
an image needs twelve moments over each footprint: with g the gradient, v = den^-1/2 exp(-m / 2) g, t = v / den and
e = t (m - 1), sums over the pixels of

    v;  t (du, dv, du^2, du dv, dv^2);  e (1, du, dv, du^2, du dv, dv^2).

The distance from the source to a pixel, which all Gaussians share, is multiplied in at the end.
"""

from __future__ import annotations

from typing import Any

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from VesselFlowGSLib.gaussians.backends.warp.footprint import (
    AMPLITUDE,
    BLOCK,
    COLUMN,
    HEIGHT,
    ROW,
    ROW_LENGTH,
    VIEW_GRADIENTS,
    WIDTH,
    Row,
    U,
    V,
    inverse_denominator,
    pixel_distances,
    pull_back,
    squared,
    tabulate,
    vec12,
    vec19d,
    view_numbers,
)
from VesselFlowGSLib.gaussians.backends.warp.launching import (
    array,
    gaussian_arrays,
    lanes_of,
    launch,
    launch_blocks,
    on_stream_of,
)
from VesselFlowGSLib.gaussians.backends.warp.tiles import SIDE, TILE, tile_lists
from VesselFlowGSLib.gaussians.footprint import PIXEL_VARIANCE
from VesselFlowGSLib.gaussians.parameters import Parameters
from VesselFlowGSLib.gaussians.views import Views

LANES = 32  # threads that share a footprint, or half a tile
FRAMES_SCATTERED = 4  # more frames than these are gathered
FRAMES = 16  # at a time, kept in registers
PIXELS = 4  # below each other, for each thread that gathers
GATHERING = wp.constant(SIDE * SIDE // PIXELS)  # threads of a tile

wp.set_module_options({"enable_backward": False, "fast_math": True, "block_dim": LANES})

Frames = wp.types.vector(length=FRAMES, dtype=wp.float32)


@wp.kernel
def scatter(
    table: wp.array(dtype=Row),
    weights: wp.array2d(dtype=wp.float32),
    cut2: float,
    images: wp.array4d(dtype=wp.float32),
):
    row, lane = wp.tid()
    v, i = row / weights.shape[0], row % weights.shape[0]
    g = table[row]
    width, height = int(g[WIDTH]), int(g[HEIGHT])
    left, top = int(g[COLUMN]), int(g[ROW])
    pixel = lane
    while pixel < width * height:
        x, y = pixel % width, pixel / width
        du, dv = float(x) - g[U], float(y) - g[V]
        numerator = squared(g, du, dv)
        if numerator < cut2:
            inverse = inverse_denominator(g, du, dv)
            value = g[AMPLITUDE] * wp.sqrt(inverse) * wp.exp(-0.5 * numerator * inverse)
            for t in range(weights.shape[1]):
                wp.atomic_add(images, v, t, top + y, left + x, weights[i, t] * value)
        pixel += wp.block_dim()


@wp.kernel
def gather(
    table: wp.array(dtype=Row),
    weights: wp.array2d(dtype=Frames),
    first: wp.array(dtype=int),
    entries: wp.array(dtype=int),
    low: int,
    across: int,
    cut2: float,
    image: wp.array3d(dtype=Frames),
):
    """Sixteen frames of the four pixels x, y + 4 p; 32 neighbouring threads cover half a tile."""
    chunk, thread = wp.tid()
    tile, lane = thread / GATHERING, thread % GATHERING
    x = tile % across * TILE + lane / 32 * 8 + lane % 8
    y = (low + tile / across) * TILE + lane % 32 / 8
    sum0, sum1, sum2, sum3 = Frames(), Frames(), Frames(), Frames()
    for k in range(first[tile], first[tile + 1]):
        row = entries[k]
        g = table[row]
        du = float(x) - g[COLUMN] - g[U]
        down = float(y) - g[ROW] - g[V]
        values = wp.vec4()
        reached = wp.bool(False)
        for p in range(PIXELS):
            dv = down + float(4 * p)
            numerator = squared(g, du, dv)
            if numerator < cut2:
                inverse = inverse_denominator(g, du, dv)
                values[p] = g[AMPLITUDE] * wp.sqrt(inverse) * wp.exp(-0.5 * numerator * inverse)
                reached = True
        if reached:
            weight = weights[row % weights.shape[0], chunk]
            sum0 += values[0] * weight
            sum1 += values[1] * weight
            sum2 += values[2] * weight
            sum3 += values[3] * weight
    if x < image.shape[1]:
        if y < image.shape[0]:
            image[y, x, chunk] = sum0
        if y + 4 < image.shape[0]:
            image[y + 4, x, chunk] = sum1
        if y + 8 < image.shape[0]:
            image[y + 8, x, chunk] = sum2
        if y + 12 < image.shape[0]:
            image[y + 12, x, chunk] = sum3


def _moments_kernel(chunk: int) -> tuple[Any, wp.Kernel]:
    """A vector of so many frames, and the kernel that takes them together."""
    several = wp.types.vector(length=chunk, dtype=wp.float32)

    @wp.kernel
    def gather_moments(
        table: wp.array(dtype=Row),
        weights: wp.array2d(dtype=several),
        gradients: wp.array4d(dtype=wp.float32),
        cut2: float,
        moments: wp.array(dtype=vec12),
        to_weights: wp.array2d(dtype=several),
    ):
        i, lane = wp.tid()
        for c in range(weights.shape[1]):
            weight, of_frames = weights[i, c], several()
            for v in range(gradients.shape[0]):
                row = v * weights.shape[0] + i
                g = table[row]
                width, height = int(g[WIDTH]), int(g[HEIGHT])
                left, top = int(g[COLUMN]), int(g[ROW])
                s = vec12()
                pixel = lane
                while pixel < width * height:
                    x, y = pixel % width, pixel / width
                    du, dv = float(x) - g[U], float(y) - g[V]
                    numerator = squared(g, du, dv)
                    if numerator < cut2:
                        inverse = inverse_denominator(g, du, dv)
                        unit = wp.sqrt(inverse) * wp.exp(-0.5 * numerator * inverse)
                        at_pixel = several()
                        for k in range(wp.static(chunk)):
                            at_pixel[k] = gradients[v, c * wp.static(chunk) + k, top + y, left + x]
                        of_frames += g[AMPLITUDE] * unit * at_pixel
                        value = unit * wp.dot(weight, at_pixel)
                        t = value * inverse
                        e = t * (numerator * inverse - 1.0)
                        s += vec12(
                            value, t * du, t * dv, t * du * du, t * du * dv, t * dv * dv,
                            e, e * du, e * dv, e * du * du, e * du * dv, e * dv * dv,
                        )  # fmt: skip
                    pixel += wp.block_dim()
                summed = wp.tile_sum(wp.tile(s, preserve_type=True))
                total = summed[0]
                if lane == 0:
                    moments[row] += total
            frames_summed = wp.tile_sum(wp.tile(of_frames, preserve_type=True))
            frames_total = frames_summed[0]
            if lane == 0:
                to_weights[i, c] = frames_total

    return several, gather_moments


MOMENTS = {chunk: _moments_kernel(chunk) for chunk in (1, 4, FRAMES)}


def _in_chunks(weights: Tensor, chunk: int) -> Tensor:
    """(N, T) as (N, chunks, chunk), zero beyond the last frame."""
    chunks: Tensor = torch.nn.functional.pad(weights, (0, -weights.shape[1] % chunk)).unflatten(1, (-1, chunk))
    return chunks


def _images(table: Tensor, weights: Tensor, views: int, rows: int, columns: int, cut2: float) -> Tensor:
    """(V, rows, columns, T) sums over the Gaussians, without the distances to the pixels."""
    count, frames = weights.shape
    footprints = array(table, Row)
    if frames <= FRAMES_SCATTERED:
        planes = torch.zeros(views, frames, rows, columns, device=weights.device)
        launch_blocks(
            scatter, views * count, footprints, array(weights), cut2, array(planes), like=table, block=LANES
        )  # fmt: skip
        return planes.permute(0, 2, 3, 1)
    chunks = _in_chunks(weights, FRAMES)
    images = torch.empty(views, rows, columns, *chunks.shape[1:], device=weights.device)
    every = torch.arange(views * count, dtype=torch.int32, device=table.device).view(views, count)
    for image, order in zip(images, every, strict=True):
        for lists in tile_lists(table, order, rows, columns):
            launch(
                gather, (chunks.shape[1], lists.tiles * SIDE * SIDE // PIXELS), footprints, array(chunks, Frames),
                array(lists.first), array(lists.entries), lists.low, lists.across, cut2, array(image, Frames),
                like=table, block=LANES,
            )  # fmt: skip
    return images.flatten(3)[..., :frames]


class _Project(torch.autograd.Function):
    """Gaussians, weights (N, T), views as numbers (V, 20) and distances (V, rows, columns) to images."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        log_sigma: Tensor,
        quaternion: Tensor,
        density: Tensor,
        weights: Tensor,
        numbers: Tensor,
        distances: Tensor,
        cut: float,
        variance: float,
    ) -> Tensor:
        gaussians = [x.detach().contiguous() for x in (mean, log_sigma, quaternion, density)]
        given, views, (rows, columns) = weights.detach().contiguous(), len(numbers), distances.shape[1:]
        table = torch.zeros(views * len(given), ROW_LENGTH, device=given.device)
        with on_stream_of(table):
            launch(
                tabulate, (views, len(given)), *gaussian_arrays(*gaussians), array(numbers), cut, variance,
                rows, columns, array(table, Row), like=table, block=BLOCK,
            )  # fmt: skip
            images = _images(table, given, views, rows, columns, cut * cut)
        images *= distances[..., None]
        poses = any(ctx.needs_input_grad[k] for k in (5, 6))
        ctx.save_for_backward(*gaussians, given, numbers, distances, table, images if poses else images.new_zeros(0))
        ctx.constants, ctx.poses = (cut, variance), poses
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *gaussians, weights, numbers, distances, table, images = ctx.saved_tensors
        (count, frames), (cut, variance) = weights.shape, ctx.constants
        chunk = min(c for c in MOMENTS if c >= min(frames, FRAMES))
        several, gather_moments = MOMENTS[chunk]
        chunks = _in_chunks(weights, chunk)
        # Frame by frame, so that neighbouring threads meet neighbouring pixels.
        planes = torch.zeros(len(distances), chunks.shape[1] * chunk, *distances.shape[1:], device=table.device)
        torch.mul(gradient.permute(0, 3, 1, 2), distances[:, None], out=planes[:, :frames])
        to_gaussians, to_chunks = [torch.empty_like(x) for x in gaussians], torch.empty_like(chunks)
        moments = torch.zeros(len(table), 12, device=table.device)
        blocks = -(-count // lanes_of(BLOCK, table))
        to_numbers = numbers.new_zeros((len(numbers), blocks, VIEW_GRADIENTS) if ctx.poses else (1, 1, VIEW_GRADIENTS))
        with on_stream_of(table):
            launch_blocks(
                gather_moments, count, array(table, Row), array(chunks, several), array(planes), cut * cut,
                array(moments, vec12), array(to_chunks, several), like=table, block=LANES,
            )  # fmt: skip
            if any(ctx.needs_input_grad[k] for k in (0, 1, 2, 3, 5)):
                launch_blocks(
                    pull_back, blocks, *gaussian_arrays(*gaussians), array(numbers), cut, variance, array(table, Row),
                    array(moments, vec12), int(ctx.poses), *gaussian_arrays(*to_gaussians), array(to_numbers, vec19d),
                    like=table, block=BLOCK,
                )  # fmt: skip
        to_weights = to_chunks.flatten(1)[:, :frames]
        if not ctx.poses:
            return *to_gaussians, to_weights, None, None, None, None
        of_views = torch.nn.functional.pad(to_numbers.sum(1), (0, 1))
        return *to_gaussians, to_weights, of_views, (gradient * images).sum(-1) / distances, None, None


def project(gaussians: Parameters, views: Views, weights: Tensor, cut: float, aperture: bool, threads: int) -> Tensor:
    """(V, rows, columns, T) line integrals in single precision, on the device of the Gaussians."""
    images: Tensor = _Project.apply(
        gaussians.mean, gaussians.log_sigma, gaussians.quaternion, gaussians.density, weights, view_numbers(views),
        pixel_distances(views).to(weights.dtype), float(cut), PIXEL_VARIANCE if aperture else 0.0,
    )  # fmt: skip
    return images
