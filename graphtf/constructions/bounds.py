r"""Proven errors of the constructions at a given depth, and the depth that an error needs.

All are relative errors of the worst start, from bounds of the positive part of the spectrum of `L`,
:math:`0 < \lambda_{min} \le \lambda \le \lambda_{max}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphtf.constructions._weights import check_interval, check_steps
from graphtf.constructions.heat import HeatForm, chebyshev_coefficients
from graphtf.validate import check_choice, check_positive_int


def gradient_bound(num_layers: int, delta: float, lambda_min: float) -> float:
    r""":math:`(1 - \delta \lambda_{min})^l`, of `electric_flow` and `resistive_embedding` with `delta <= 1/lambda_max`.

    Example:
        >>> gradient_bound(2, delta=0.25, lambda_min=2.0)
        0.25

    Source: Cheng, Carin, Sra, ICLR 2025.
    """
    _check_contraction(num_layers, delta, lambda_min)
    return (1 - delta * lambda_min) ** num_layers


def squaring_bound(num_layers: int, delta: float, lambda_min: float) -> float:
    r""":math:`(1 - \delta \lambda_{min})^{2^l}`, of `fast_inverse` with `delta <= 1/lambda_max`.

    Example:
        >>> squaring_bound(2, delta=0.25, lambda_min=2.0)
        0.0625

    Source: Cheng, Carin, Sra, ICLR 2025.
    """
    _check_contraction(num_layers, delta, lambda_min)
    return (1 - delta * lambda_min) ** (2.0**num_layers)


def chebyshev_bound(num_layers: int, lambda_min: float, lambda_max: float) -> float:
    r""":math:`(2 q^l / (1 + q^{2l}))^2`, relative energy of the error of `chebyshev` and of `conjugate_gradient`.

    The energy is :math:`\|x_l - x\|_L^2 / \|x\|_L^2`; the root of the bound holds for the relative error in the norm.

    Example:
        >>> chebyshev_bound(1, lambda_min=1.0, lambda_max=3.0)  # T_1(2) = 2
        0.25

    Source: Golub, Van Loan, "Matrix Computations", section 11.3.
    """
    check_steps(num_layers)
    check_interval(lambda_min, lambda_max)
    power = _q(lambda_min, lambda_max) ** num_layers
    return (2 * power / (1 + power**2)) ** 2


def heavy_ball_bound(num_layers: int, lambda_min: float, lambda_max: float) -> float:
    r""":math:`q^l (1 + l (1 + q))`, of `heavy_ball`.

    An eigenvector's error obeys the three-term recurrence of :math:`q^l (U_l(t) - q U_{l-1}(t))` with
    :math:`|t| \le 1`, and the Chebyshev polynomials of the second kind obey :math:`|U_l| \le l + 1`.

    Example:
        >>> heavy_ball_bound(3, lambda_min=1.0, lambda_max=1.0)
        0.0
    """
    check_steps(num_layers)
    check_interval(lambda_min, lambda_max)
    q = _q(lambda_min, lambda_max)
    return q**num_layers * (1 + num_layers * (1 + q))


def heat_kernel_bound(num_layers: int, s: float, lambda_max: float, form: HeatForm = "chebyshev") -> float:
    r"""Error of `heat_kernel` relative to the length of `psi`: the sum of the coefficients that are left out.

    For the Taylor form it is :math:`(s \lambda_{max})^{l+1} / (l+1)!`, the remainder of the alternating series.

    Example:
        >>> round(heat_kernel_bound(2, s=1.0, lambda_max=2.0, form="taylor"), 4)
        1.3333

    Source: Hochbruck, Lubich, SIAM J. Numer. Anal. 34, 1997.
    """
    check_steps(num_layers, s=s, lambda_max=lambda_max)
    check_choice("form", form, ("chebyshev", "taylor"))
    if form == "taylor":
        log = (num_layers + 1) * math.log(s * lambda_max) - math.lgamma(num_layers + 2)
        return math.exp(log) if log < 709 else math.inf
    # The coefficients past `last` are nothing beside the first one that is left out.
    last = num_layers + 64 + math.ceil(9 * math.sqrt(s * lambda_max / 2))
    return float(chebyshev_coefficients(last, s, lambda_max)[num_layers + 1 :].abs().sum())


def subspace_rate(lambda_k: float, lambda_next: float, mu: float) -> float:
    r""":math:`(\mu - \lambda_{k+1}) / (\mu - \lambda_k)`, the factor a layer of `subspace_iteration` (smallest).

    Example:
        >>> subspace_rate(1.0, 2.0, mu=4.0)
        0.6666666666666666

    Source: Golub, Van Loan, "Matrix Computations", section 7.3.
    """
    _check_gap(lambda_k, lambda_next, mu)
    return (mu - lambda_next) / (mu - lambda_k)


def filter_rate(degree: int, lambda_k: float, cut: float, lambda_max: float) -> float:
    r""":math:`1 / T_d((c + b - 2 \lambda_k) / (b - c))`, the factor a filter of `chebyshev_subspace_iteration`.

    Example:
        >>> round(filter_rate(1, lambda_k=1.0, cut=2.0, lambda_max=4.0), 6)  # T_1(2)
        0.5

    Source: Saad, "Numerical Methods for Large Eigenvalue Problems", section 7.4.
    """
    check_positive_int("degree", degree)
    _check_gap(lambda_k, cut, lambda_max)
    if cut == lambda_max:
        return 0.0
    return 1 / math.cosh(degree * math.acosh((cut + lambda_max - 2 * lambda_k) / (lambda_max - cut)))


def depth_for(bound: Callable[[int], float], tol: float, max_layers: int = 1 << 20) -> int:
    """The smallest depth at which a bound that falls with the depth is at most `tol`.

    Args:
        bound: bound of the error as a function of the number of layers, 1 or more.
        tol: the error wanted.
        max_layers: the largest depth to consider.

    Raises:
        ValueError: `tol` is not positive, or `max_layers` layers do not reach it.

    Example:
        >>> depth_for(lambda l: gradient_bound(l, delta=0.25, lambda_min=2.0), tol=1e-3)
        10
    """
    if not tol > 0:
        raise ValueError(f"tol must be positive, but got {tol}")
    check_positive_int("max_layers", max_layers)
    low, high = 0, 1  # the bound fails at `low`
    while bound(high) > tol:
        if high == max_layers:
            raise ValueError(
                f"{max_layers} layers reach {bound(high):.1e}, but tol is {tol}; allow more layers or a larger tol"
            )
        low, high = high, min(2 * high, max_layers)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= tol else (middle, high)
    return high


def _q(lambda_min: float, lambda_max: float) -> float:
    low, high = math.sqrt(lambda_min), math.sqrt(lambda_max)
    return (high - low) / (high + low)


def _check_contraction(num_layers: int, delta: float, lambda_min: float) -> None:
    check_steps(num_layers, delta=delta, lambda_min=lambda_min)
    if delta * lambda_min > 1:
        raise ValueError(
            f"delta must be at most 1 / lambda_max, but delta * lambda_min is already {delta * lambda_min}; "
            "take delta = 1 / B.lambda_bound()"
        )


def _check_gap(lambda_k: float, lambda_next: float, end: float) -> None:
    if not 0 <= lambda_k < lambda_next <= end < math.inf:
        raise ValueError(
            "the wanted eigenvalues must end before the others begin, 0 <= lambda_k < the next one <= the largest, but "
            f"got {lambda_k}, {lambda_next}, {end}"
        )
