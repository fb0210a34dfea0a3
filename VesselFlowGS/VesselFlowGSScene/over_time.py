"""What the wall shear stress does over a period: its mean size, and how much its direction swings."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from VesselFlowGSLib.results.snapshot import Snapshot

Array = NDArray[Any]
SIZE, VECTOR = "wss", "wss_vector"


class Lack(Enum):
    """Why a quantity over time is not known."""

    STRESS = "no wall shear stress"
    PERIOD = "a steady flow"
    DIRECTION = "no directions of the stress"


def over_time_of(snapshot: Snapshot) -> dict[str, Array]:
    """ "tawss", Pa, and "osi", 0 to 1/2, (n,) float32 on the points of the wall, as far as they are known.

    As the engine gives them, else of the snapshot's phases, which are equidistant over one period:

        TAWSS = mean |τ|,  OSI = (1 − |mean τ| / mean |τ|) / 2      (He & Ku, J Biomech Eng 118, 1996)

    TAWSS needs "wss" or "wss_vector" (n, 3) of every phase, OSI "wss_vector". Where there never is any stress OSI is 0.
    Taken once for a snapshot; the arrays are held for the next call: do not write into them.
    """
    global _newest
    of, taken = _newest
    if of() is snapshot:
        return taken
    taken = _taken(snapshot)
    _newest = (weakref.ref(snapshot), taken)
    return taken


def lack_of(snapshot: Snapshot, name: str) -> Lack | None:
    """Why "tawss" or "osi" is not known; None where it is."""
    if name in over_time_of(snapshot):
        return None
    if snapshot.surface is None or SIZE not in snapshot.surface.arrays:
        return Lack.STRESS
    if len(snapshot.phases) < 2:
        return Lack.PERIOD
    return Lack.DIRECTION if name == "osi" and _has(snapshot, SIZE) else Lack.STRESS


class _Nothing:
    """Stands for no snapshot."""


# Of the newest snapshot alone, which is asked for again at each of its phases.
_newest: tuple[weakref.ref[Any], dict[str, Array]] = (weakref.ref(_Nothing()), {})


def _taken(snapshot: Snapshot) -> dict[str, Array]:
    surface = snapshot.surface
    if surface is None:
        return {}
    taken = {name: np.array(surface.arrays[name], np.float32) for name in ("tawss", "osi") if name in surface.arrays}
    if len(snapshot.phases) < 2:
        return taken
    if _has(snapshot, VECTOR):
        mean = _mean(_stresses(snapshot, VECTOR))
        size = _mean(np.sqrt(np.einsum("ij,ij->i", tau, tau)) for tau in _stresses(snapshot, VECTOR))
        # rounding must not make the mean vector longer than the mean length
        steady = np.minimum(np.linalg.norm(mean, axis=1), size)
        osi = 0.5 * (1 - np.divide(steady, size, out=np.ones_like(size), where=size > 0))
        taken = {"tawss": size.astype(np.float32), "osi": osi.astype(np.float32), **taken}
    elif _has(snapshot, SIZE):
        taken = {"tawss": _mean(np.abs(tau) for tau in _stresses(snapshot, SIZE)).astype(np.float32), **taken}
    return taken


def _has(snapshot: Snapshot, name: str) -> bool:
    """Whether every phase has this array."""
    return bool(snapshot.phases) and all(name in phase.surface for phase in snapshot.phases)


def _stresses(snapshot: Snapshot, name: str) -> Iterator[Array]:
    return (np.asarray(phase.surface[name]) for phase in snapshot.phases)


def _mean(parts: Iterator[Array]) -> Array:
    total, count = next(parts).astype(float), 1
    for part in parts:
        total += part
        count += 1
    return np.asarray(total / count)
