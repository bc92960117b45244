"""The inverse square root as a sum of shifted inverses: poles and weights by elliptic functions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MOST = 200  # poles; double precision needs about 70 for the widest spectra
Array = npt.NDArray[np.float64]


class Quadrature(NamedTuple):
    """Ascending shifts `[N]`, weights `[N]` and the largest relative error on the interval."""

    shifts: Array
    weights: Array
    error: float


def inverse_root_quadrature(width: float, tol: float) -> Quadrature:
    r"""Poles and weights of the inverse square root on an interval, few and of proven geometric convergence.

    .. math::
        \lambda^{-1/2} = \frac2\pi \int_0^\infty \frac{dt}{t^2 + \lambda}
        \approx \sum_{j=1}^N \frac{c_j}{\lambda + s_j}, \quad 1 / \kappa \le \lambda \le 1, \qquad
        s_j = \frac{\operatorname{sn}^2 u_j}{\kappa \operatorname{cn}^2 u_j}, \quad
        c_j = \frac{2 K}{\pi N \sqrt\kappa} \frac{\operatorname{dn} u_j}{\operatorname{cn}^2 u_j}

    with :math:`u_j = (j - \tfrac12) K / N` and the complementary modulus :math:`\kappa^{-1/2}`. The error falls like
    :math:`e^{-2 \pi^2 N / (\log\kappa + 3)}`: the midpoint rule after the substitution that maps the plane without the
    spectrum and the poles to an annulus. On `[a, b]` the shifts are `b s` and the weights :math:`\sqrt b\, c`, for
    :math:`\kappa = b / a`.

    Args:
        width: :math:`\kappa`, at least 1.
        tol: largest relative error, in `(0, 1)`; it is measured on a fine grid.

    Returns:
        As few poles as reach the tolerance, or what rounding (about 1e-14) leaves.

    Raises:
        ValueError: `width` or `tol` is out of range.

    Example:
        >>> rule = inverse_root_quadrature(100.0, 1e-3)
        >>> len(rule.shifts), rule.error < 1e-3
        (4, True)
        >>> abs(float((rule.weights / (0.25 + rule.shifts)).sum()) - 2.0) < 2e-3
        True

    Source: Hale, Higham, Trefethen, "Computing A^alpha, log(A), and related matrix functions by contour integrals",
    SIAM J. Numer. Anal. 46, 2008, method 3.
    """
    if not 1 <= width < math.inf or not 0 < tol < 1:
        raise ValueError(f"width must be finite and at least 1, and tol in (0, 1), but got {width} and {tol}")
    width = max(width, 1.0 + 1e-3)
    goal = max(tol, 1e-14)
    count = max(1, math.floor(math.log(1 / goal) * (math.log(width) + 1) / (2 * math.pi**2)))
    best = _rule(width, count)
    while best.error > goal and count < MOST:
        count += 1
        rule = _rule(width, count)
        best = rule if rule.error < best.error else best
    return best


def _rule(width: float, count: int) -> Quadrature:
    complement = width**-0.5
    quarter, sc = _tangents(complement, (np.arange((count + 1) // 2) + 0.5) / count)
    # Half of the nodes; the reflection u -> K - u gives the others without cancellation.
    derivative = np.sqrt((1 + sc**2) * (1 + (complement * sc) ** 2))  # dn / cn^2
    mirror = slice(count // 2 - 1, None, -1) if count > 1 else slice(0, 0)
    shifts = np.concatenate([sc**2 / width, sc[mirror] ** -2])
    weights = np.concatenate([derivative, (derivative / (complement * sc**2))[mirror]])
    weights *= 2 * quarter * complement / (math.pi * count)
    points = np.geomspace(1 / width, 1.0, 40 * count + 2)
    found = np.zeros_like(points)
    for s, c in zip(shifts, weights, strict=True):
        found += c / (points + s)
    return Quadrature(shifts, weights, 1.01 * float(np.abs(found * np.sqrt(points) - 1).max()))


def _tangents(complement: float, fraction: Array) -> tuple[float, Array]:
    r"""The quarter period `K`, and :math:`\operatorname{sn} / \operatorname{cn}` at `fraction K`, at most a half.

    This is :math:`-i \operatorname{sn}(i u)` for the complementary modulus, whose Fourier series converges like
    :math:`e^{-\pi K / 2 K'}` even if that modulus is tiny, where the usual recursion cancels.
    """
    quarter = math.pi / (2 * _mean(1.0, complement))
    other = math.pi / (2 * _mean(1.0, math.sqrt((1 - complement) * (1 + complement))))
    odd = (2 * np.arange(100) + 1)[:, None] * (math.pi * quarter / other)
    terms = np.exp(-odd * (1 - fraction) / 2) * np.expm1(-odd * fraction) / np.expm1(-odd)
    return quarter, terms.sum(0) * (math.pi / (complement * other))


def _mean(a: float, b: float) -> float:
    """Arithmetic-geometric mean."""
    while abs(a - b) > 1e-15 * a:
        a, b = (a + b) / 2, math.sqrt(a * b)
    return a
