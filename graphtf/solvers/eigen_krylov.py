r"""Eigenvectors of one large graph: block Krylov spaces of a filter, and of the inverse.

A Krylov space is subspace iteration with memory: all earlier vectors stay in registers, a new block is made orthogonal
to them by inner products (scores between registers), and the answer is read out by the Rayleigh-Ritz procedure. The
filter is the Chebyshev polynomial of :func:`graphtf.constructions.chebyshev_subspace_iteration`, whose layers are
products with `L`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from graphtf.solvers.eigen_block import BlockKrylov
from graphtf.solvers.eigen_filter import (
    Filter,
    density_filter,
    inverse_filter,
    linear_filter,
    safe_filter,
    spectrum_probe,
)
from graphtf.solvers.eigen_problem import Pairs, Problem, rayleigh_ritz
from graphtf.solvers.sparse_inverse import Array

WIDTHS = 6  # doublings of the blocks, where eigenvalues have more copies than these have columns
STALLED = 20  # blocks without progress, after which small residuals are taken for rounding
SEEN = 100.0  # how far a missing eigenvector must stand out of a random start to be called visible


class OutOfLayersError(Exception):
    """The limit of products is reached."""


def krylov(
    problem: Problem,
    count: int,
    largest: bool,
    inverse: bool,
    tol: float,
    max_layers: int,
    rng: np.random.Generator,
    history: bool = False,
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
        history: measure and keep the residuals after every block.
    """
    if inverse:
        f, there, order = inverse_filter(problem, largest)
        search = _Search(there, count, largest, tol, max_layers, rng, history)
        pairs = search.answer(search.run(f))
        return replace(pairs, vectors=pairs.vectors[order])
    search = _Search(problem, count, largest, tol, max_layers, rng, history)
    theta, weight, high = spectrum_probe(problem, rng)
    search.products += len(theta)
    search.limit = max_layers // 4  # a wrong cut must not use up everything
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
        self,
        problem: Problem,
        count: int,
        largest: bool,
        tol: float,
        max_layers: int,
        rng: np.random.Generator,
        history: bool,
    ) -> None:
        self.problem, self.count, self.largest, self.rng = problem, count, largest, rng
        self.goal, self.limit = tol * problem.bound, max_layers
        self.products = 0
        self.best: Pairs | None = None
        self.space: BlockKrylov | None = None
        self.history: list[tuple[int, Array]] | None = [] if history else None

    def answer(self, complete: bool) -> Pairs:
        best = self.best
        assert best is not None
        return Pairs(best.values, best.vectors, best.residuals, self.products, complete, self.history or [])

    def run(self, f: Filter) -> bool:
        """Whether by this filter all wanted pairs are found, none left out."""
        self.best = self.space = None
        try:
            for doubling in range(WIDTHS):
                found = self._attempt(f, f.width << doubling)
                if found is not None:
                    return found
        except OutOfLayersError:
            if self.best is None:
                self.best = self._unfinished()
        return False

    def _attempt(self, f: Filter, width: int) -> bool | None:
        """Whether all wanted pairs are found; `None` if there are more copies than a block of this width finds."""
        n, count = len(self.problem.null), self.count

        def step(X: Array) -> Array:
            if self.products >= self.limit:
                raise OutOfLayersError
            self.products += f.cost
            return f.step(X)

        def random(b: int) -> Array:
            return self.problem.center(self.rng.normal(size=(n, b)))

        keep = count + max(16, 2 * width)
        self.space = None
        space = BlockKrylov(step, random, width, keep + max(64, 6 * width), n - self.problem.components, n)
        self.space = space
        # The inverse can hold high frequencies, therefore a small factor.
        relative = max(min(1e-3, self.goal * f.slope / 20), 1e-14)
        while True:
            self._converge(space, relative, keep)
            pairs = self._read(space)
            if self.best is None or pairs.residuals.max() <= self.best.residuals.max():
                self.best = pairs
            if not f.keeps_order(float(self.best.values[-1])):
                return False
            if pairs.residuals.max() > self.goal:  # one more product smooths what rounding left in the vectors
                smooth = rayleigh_ritz(self.problem, step(pairs.vectors), self.largest)
                pairs = smooth if smooth.residuals.max() < pairs.residuals.max() else pairs
            if pairs.residuals.max() <= self.goal:
                break
            if relative <= 1e-14:  # as far as rounding lets this filter come
                self.best = pairs
                return False
            relative = max(relative / 10, 1e-14)
        self.best = pairs
        space.restart(keep)
        before = space.ritz()[0][:count]
        self._look_aside(space, relative)
        after = space.ritz()[0][:count]
        if float((after - before).max()) <= 1e-10 * float(after[-1]):
            return True  # in `L` less than 1e-10 of the bound, for every filter here
        again = self._read(space)
        if not self.largest and again.values[0] > f.high:
            return False
        slack = 1e-9 * self.problem.bound + pairs.residuals.max() ** 2 / self.problem.bound
        better = (again.values - pairs.values) * (1 if self.largest else -1)
        return None if bool((better > slack).any()) else True

    def _converge(self, space: BlockKrylov, relative: float, keep: int) -> None:
        """Grow until the wanted Ritz pairs have converged, and the next one has or is clearly beyond them."""
        c, idle, least = self.count, 0, math.inf
        while True:
            if space.size > c or space.exhausted:
                theta, residuals, _ = space.ritz()
                enough = residuals <= relative * np.abs(theta)
                worst = float((residuals[:c] / np.maximum(np.abs(theta[:c]), 1e-300)).max())
                idle, least = (0, worst) if worst < 0.8 * least else (idle + 1, least)
                if idle > STALLED and worst < 1e-10:
                    return  # rounding
                if enough[:c].all() and (len(theta) == c or enough[c] or _beyond(theta, residuals, c, relative)):
                    return
            if space.full:
                space.restart(keep)
            space.grow()
            if self.history is not None:
                found = self._read(space).residuals
                self.history.append((self.products, np.pad(found, (0, c - len(found)), constant_values=np.inf)))

    def _look_aside(self, space: BlockKrylov, relative: float) -> None:
        """From a random block, orthogonally to all vectors so far, until an eigenvector left out would be visible.

        One Krylov space has as many vectors of an eigenspace as its blocks have columns, so more copies show up here.
        """
        level = float(space.ritz()[0][self.count - 1])
        space.start()
        start, steps = space.size, 1
        enough = math.log(SEEN * math.sqrt(len(self.problem.null)))
        while not space.exhausted:
            if space.full:
                space.restart(2 * space.width)
            space.grow()
            steps += 1
            theta, residuals, _ = space.ritz(start)
            top, left = float(theta[0]), float(residuals[0])
            if left <= relative * abs(top):
                return
            wide = space.width >= 8  # so many random columns hardly miss a direction all together
            clear = top + (5 if wide else 20) * max(left, relative * abs(top)) < level
            rest = max(float(np.abs(theta).max()), top + 20 * left)
            # Either the best vector of the random block has settled, or powers alone would have brought out another.
            settled = left <= (0.1 if wide else 0.03) * top
            if clear and (settled or (rest < level and steps * math.log(level / rest) >= enough)):
                return

    def _read(self, space: BlockKrylov) -> Pairs:
        """The wanted Ritz pairs of `L` in the basis so far."""
        _, _, Y = space.ritz()
        X = space.vectors(Y[:, : self.count]).numpy()
        return rayleigh_ritz(self.problem, X, self.largest, orthonormal=True)

    def _unfinished(self) -> Pairs:
        if self.space is not None and self.space.size >= self.count:
            return self._read(self.space)
        start = self.rng.normal(size=(len(self.problem.null), self.count))
        return rayleigh_ritz(self.problem, start, self.largest)


def _beyond(theta: Array, residuals: Array, c: int, relative: float) -> bool:
    """Whether Ritz value `c`, counted from 0, is clearly smaller than the one before it."""
    return bool(theta[c] + 20 * max(residuals[c], relative * abs(theta[c])) < theta[c - 1])
