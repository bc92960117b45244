r"""Eigenvectors of one large graph: Krylov spaces of a filter, and of the inverse.

A Krylov space is subspace iteration with memory: all earlier vectors stay in registers, a new one is made orthogonal to
them by inner products (scores between registers), and the answer is read out by the Rayleigh-Ritz procedure. The filter
is the Chebyshev polynomial of :func:`graphtf.constructions.chebyshev_subspace_iteration`, whose layers are products
with `L`. Orthogonalisation and restarts are those of ARPACK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphtf.solvers.eigen_filter import (
    Array,
    Filter,
    density_filter,
    inverse_filter,
    linear_filter,
    safe_filter,
    spectrum_probe,
)


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


def krylov(
    problem: Problem, count: int, largest: bool, inverse: bool, tol: float, max_layers: int, rng: np.random.Generator
) -> Pairs:
    """Eigenpairs of the smallest positive or the largest eigenvalues.

    A filter orders eigenvalues as `L` does only beyond its cut. By interlacing the last Ritz value bounds the last
    wanted eigenvalue: if it is not beyond the cut, the cut is moved behind it and everything repeated.

    Args:
        problem: the graph; `count` must be small against its number of nodes.
        count: number of pairs.
        largest: at which end.
        inverse: Krylov space of the inverse by a sparse factor, else of a Chebyshev filter.
        tol: bound of the residual, relative to `problem.bound`.
        max_layers: largest number of products with `L`, or of solves.
        rng: for the starts.
    """
    search = _Search(problem, count, largest, tol, max_layers, rng)
    if inverse:
        complete = search.run(inverse_filter(problem))
        return search.answer(complete)
    theta, weight, high = spectrum_probe(problem, rng)
    search.products += len(theta)
    search.limit = max_layers // 2  # a wrong cut must not use up everything
    complete = search.run(density_filter(problem, count, largest, theta, weight, high))
    search.limit = max_layers
    for attempt in range(3):
        if complete or search.products >= max_layers:
            break
        assert search.best is not None
        edge = float(search.best.values[-1])
        if len(theta) >= count:
            ritz = float(theta[-count] if largest else theta[count - 1])
            edge = max(edge, ritz) if largest else min(edge, ritz)
        linear = attempt == 2
        complete = search.run(linear_filter(problem, largest) if linear else safe_filter(problem, edge, largest))
    return search.answer(complete)


class _Search:
    """The search of :func:`krylov` by one filter after the other, with its count of products."""

    def __init__(
        self, problem: Problem, count: int, largest: bool, tol: float, max_layers: int, rng: np.random.Generator
    ) -> None:
        self.problem, self.count, self.largest, self.rng = problem, count, largest, rng
        self.goal, self.limit = tol * problem.bound, max_layers
        self.products, self.runs = 0, 0
        self.best: Pairs | None = None

    def answer(self, complete: bool) -> Pairs:
        best = self.best
        assert best is not None
        return Pairs(best.values, best.vectors, best.residuals, self.products, complete)

    def run(self, f: Filter) -> bool:
        """Whether by this filter all wanted pairs are found, none left out."""
        self.best = None
        self.runs += 1
        try:
            return self._wanted(f) and self._nothing_missing(f)
        except OutOfLayersError:
            pass
        if self.best is None:
            start = [f.step(self.problem.center(self.rng.normal(size=len(self.problem.null))))]
            start += [f.step(self.problem.center(self.rng.normal(size=len(start[0])))) for _ in range(self.count - 1)]
            self.best = rayleigh_ritz(self.problem, np.stack(start, 1), self.largest)
        return False

    def _relative(self, f: Filter) -> float:
        # The inverse can hold high frequencies, therefore a small factor.
        return max(min(1e-3, self.goal * f.slope / 20), 1e-14)

    def _wanted(self, f: Filter) -> bool:
        """Ritz pairs of the largest values of the filter; whether they are small enough and beyond its cut."""
        relative, start = self._relative(f), None
        while True:
            V, _ = self._arpack(f, np.zeros((len(self.problem.null), 0)), self.count, relative, start)
            pairs = rayleigh_ritz(self.problem, V, self.largest)
            if self.best is None or pairs.residuals.max() <= self.best.residuals.max():
                self.best = pairs
            if not f.keeps_order(float(self.best.values[-1])):
                return False
            if pairs.residuals.max() <= self.goal or relative <= 1e-14:
                return True
            relative, start = max(relative / 10, 1e-14), pairs.vectors.sum(1)

    def _nothing_missing(self, f: Filter) -> bool:
        """Look, orthogonally to the answer, for pairs that belong to it, until nothing is found any more.

        One Krylov space has one vector of each eigenspace but for rounding, so copies are found here.
        """
        sign = -1 if self.largest else 1
        for _ in range(2 * self.count + 10):
            best = self.best
            assert best is not None
            extra = self._next(f, best)
            if extra is None or (not self.largest and extra.values[0] > f.high):
                return False
            slack = 1e-9 * self.problem.bound + best.residuals.max() ** 2 / self.problem.bound
            if sign * (extra.values[0] - best.values[-1]) >= -slack:
                return True
            relative = self._relative(f)
            while extra.residuals[0] > self.goal and relative >= 1e-14:  # what was found loosely is made exact
                V, _ = self._arpack(f, best.vectors, 1, relative, extra.vectors[:, 0])
                extra, relative = rayleigh_ritz(self.problem, V, self.largest), relative / 10
            both = np.concatenate([best.vectors, extra.vectors], 1)
            merged = rayleigh_ritz(self.problem, both, self.largest)
            c = self.count
            self.best = Pairs(merged.values[:c], merged.vectors[:, :c], merged.residuals[:c])
        return False

    def _next(self, f: Filter, best: Pairs) -> Pairs | None:
        """The first pair behind the answer, as exact as needed to tell whether it is; `None` without convergence."""
        last = best.vectors[:, -1]
        level = float(last @ f.step(last))
        goal, relative, start = self._relative(f), 1e-3, None
        while True:
            V, converged = self._arpack(f, best.vectors, 1, max(relative, goal), start)
            if not converged:
                return None
            extra = rayleigh_ritz(self.problem, V - best.vectors @ (best.vectors.T @ V), self.largest)
            x = extra.vectors[:, 0]
            y = f.step(x)
            y -= best.vectors @ (best.vectors.T @ y)
            self.products += 2 * f.cost
            theta = float(x @ y)
            if relative <= goal or theta + 20 * max(float(np.linalg.norm(y - theta * x)), relative * theta) < level:
                return extra
            relative, start = relative / 30, x

    def _arpack(
        self, f: Filter, locked: Array, wanted: int, relative: float, start: Array | None
    ) -> tuple[Array, bool]:
        """Vectors of the largest eigenvalues of the filter off the locked ones, and whether ARPACK converged."""
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        n = len(self.problem.null)

        def off(x: Array) -> Array:
            return x - locked @ (locked.T @ x) if locked.shape[1] else x

        def product(x: Array) -> Array:
            if self.products >= self.limit:
                raise OutOfLayersError
            self.products += f.cost
            return off(f.step(off(x.ravel())))

        v0 = off(self.problem.center(self.rng.normal(size=n)) if start is None else start)
        operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
        # More memory where the first search was not enough.
        size = min(n - 1, max(2 * wanted + 1, 20) if self.runs == 1 and not locked.shape[1] else 4 * wanted + 60)
        try:
            return eigsh(operator, wanted, which="LA", v0=v0, ncv=size, tol=relative, maxiter=10 * n)[1], True
        except ArpackNoConvergence as error:
            found = error.eigenvectors
            return np.concatenate([found, self.rng.normal(size=(n, wanted - found.shape[1]))], 1), False


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
