"""Polynomial filters for Krylov spaces: where they keep the order of the eigenvalues, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from graphtf.solvers.sparse_inverse import Array, SparseInverse

if TYPE_CHECKING:
    from graphtf.solvers.eigen_problem import Problem

PROBE = 60  # products that look for the place of the cut
RANGE = 1e8  # largest value of the polynomial, so that what it keeps is well above the rounding of an outlier


@dataclass
class Filter:
    """A function of `L` whose largest eigenvalues belong to the wanted ones of `L`.

    Attributes:
        step: the product with `[n, b]` vectors in the range of `L`.
        cost: products with `L` (or solves) a step.
        slope: a residual r of the filter at its cut is one of r / slope for `L`.
        cut: on the wanted side of it larger values of the filter mean eigenvalues nearer to the wanted end.
        high: no eigenvalue may be larger.
        largest: which end is wanted.
        width: columns of a block. Narrow ones need fewer products in all, wide ones share passes over a factor.
    """

    step: Callable[[Array], Array]
    cost: int
    slope: float
    cut: float
    high: float
    largest: bool
    width: int = 4

    def keeps_order(self, value: float) -> bool:
        """Whether all eigenvalues up to `value`, seen from the wanted end, are in the order of the filter."""
        return value > self.cut if self.largest else value < self.cut


def spectrum_probe(problem: Problem, rng: np.random.Generator, steps: int = PROBE) -> tuple[Array, Array, float]:
    """Ritz values of a short Lanczos run, their weights in the density of eigenvalues, and a bound of the largest."""
    q = problem.center(rng.normal(size=(len(problem.null), 1)))
    q /= np.linalg.norm(q)
    last, alphas, betas = np.zeros_like(q), [], [0.0]
    for _ in range(steps):
        r = problem.L @ q - betas[-1] * last
        alphas.append(float(np.vdot(q, r)))
        r = problem.center(r - alphas[-1] * q)
        betas.append(float(np.linalg.norm(r)))
        if betas[-1] <= 1e-10 * problem.bound:
            break
        last, q = q, r / betas[-1]
    T = np.diag(alphas) + np.diag(betas[1 : len(alphas)], 1) + np.diag(betas[1 : len(alphas)], -1)
    theta, U = np.linalg.eigh(T)
    return theta, U[0] ** 2, min(problem.bound, float(theta[-1]) + betas[-1])


def filter_cut(theta: Array, weight: Array, share: float, low: float, high: float) -> float:
    """Where, by the estimated density, this share of the eigenvalues lies below."""
    cumulative = np.cumsum(weight) - weight / 2
    cut = float(np.interp(share, cumulative, theta)) if share > cumulative[0] else float(theta[0])
    # A repeated eigenvalue can hold the whole share: then the cut must not be on it.
    i = int(np.argmax(np.cumsum(weight) >= min(share / 2, 0.5)))
    cut = max(cut, float(theta[i : i + 2].mean()))
    return min(max(cut, low + 1e-3 * (high - low)), low + 0.9 * (high - low))


def density_filter(problem: Problem, count: int, largest: bool, theta: Array, weight: Array, high: float) -> Filter:
    """A filter whose cut is where the estimated density has twice the wanted number, right or wrong."""
    share = 2.0 * count / len(problem.null)
    if largest:
        cut = -filter_cut(-theta[::-1], weight[::-1], share, -high, 0.0)
    else:
        cut = filter_cut(theta, weight, share, 0.0, high)
    return chebyshev_filter(problem, cut, high, largest)


def safe_filter(problem: Problem, edge: float, largest: bool) -> Filter:
    """A filter that keeps the order from the wanted end to `edge`, the Ritz value of the last wanted pair.

    The Ritz value is never nearer to the wanted end than the eigenvalue, so that all wanted ones are before the cut.
    """
    high = problem.bound
    margin = 0.25 * min(max(edge, 1e-6 * high), abs(high - edge))
    cut = edge - margin if largest else edge + margin
    if cut < 0.1 * high if largest else cut > 0.9 * high:
        return linear_filter(problem, largest)
    return chebyshev_filter(problem, cut, high, largest)


def linear_filter(problem: Problem, largest: bool) -> Filter:
    """`L` or `bound I - L`, over the bound: in order everywhere."""
    high = problem.bound

    def product(X: Array) -> Array:
        Y = problem.product(X)
        return problem.center((Y if largest else high * X - Y) / high)

    return Filter(product, 1, 1 / high, -math.inf if largest else math.inf, high, largest)


def chebyshev_filter(problem: Problem, cut: float, high: float, largest: bool) -> Filter:
    r"""The product with `T_d` of `L`, which maps the unwanted `[cut, high]` (or `[0, cut]`) to `[-1, 1]`.

    For the smallest eigenvalues it is :math:`p_d(L)` of :func:`graphtf.constructions.chebyshev_subspace_iteration`.
    """
    width = (high - cut) / max(cut, 1e-3 * high) if largest else cut / (high - cut)
    a, b = (0.0, cut) if largest else (cut, high)
    centre, radius = (a + b) / 2, (b - a) / 2 * (1 if largest else -1)
    once = problem.shifted(centre, radius)
    # Large at the wanted end; the scale keeps the numbers near one.
    angle = math.acosh(max(1.0 + 1e-12, abs(((high if largest else 0.0) - centre) / radius)))
    degree = int(min(max(math.ceil(12 / math.sqrt(width)), 4), 200))
    degree = max(1, min(degree, int(math.acosh(RANGE) / angle)))
    top = math.cosh(degree * angle)

    def product(X: Array) -> Array:
        last = torch.from_numpy(np.ascontiguousarray(X))
        now = once @ last
        for _ in range(degree - 1):
            last, now = now, torch.addmm(last, once, now, beta=-1, alpha=2)
        return problem.center(now.numpy()) / top

    return Filter(product, degree, 2 * degree**2 / (cut if largest else high - cut), cut, high, largest)


def inverse_filter(problem: Problem, largest: bool = False) -> tuple[Filter, Problem, Array]:
    """The product with the inverse of `L + sigma I`, or of `(bound + sigma) I - L`, with a tiny sigma.

    Returns:
        The filter, the graph with its nodes in the order of elimination, which the filter is for, and that order: node
        `u` is row `order[u]` there.
    """
    from scipy.sparse import identity

    one = problem.bound * identity(len(problem.null))
    inverse = SparseInverse((1 + 1e-9) * one - problem.L if largest else problem.L + 1e-9 * one)
    order = np.asarray(inverse.order, dtype=np.int64)
    nodes = np.empty_like(order)
    nodes[order] = np.arange(len(order))
    there = problem.reordered(nodes)

    def product(X: Array) -> Array:
        return there.center(inverse.in_order(X))

    cut, high = (-math.inf, problem.bound) if largest else (math.inf, math.inf)
    # The slope is a guess: a residual of the inverse is mostly smooth, so that `L` makes it small. It is measured.
    return Filter(product, 1, 500 / problem.bound, cut, high, largest, width=8), there, order
