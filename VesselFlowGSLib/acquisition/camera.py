"""Cone-beam cameras: where the X-rays of every frame start and end, in patient LPS millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cameras:
    """V cone-beam views that share one detector matrix; any principal point, skew or pose.

    source       (V, 3)  focal spot, LPS mm
    origin       (V, 3)  centre of the pixel (row 0, column 0), LPS mm
    column_step  (V, 3)  from a pixel to its neighbour in the next column, mm
    row_step     (V, 3)  from a pixel to its neighbour in the next row, mm
    """

    source: Array
    origin: Array
    column_step: Array
    row_step: Array
    rows: int
    columns: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | slice | NDArray[np.int_]) -> Cameras:
        """The chosen views, as Cameras again (an integer gives one view)."""
        i = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Cameras(self.source[i], self.origin[i], self.column_step[i], self.row_step[i], self.rows, self.columns)

    @property
    def normal(self) -> Array:
        """(V, 3) unit normal of the detector, pointing from the source to the receptor."""
        n = np.cross(self.column_step, self.row_step)
        n /= np.linalg.norm(n, axis=1, keepdims=True)
        towards = np.einsum("vi,vi->v", n, self.origin - self.source)
        return np.asarray(n * np.sign(towards)[:, None])

    def pixels(self, points: ArrayLike) -> Array:
        """Where (M, 3) LPS mm points fall on each detector: (V, M, 2) as (row, column), fractional.

        Points at or behind the source give NaN.
        """
        x = np.asarray(points, float)
        ray = x[None] - self.source[:, None]
        normal = self.normal
        depth = np.einsum("vmi,vi->vm", ray, normal)
        distance = np.einsum("vi,vi->v", self.origin - self.source, normal)
        scale = np.where(depth > 0, distance[:, None] / np.where(depth > 0, depth, 1), np.nan)
        on_detector = ray * scale[..., None] + (self.source - self.origin)[:, None]
        basis = np.stack([self.row_step, self.column_step], -1)  # (V, 3, 2)
        return np.asarray(np.einsum("vki,vmi->vmk", np.linalg.pinv(basis), on_detector))

    def pixel_centres(self) -> Array:
        """(V, rows, columns, 3) LPS mm positions of all pixel centres."""
        r = np.arange(self.rows)[None, :, None, None]
        c = np.arange(self.columns)[None, None, :, None]
        return np.asarray(
            self.origin[:, None, None] + r * self.row_step[:, None, None] + c * self.column_step[:, None, None]
        )

    def moved(self, rotation: ArrayLike, translation_mm: ArrayLike, about: ArrayLike = (0.0, 0.0, 0.0)) -> Cameras:
        """The same views carried by a rigid motion: x -> R (x - about) + about + translation."""
        turn, shift, centre = np.asarray(rotation, float), np.asarray(translation_mm, float), np.asarray(about, float)

        def carry(x: Array) -> Array:
            return np.asarray((x - centre) @ turn.T + centre + shift)

        return Cameras(
            carry(self.source),
            carry(self.origin),
            self.column_step @ turn.T,
            self.row_step @ turn.T,
            self.rows,
            self.columns,
        )


def carm_cameras(
    primary_rad: ArrayLike,
    secondary_rad: ArrayLike,
    source_to_isocentre_mm: float,
    source_to_detector_mm: float,
    pixel_spacing_mm: tuple[float, float],
    matrix: tuple[int, int],
    principal_point_px: tuple[float, float] | None = None,
    isocentre_lps_mm: ArrayLike = (0.0, 0.0, 0.0),
) -> Cameras:
    """Cameras of an isocentric C-arm, one per angle pair (DICOM PS3.3 C.8.7.5).

    Angles are PositionerPrimaryAngle (positive towards the patient's left) and PositionerSecondaryAngle
    (positive cranial); spacing and principal point are (row, column), at the detector; the principal point is
    where the central ray meets the detector, by default the middle of the matrix.
    """
    a = np.atleast_1d(np.asarray(primary_rad, float))
    b = np.atleast_1d(np.asarray(secondary_rad, float))
    a, b = np.broadcast_arrays(a, b)
    zero = np.zeros_like(a)
    towards_receptor = np.stack([np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)], -1)
    columns_along = np.stack([np.cos(a), np.sin(a), zero], -1)
    rows_along = np.stack([np.sin(a) * np.sin(b), -np.cos(a) * np.sin(b), -np.cos(b)], -1)
    isocentre = np.asarray(isocentre_lps_mm, float)
    row_step, column_step = rows_along * pixel_spacing_mm[0], columns_along * pixel_spacing_mm[1]
    row, column = principal_point_px or ((matrix[0] - 1) / 2, (matrix[1] - 1) / 2)
    receptor = isocentre + (source_to_detector_mm - source_to_isocentre_mm) * towards_receptor
    return Cameras(
        isocentre - source_to_isocentre_mm * towards_receptor,
        receptor - row * row_step - column * column_step,
        column_step,
        row_step,
        *matrix,
    )
