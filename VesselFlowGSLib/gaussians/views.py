"""Cone-beam views as tensors: what projection is differentiated with respect to when a pose is refined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from VesselFlowGSLib.acquisition.camera import Cameras


@dataclass(frozen=True)
class View:
    """One view. source, origin (pixel row 0, column 0), steps along columns and rows: (3,) tensors, mm."""

    source: Tensor
    origin: Tensor
    column_step: Tensor
    row_step: Tensor
    rows: int
    columns: int

    @property
    def volume(self) -> Tensor:
        """Of the box that both steps span with the vector from the source to pixel (0, 0), mm^3; signed."""
        volume: Tensor = torch.linalg.cross(self.column_step, self.row_step) @ (self.origin - self.source)
        return volume

    @property
    def projection(self) -> Tensor:
        """(3, 3) P: h = P (x - source) has column h0/h2 and row h1/h2, and h2 is one over the magnification."""
        eu, ev, corner = self.column_step, self.row_step, self.origin - self.source
        sides = [torch.linalg.cross(ev, corner), torch.linalg.cross(corner, eu), torch.linalg.cross(eu, ev)]
        return torch.stack(sides) / self.volume

    @property
    def receptor_distance(self) -> Tensor:
        """From the source to the detector's plane, mm."""
        distance: Tensor = self.volume.abs() / torch.linalg.cross(self.column_step, self.row_step).norm()
        return distance

    def pixel_distances(self) -> Tensor:
        """(rows, columns) from the source to every pixel centre, mm."""
        row = torch.arange(self.rows, device=self.origin.device, dtype=self.origin.dtype)[:, None, None]
        column = torch.arange(self.columns, device=self.origin.device, dtype=self.origin.dtype)[None, :, None]
        distances: Tensor = (self.origin - self.source + column * self.column_step + row * self.row_step).norm(dim=-1)
        return distances


@dataclass(frozen=True)
class Views:
    """V views of one detector matrix; the fields are those of Cameras, (V, 3) tensors, LPS mm, best in float64.

    Any of them may require a gradient: a source, a detector, or through `moved` a pose.
    """

    source: Tensor
    origin: Tensor
    column_step: Tensor
    row_step: Tensor
    rows: int
    columns: int

    @staticmethod
    def of(cameras: Cameras, device: torch.device | str = "cpu") -> Views:
        """The cameras as tensors, in double precision where the device has it."""
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
        source, origin, column_step, row_step = (
            torch.as_tensor(x, device=device, dtype=dtype)
            for x in (cameras.source, cameras.origin, cameras.column_step, cameras.row_step)
        )
        return Views(source, origin, column_step, row_step, cameras.rows, cameras.columns)

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[View]:
        vectors = zip(self.source, self.origin, self.column_step, self.row_step, strict=True)
        return (View(*four, self.rows, self.columns) for four in vectors)

    @property
    def needs_gradient(self) -> bool:
        return any(x.requires_grad for x in (self.source, self.origin, self.column_step, self.row_step))

    def moved(self, rotation: Tensor, translation: Tensor, about: Tensor) -> Views:
        """The views carried by rigid motions x -> R (x - about) + about + translation; differentiable.

        rotation (V, 3) or (3,) rotation vectors, rad; translation (V, 3) or (3,) mm; about (3,) LPS mm.
        """
        axis = rotation.reshape(-1, 3)
        zero = torch.zeros_like(axis[:, 0])
        x, y, z = axis.unbind(1)
        generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
        turn: Tensor = torch.linalg.matrix_exp(generator)
        shift = about + translation.reshape(-1, 3)
        return Views(
            (turn @ (self.source - about)[:, :, None])[:, :, 0] + shift,
            (turn @ (self.origin - about)[:, :, None])[:, :, 0] + shift,
            (turn @ self.column_step[:, :, None])[:, :, 0],
            (turn @ self.row_step[:, :, None])[:, :, 0],
            self.rows,
            self.columns,
        )
