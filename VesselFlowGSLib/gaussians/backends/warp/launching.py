"""Torch's memory and streams for Warp's kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import warp as wp
from torch import Tensor


@contextmanager
def on_stream_of(like: Tensor) -> Iterator[None]:
    """What Warp does inside is queued on torch's current stream of the tensor's device."""
    stream = wp.stream_from_torch(torch.cuda.current_stream(like.device)) if like.is_cuda else None
    with wp.ScopedStream(stream, sync_enter=False):
        yield


def array(x: Tensor, dtype: Any = None) -> wp.array:
    """The tensor's memory as a Warp array, without its graph; copied only where it is not contiguous."""
    # Strides of empty tensors are anything, which Warp does not take.
    packed = x.detach().contiguous() if x.numel() else x.new_empty(x.shape)
    return wp.from_torch(packed, dtype=dtype, requires_grad=False)


def gaussian_arrays(mean: Tensor, log_sigma: Tensor, quaternion: Tensor, density: Tensor) -> list[wp.array]:
    return [array(mean, wp.vec3), array(log_sigma, wp.vec3), array(quaternion, wp.vec4), array(density)]


def launch(kernel: wp.Kernel, dim: int | tuple[int, ...], *inputs: Any, like: Tensor, block: int) -> None:
    """One thread for every index; a block holds neighbours along the last axis."""
    wp.launch(kernel, dim=dim, inputs=list(inputs), device=wp.device_from_torch(like.device), block_dim=block)


def lanes_of(block: int, like: Tensor) -> int:
    """Threads that share a tile in a launch with that block: one on the CPU."""
    return block if like.is_cuda else 1


def launch_blocks(kernel: wp.Kernel, blocks: int, *inputs: Any, like: Tensor, block: int) -> None:
    """One block of threads for every index; the kernel's tid() is (index, lane)."""
    device = wp.device_from_torch(like.device)
    wp.launch_tiled(kernel, dim=[blocks], inputs=list(inputs), device=device, block_dim=block)
