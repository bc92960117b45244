r"""Eigenvectors of one large graph: Krylov spaces of a filter, and of the inverse.

A Krylov space is subspace iteration with memory: all earlier vectors stay in registers, a new one is made orthogonal to
them by inner products (scores between registers), and the answer is read out by the Rayleigh-Ritz procedure. The filter
is the Chebyshev polynomial of :func:`graphtf.constructions.chebyshev_subspace_iteration`, whose layers are products
with `L`. Orthogonalisation and restarts are those of ARPACK.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

PROBE = 60  # products that look for the place of the cut
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Problem:
    """One graph without isolated nodes, as SciPy arrays.

    Attributes:
        L: `[n, n]` CSR matrix, float64.
        null: `[n]` null vector, of unit length on every component.
        labels: `[n]` component of every node.
        bound: upper bound of the largest eigenvalue.
    """

    L: Any
    null: Array
    labels: Array
    bound: float

    def center(self, x: Array) -> Array:
        """Project `[n]` or `[n, k]` on the range of `L`."""
        if x.ndim == 2:
            return np.stack([self.center(column) for column in x.T], 1) if x.shape[1] else x
        if self.labels[-1] == self.labels.max() == 0:
            return x - self.null * (self.null @ x)
        return x - self.null * np.bincount(self.labels, self.null * x)[self.labels]


@dataclass
class Pairs:
    """Ritz pairs with their absolute residuals, the number of products (or solves), and whether none is missing."""

    values: Array
    vectors: Array
    residuals: Array
    products: int = 0
    complete: bool = True


class OutOfLayersError(Exception):
    """Raised inside of ARPACK when the limit of products is reached."""


def rayleigh_ritz(problem: Problem, V: Array, largest: bool) -> Pairs:
    """The best eigenpairs in the span of `V`, wanted ones first."""
    Q, _ = np.linalg.qr(problem.center(V))
    LQ = problem.L @ Q
    values, U = np.linalg.eigh(Q.T @ LQ)
    order = np.argsort(-values if largest else values)
    values, U = values[order], U[:, order]
    V = Q @ U
    return Pairs(values, V, np.linalg.norm(LQ @ U - V * values, axis=0))


def spectrum_probe(problem: Problem, rng: np.random.Generator, steps: int = PROBE) -> tuple[Array, Array, float]:
    """Ritz values of a short Lanczos run, their weights in the density of eigenvalues, and a bound of the largest."""
    q = problem.center(rng.normal(size=len(problem.null)))
    q /= np.linalg.norm(q)
    last, alphas, betas = np.zeros_like(q), [], [0.0]
    for _ in range(steps):
        r = problem.L @ q - betas[-1] * last
        alphas.append(float(q @ r))
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


def filtered(
    problem: Problem, cut: float, high: float, degree: int, low: float, largest: bool
) -> Callable[[Array], Array]:
    """The product with `T_d` of `L`, which maps the unwanted `[cut, high]` (or `[low, cut]`) to `[-1, 1]`."""
    from scipy.sparse import identity

    a, b = (low, cut) if largest else (cut, high)
    centre, radius = (a + b) / 2, (b - a) / 2 * (1 if largest else -1)
    once = ((problem.L - centre * identity(len(problem.null))) / radius).tocsr()
    once.indices, once.indptr = once.indices.astype(np.int32), once.indptr.astype(np.int32)
    twice = 2 * once
    # Large at the wanted end; the scale keeps the numbers near one.
    top = math.cosh(degree * math.acosh(max(1.0, abs(((high if largest else low) - centre) / radius))))

    def product(x: Array) -> Array:
        x = problem.center(x.ravel())
        last, now = x, once @ x
        for _ in range(degree - 1):
            following = twice @ now
            following -= last
            last, now = now, following
        return problem.center(now) / top

    return product


def krylov(
    problem: Problem, count: int, largest: bool, inverse: bool, tol: float, max_layers: int, rng: np.random.Generator
) -> Pairs:
    """Eigenpairs of the smallest positive or the largest eigenvalues.

    Repeated eigenvalues: one Krylov space has one vector of each eigenspace but for rounding. So another start,
    orthogonal to the answer, looks for what is missing, until nothing is.

    Args:
        problem: the graph; `count` must be small against its number of nodes.
        count: number of pairs.
        largest: at which end.
        inverse: Krylov space of the inverse by a sparse factor, else of a Chebyshev filter.
        tol: bound of the residual, relative to `problem.bound`.
        max_layers: largest number of products with `L`, or of solves.
        rng: for the starts.
    """
    products = [0]
    if inverse:
        step, cost, slope = _inverse(problem), 1, 100 / problem.bound
    else:
        theta, weight, high = spectrum_probe(problem, rng)
        products[0] += len(theta)
        share = 2.0 * count / len(problem.null)
        if largest:
            cut = -filter_cut(-theta[::-1], weight[::-1], share, -high, 0.0)
            width = (high - cut) / max(cut, 1e-3 * high)
        else:
            cut = filter_cut(theta, weight, share, 0.0, high)
            width = cut / (high - cut)
        cost = int(min(max(math.ceil(4 / math.sqrt(width)), 4), 200))
        step = filtered(problem, cut, high, cost, 0.0, largest)
        slope = 2 * cost**2 / (cut if largest else high - cut)

    def run(locked: Array, wanted: int, relative: float, start: Array | None) -> Array:
        """Vectors of the largest eigenvalues of `step` off the locked ones."""
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        n = len(problem.null)

        def product(x: Array) -> Array:
            if products[0] >= max_layers:
                raise OutOfLayersError
            products[0] += cost
            y = step(x.ravel() - locked @ (locked.T @ x.ravel()) if locked.shape[1] else x)
            return y - locked @ (locked.T @ y) if locked.shape[1] else y

        v0 = problem.center(rng.normal(size=n)) if start is None else start
        v0 = v0 - locked @ (locked.T @ v0)
        size = min(n - 1, max(2 * wanted + 1, 20))
        try:
            operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
            _, V = eigsh(operator, wanted, which="LA", v0=v0, ncv=size, tol=relative, maxiter=10 * n)
        except ArpackNoConvergence as error:
            V = np.concatenate([error.eigenvectors, rng.normal(size=(n, wanted - error.eigenvectors.shape[1]))], 1)
        return V

    # A residual r of the filter at its cut is one of r / slope for L; that of the inverse can hold high frequencies.
    goal = tol * problem.bound
    relative = max(min(1e-3, goal * slope / 20), 1e-14)
    best: Pairs | None = None
    start: Array | None = None
    try:
        while True:
            pairs = rayleigh_ritz(problem, run(np.zeros((len(problem.null), 0)), count, relative, start), largest)
            best = pairs if best is None or pairs.residuals.max() <= best.residuals.max() else best
            if pairs.residuals.max() <= goal or relative <= 1e-14:
                break
            relative, start = max(relative / 10, 1e-14), pairs.vectors.sum(1)
        for _ in range(count):
            products[0] += (steps := 10 if inverse else 24) * cost
            extra = rayleigh_ritz(problem, _leading(problem, step, best.vectors, rng, steps), largest)
            slack = 1e-9 * problem.bound + best.residuals.max() ** 2 / problem.bound
            if (-1 if largest else 1) * (extra.values[0] - best.values[-1]) >= -slack:
                break
            both = np.concatenate([best.vectors, run(best.vectors, 1, relative, extra.vectors[:, 0])], 1)
            merged = rayleigh_ritz(problem, both, largest)
            best = Pairs(merged.values[:count], merged.vectors[:, :count], merged.residuals[:count])
    except OutOfLayersError:
        if best is None:
            V = np.stack([step(problem.center(rng.normal(size=len(problem.null)))) for _ in range(count)], 1)
            best = rayleigh_ritz(problem, V, largest)
        return Pairs(best.values, best.vectors, best.residuals, products[0], complete=False)
    return Pairs(best.values, best.vectors, best.residuals, products[0])


def _leading(
    problem: Problem, step: Callable[[Array], Array], locked: Array, rng: np.random.Generator, steps: int
) -> Array:
    """`[n, 1]` leading Ritz vector of a few steps of Lanczos off the locked vectors."""
    q = problem.center(rng.normal(size=len(problem.null)))
    known = locked.shape[1]
    basis = np.empty((len(q), known + steps), order="F")
    basis[:, :known] = locked
    images: list[Array] = []
    for i in range(known, known + steps):
        q = q / max(float(np.linalg.norm(q)), np.finfo(float).tiny)
        q -= basis[:, :i] @ (basis[:, :i].T @ q)
        length = float(np.linalg.norm(q))
        if length <= 1e-12:
            break
        basis[:, i] = q / length
        q = step(basis[:, i])
        images.append(q)
    Q = basis[:, known : known + len(images)]
    H = Q.T @ np.stack(images, 1)
    _, U = np.linalg.eigh((H + H.T) / 2)
    return Q @ U[:, -1:]


def _inverse(problem: Problem) -> Callable[[Array], Array]:
    """The product with the pseudo-inverse of `L`, from a sparse factor of `L + sigma I` with a tiny sigma."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import splu

    shifted = (problem.L + 1e-9 * problem.bound * identity(len(problem.null))).tocsc()
    factor = splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def product(x: Array) -> Array:
        return problem.center(factor.solve(problem.center(x.ravel())))

    return product


def has_small_separators(L: Any) -> bool:
    """Whether a sparse factor stays sparse: the front of the Cuthill-McKee order, leaves removed, is like a mesh's.

    Example:
        >>> import scipy.sparse
        >>> has_small_separators(scipy.sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], shape=(100, 100)).tocsr())
        True
    """
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    for _ in range(100):  # trees shrink to their trunk
        keep = np.diff(L.indptr) > 2
        if keep.all() or not keep.any():
            break
        L = L[keep][:, keep]
    n = L.shape[0]
    if n == 0:
        return True
    order = reverse_cuthill_mckee(L, symmetric_mode=True)
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    entries = L.tocoo()
    front = np.arange(n)
    np.minimum.at(front, place[entries.row], place[entries.col])
    return float((np.arange(n) - front).mean()) <= 4 * math.sqrt(n) + 16
