"""The one place where the engine's LPS becomes MRML's RAS, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_TURN = np.array([-1.0, -1.0, 1.0])


def ras_of(lps: ArrayLike) -> NDArray[np.floating]:
    """Points or vectors (..., 3) in LPS as RAS, of the same precision."""
    values = np.asarray(lps)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    return values * _TURN.astype(values.dtype)


def lps_of(ras: ArrayLike) -> NDArray[np.floating]:
    """The inverse of ras_of (which is its own inverse)."""
    return ras_of(ras)


def lps_matrix_of(ras_matrix: ArrayLike) -> NDArray[np.float64]:
    """A matrix (4, 4) that leads into RAS (as IJK to RAS) as one that leads into LPS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(ras_matrix, dtype=np.float64)


def ras_matrix_of(lps_matrix: ArrayLike) -> NDArray[np.float64]:
    """The inverse of lps_matrix_of (which is its own inverse)."""
    return lps_matrix_of(lps_matrix)
