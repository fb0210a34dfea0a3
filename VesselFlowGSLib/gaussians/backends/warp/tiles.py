"""Which rows of a table touch which tiles of the image, for kernels that gather over what covers a pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import warp as wp
from torch import Tensor

from VesselFlowGSLib.gaussians.backends.warp.footprint import COLUMN, HEIGHT, ROW, WIDTH, Row
from VesselFlowGSLib.gaussians.backends.warp.launching import array, launch

BLOCK = 256  # threads

wp.set_module_options({"enable_backward": False, "block_dim": BLOCK})

SIDE = 16  # pixels
TILE = wp.constant(SIDE)
MOST_ENTRIES = 1 << 26  # of one list; 16 bytes each while it is sorted


@dataclass(frozen=True)
class TileLists:
    """A band of tile rows, and the rows of the table that touch each of its tiles.

    low, high  tile rows low ... high - 1
    across     tiles in a row
    first      (tiles + 1,) int32, where each tile's entries begin, row of tiles by row of tiles
    entries    (L,) int32 rows of the table, in the order that was asked for
    """

    low: int
    high: int
    across: int
    first: Tensor
    entries: Tensor

    @property
    def tiles(self) -> int:
        return (self.high - self.low) * self.across


@wp.func
def touched(table: wp.array(dtype=Row), row: int, low: int, high: int):
    """Tiles low ... high - 1 that a footprint's box touches: first column, first row, columns, rows."""
    g = table[row]
    if g[WIDTH] == 0.0:
        return wp.vec4i(0, 0, 0, 0)
    x, y = int(g[COLUMN]), int(g[ROW])
    left, right = x / TILE, (x + int(g[WIDTH]) - 1) / TILE
    top = wp.max(y / TILE, low)
    bottom = wp.min((y + int(g[HEIGHT]) - 1) / TILE, high - 1)
    return wp.vec4i(left, top, right - left + 1, wp.max(bottom - top + 1, 0))


@wp.kernel
def count_touched(
    table: wp.array(dtype=Row), order: wp.array(dtype=int), low: int, high: int, counts: wp.array(dtype=int)
):
    rank = wp.tid()
    box = touched(table, order[rank], low, high)
    counts[rank] = box[2] * box[3]


@wp.kernel
def list_touched(
    table: wp.array(dtype=Row),
    order: wp.array(dtype=int),
    low: int,
    high: int,
    across: int,
    ends: wp.array(dtype=wp.int64),
    tiles: wp.array(dtype=int),
    rows: wp.array(dtype=int),
):
    rank = wp.tid()
    row = order[rank]
    box = touched(table, row, low, high)
    place = int(ends[rank]) - box[2] * box[3]
    for y in range(box[1], box[1] + box[3]):
        for x in range(box[0], box[0] + box[2]):
            tiles[place] = (y - low) * across + x
            rows[place] = row
            place += 1


def tile_lists(table: Tensor, order: Tensor, rows: int, columns: int) -> Iterator[TileLists]:
    """The lists of an image (rows, columns), in bands that fit the memory; within a tile, rows stay in their order.

    table (M, 16) and order (M,) int32. Waits once a band for the device, to learn how long the lists are.
    """
    across, down = -(-columns // SIDE), -(-rows // SIDE)
    pending = [(0, down)]
    while pending:
        low, high = pending.pop()
        counts = torch.empty(len(order), dtype=torch.int32, device=table.device)
        launch(
            count_touched, len(order), array(table, Row), array(order), low, high, array(counts),
            like=table, block=BLOCK,
        )  # fmt: skip
        ends = torch.cumsum(counts, 0, dtype=torch.int64)
        total = int(ends[-1]) if len(ends) else 0
        if total > MOST_ENTRIES and high - low > 1:
            middle = (low + high) // 2
            pending += [(middle, high), (low, middle)]
            continue
        tiles, entries = torch.empty(2, 2 * total, dtype=torch.int32, device=table.device)
        edges = torch.arange((high - low) * across + 1, dtype=torch.int32, device=table.device)
        if total:
            launch(
                list_touched, len(order), array(table, Row), array(order), low, high, across, array(ends), array(tiles),
                array(entries), like=table, block=BLOCK,
            )  # fmt: skip
            wp.utils.radix_sort_pairs(array(tiles), array(entries), total, 0, len(edges).bit_length())
        first = torch.searchsorted(tiles[:total], edges, out_int32=True)
        yield TileLists(low, high, across, first, entries[:total])
