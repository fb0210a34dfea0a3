"""Functions over the unit disk from which velocity fields without divergence and without slip are made.

A field over the straight reference tube (s, x, y), x² + y² <= 1, is expanded as

    û = sum_k a_k(s) V0_k(x, y) + a_k'(s) V1_k(x, y)

where every pair (V0, V1) makes û free of divergence for any a_k, zero on the wall, and of zero flux:

    (g, 0, 0), (0, -w)        axial velocity g of zero mean, with div w = g, w = 0 on the wall
    (0, dpsi/dy, -dpsi/dx), 0 cross flow of a stream function with psi = dpsi/dn = 0 on the wall

Radial dependence is Legendre polynomials of t = x² + y², angular dependence harmonics symmetric about y = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Jet:
    """A function at n points with its derivatives: rows f, fx, fy and, of second order, fxx, fxy, fyy."""

    def __init__(self, rows: Array) -> None:
        self.rows = rows

    def __add__(self, other: Jet) -> Jet:
        return Jet(self.rows + other.rows)

    def __sub__(self, other: Jet) -> Jet:
        return Jet(self.rows - other.rows)

    def scaled(self, factor: float) -> Jet:
        return Jet(factor * self.rows)

    def __mul__(self, other: Jet) -> Jet:
        f, g = self.rows, other.rows
        out = np.empty_like(f)
        out[0] = f[0] * g[0]
        out[1] = f[1] * g[0] + f[0] * g[1]
        out[2] = f[2] * g[0] + f[0] * g[2]
        if len(f) == 6:
            out[3] = f[3] * g[0] + 2 * f[1] * g[1] + f[0] * g[3]
            out[4] = f[4] * g[0] + f[1] * g[2] + f[2] * g[1] + f[0] * g[4]
            out[5] = f[5] * g[0] + 2 * f[2] * g[2] + f[0] * g[5]
        return Jet(out)


def _coordinates(x: Array, y: Array, second: bool) -> tuple[Jet, Jet, Jet]:
    """Jets of 1, x and y."""
    rows = 6 if second else 3
    one, jx, jy = (np.zeros((rows, len(x))) for _ in range(3))
    one[0], jx[0], jx[1], jy[0], jy[2] = 1, x, 1, y, 1
    return Jet(one), Jet(jx), Jet(jy)


def _legendre(t: Jet, one: Jet, count: int) -> list[Jet]:
    """Legendre polynomials of 2 t - 1, orders 0 to count - 1."""
    z = t.scaled(2.0) - one
    out = [one, z]
    for k in range(1, count - 1):
        out.append((z * out[k]).scaled((2 * k + 1) / (k + 1)) - out[k - 1].scaled(k / (k + 1)))
    return out[:count]


def _harmonics(x: Jet, y: Jet, one: Jet, count: int) -> tuple[list[Jet], list[Jet]]:
    """Real and imaginary parts of (x + i y)^m, m = 0 to count."""
    cosines, sines = [one], [one - one]
    for _ in range(count):
        c, s = cosines[-1], sines[-1]
        cosines.append(x * c - y * s)
        sines.append(x * s + y * c)
    return cosines, sines


def mode_count(radial: int, harmonics: int) -> int:
    return radial * (1 + 2 * harmonics)


def flow_modes(x: Array, y: Array, radial: int, harmonics: int, gradients: bool) -> tuple[Array, Array]:
    """V (2, K, 3, n) and, where wanted, its derivatives (2, K, 3, 2, n) (else empty).

    First axis: the factor a (0) or a' (1); components (s, x, y) of the reference field; derivatives along x, y.
    """
    one, jx, jy = _coordinates(x, y, second=gradients)
    t = jx * jx + jy * jy
    wall = one - t
    wall2 = wall * wall
    legendre = _legendre(t, one, radial)
    cosines, sines = _harmonics(jx, jy, one, harmonics)
    count, n = mode_count(radial, harmonics), len(x)
    value = np.zeros((2, count, 3, n))
    slope = np.zeros((2, count, 3, 2, n)) if gradients else np.zeros(0)
    k = 0
    for p in legendre:
        w = wall2 * p
        wx, wy = jx * w, jy * w
        value[0, k, 0] = wx.rows[1] + wy.rows[2]
        value[1, k, 1], value[1, k, 2] = -wx.rows[0], -wy.rows[0]
        if gradients:
            slope[0, k, 0] = wx.rows[3] + wy.rows[4], wx.rows[4] + wy.rows[5]
            slope[1, k, 1], slope[1, k, 2] = -wx.rows[1:3], -wy.rows[1:3]
        k += 1
    for m in range(1, harmonics + 1):
        for p in legendre:
            radial_part = wall * p
            g = radial_part * cosines[m]
            around = (radial_part * sines[m]).scaled(1 / m)
            wx, wy = (around * jy).scaled(-1.0), around * jx
            value[0, k, 0] = g.rows[0]
            value[1, k, 1], value[1, k, 2] = -wx.rows[0], -wy.rows[0]
            psi = wall2 * p * sines[m]
            value[0, k + 1, 1], value[0, k + 1, 2] = psi.rows[2], -psi.rows[1]
            if gradients:
                slope[0, k, 0] = g.rows[1:3]
                slope[1, k, 1], slope[1, k, 2] = -wx.rows[1:3], -wy.rows[1:3]
                slope[0, k + 1, 1], slope[0, k + 1, 2] = psi.rows[4:6], -psi.rows[3:5]
            k += 2
    return value, slope


def force_modes(x: Array, y: Array, radial: int, harmonics: int) -> tuple[Array, Array]:
    """Fields without slip but with divergence, against which a pressure is weighed: as flow_modes, factor a only."""
    one, jx, jy = _coordinates(x, y, second=True)
    t = jx * jx + jy * jy
    wall = one - t
    legendre = _legendre(t, one, radial)
    cosines, _ = _harmonics(jx, jy, one, harmonics)
    axial = [wall * p * c for c in cosines for p in legendre]
    lateral = [p * c for c in cosines for p in (legendre if c is not one else [t * q for q in legendre[:-1]])]
    count = len(axial) + len(lateral)
    value, slope = np.zeros((1, count, 3, len(x))), np.zeros((1, count, 3, 2, len(x)))
    for k, g in enumerate(axial):
        value[0, k, 0], slope[0, k, 0] = g.rows[0], g.rows[1:3]
    b = wall.rows
    for k, chi in enumerate(lateral, len(axial)):
        r = chi.rows
        value[0, k, 1], value[0, k, 2] = b[0] * r[1], b[0] * r[2]
        slope[0, k, 1] = b[1] * r[1] + b[0] * r[3], b[2] * r[1] + b[0] * r[4]
        slope[0, k, 2] = b[1] * r[2] + b[0] * r[4], b[2] * r[2] + b[0] * r[5]
    return value, slope


def pressure_modes(x: Array, y: Array, radial: int, harmonics: int) -> Array:
    """(K, n) polynomials over the disk, symmetric about y = 0; the first is 1."""
    one, jx, jy = _coordinates(x, y, second=False)
    cosines, _ = _harmonics(jx, jy, one, harmonics)
    legendre = _legendre(jx * jx + jy * jy, one, radial)
    return np.stack([(p * c).rows[0] for c in cosines for p in legendre])


def disk_quadrature(radial: int, angular: int) -> tuple[Array, Array, Array]:
    """x, y, weights over the upper half of the unit disk (weights sum to pi: the lower half is its mirror image)."""
    node, weight = np.polynomial.legendre.leggauss(radial)
    t, wt = (node + 1) / 2, weight / 2
    angle = (np.arange(angular) + 0.5) * np.pi / angular
    eta = np.sqrt(t)
    x = (eta[:, None] * np.cos(angle)).ravel()
    y = (eta[:, None] * np.sin(angle)).ravel()
    return x, y, np.repeat(wt, angular) * np.pi / angular
