"""Many right-hand sides on one large graph: conjugate gradient behind symmetric Gauss-Seidel, in single precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from graphtf.solvers.linear_cg import PROBE_STEPS, is_slow

ROUNDS = 5  # solves for what rounding has left
SINGLE = 3e-5  # what single precision reaches at least in one round, on graphs that are easy for the sweeps
Array = np.ndarray[Any, np.dtype[Any]]


class GaussSeidel:
    r"""Conjugate gradient preconditioned by a forward and a backward sweep, which cost as much as one product.

    With :math:`S = D^{-1/2} L D^{-1/2} = M + M^\top - I`, `M` its lower triangle, it is conjugate gradient on

    .. math:: M^{-1} S M^{-\top} p = t + M^{-1} (p - t), \qquad t = M^{-\top} p ,

    so that the matrix itself is never multiplied. It takes about half as many steps as the diagonal alone.

    One column in float64; several, sixteen at a time, by corrections in float32 to potentials in float64.

    Args:
        arrays: `L` as `(row starts, columns, conductances, degrees)`.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> from graphtf.solvers.kernels import CompiledLaplacian
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64))
        >>> x, residuals = GaussSeidel(CompiledLaplacian(edge).arrays).solve(np.array([[2.0], [-2.0]]), 1e-6, 9)
        >>> (x[0] - x[1]).round(6).tolist(), len(residuals)
        ([1.0], 2)

    Source: Eisenstat, "Efficient implementation of a class of preconditioned conjugate gradient methods", SIAM Journal
    on Scientific and Statistical Computing 2, 1981.
    """

    def __init__(self, arrays: tuple[Array, ...]) -> None:
        from graphtf.solvers import sweeps_numba

        self.loops: Any = sweeps_numba
        self.arrays = arrays
        self._halves: dict[type, tuple[Any, Any, Any]] = {}

    def halves(self, dtype: type) -> tuple[Any, Any, Any]:
        """`D^-1/2`, and the lower and upper triangle of the scaled matrix, in `np.float32` or `np.float64`."""
        if dtype not in self._halves:
            self._halves[dtype] = self.loops.scaled_halves(*self.arrays, np.empty(0, dtype))
        return self._halves[dtype]

    def solve_one(self, psi: Array, tol: float, max_layers: int, stop_at: int = 0) -> tuple[Array, Array]:
        """The same for one right-hand side `[n, 1]`, in float64, with all residuals in the norm of the sweeps."""
        loops = self.loops
        scale, lower, upper = self.halves(np.float64)
        r = psi[:, 0] * scale
        loops.forward_one(*lower, r)
        x, p, t, q = np.zeros_like(r), np.zeros_like(r), np.empty_like(r), np.empty_like(r)
        first = energy = float(r @ r)
        beta, history = 0.0, [1.0 if energy > 0 else 0.0]
        while history[-1] > tol and len(history) <= max_layers:
            loops.down_one(*upper, beta, r, p, t)
            curvature = loops.up_one(*lower, p, t, q)
            if not curvature > 0:
                break
            square = loops.advance_one(energy / curvature, x, r, t, q)
            history.append((square / first) ** 0.5)
            steps = len(history) - 1
            if stop_at and steps % PROBE_STEPS == 0 and is_slow(history[-1], steps, tol, stop_at):
                break
            beta, energy = square / energy, square
        return (x * scale)[:, None], np.array(history)[:, None]

    def solve(self, psi: Array, tol: float, max_layers: int, stop_at: int = 0, threads: int = 1) -> tuple[Array, Array]:
        """Potentials `[n, k]` for demands `[n, k]`, and `[steps + 1, k]` relative residuals.

        The last residuals are those of the potentials; the ones before are measured in the norm of the sweeps.

        Args:
            psi: demands in the range of `L`, float64.
            tol: relative residual to stop at.
            max_layers: number of steps to stop at.
            stop_at: return early if the residual falls so slowly that more steps than this would be needed; 0: never.
            threads: threads that share the right-hand sides.
        """
        n, k = psi.shape
        self.halves(np.float32)
        x = np.empty((n, k))
        starts = range(0, k, self.loops.WIDTH)

        def some(first: int) -> Array:
            return self._some(psi, first, x, tol, max_layers, stop_at)

        with ThreadPoolExecutor(min(threads, len(starts))) as pool:
            histories = list(pool.map(some, starts))
        most = max(len(history) for history in histories)
        return x, np.concatenate([np.pad(h, ((0, most - len(h)), (0, 0)), mode="edge") for h in histories], 1)

    def _some(self, psi: Array, first: int, out: Array, tol: float, max_layers: int, stop_at: int) -> Array:
        """Solve for the columns from `first` on, correcting what single precision leaves."""
        loops, n, width = self.loops, len(psi), self.loops.WIDTH
        scale = self.halves(np.float32)[0]
        count = min(width, psi.shape[1] - first)
        b, x = np.zeros((n, width)), np.zeros((n, width))
        work = tuple(np.zeros((n, width), np.float32) for _ in range(5))
        r, y = work[:2]
        norm, size = loops.load(psi, first, count, scale, b, r)
        safe, square = np.where(norm > 0, norm, 1.0), np.empty(width)
        history = [np.where(norm > 0, 1.0, 0.0)]
        for _ in range(ROUNDS):
            worst = history[-1].max()
            done = len(history) - 1
            if worst <= tol or done >= max_layers:
                break
            goal = max(tol / worst / 2, SINGLE)
            steps = self._correct(work, goal, history[-1] > tol, max_layers - done, stop_at)
            loops.add(y, scale, size, x)
            size = size * np.where(steps[-1] > 0, steps[-1], 1.0)
            loops.residual(*self.arrays, x, b, scale, np.where(size > 0, size, 1.0), r, square)
            before = history[-1]
            history.extend(row * before for row in steps[1:])
            history[-1] = np.sqrt(square) / safe
            if steps[-1].max() > goal or not history[-1].max() < worst / 2:
                break
        out[:, first : first + count] = x[:, :count]
        return np.stack(history)[:, :count]

    def _correct(
        self, work: tuple[Array, ...], tol: float, wanted: Array, max_layers: int, stop_at: int
    ) -> list[Array]:
        """Conjugate gradient in single precision: from `r` to `y` of the work space; the residuals."""
        loops = self.loops
        _, lower, upper = self.halves(np.float32)
        r, y, p, t, q = work
        y[:], p[:] = 0, 0
        loops.forward(*lower, r)
        energy, square, curvature = np.empty((3, len(wanted)))
        nothing = np.zeros(len(wanted), np.float32)
        loops.advance(nothing, y, r, r, r, energy)  # energy = r^T r
        safe = np.where(energy > 0, energy, 1.0)
        running, beta = wanted & (energy > 0), nothing
        history = [running.astype(np.float64)]
        while running.any() and len(history) <= max_layers:
            loops.down(*upper, beta, r, p, t)
            loops.up(*lower, p, t, q, curvature)
            running = running & (curvature > 0)  # a column that has arrived stands still
            alpha = np.where(running, energy / np.where(running, curvature, 1.0), 0.0)
            loops.advance(alpha.astype(np.float32), y, r, t, q, square)
            history.append(np.where(running, np.sqrt(square / safe), history[-1]))
            running = running & (history[-1] > tol)
            steps = len(history) - 1
            if stop_at and steps % PROBE_STEPS == 0 and is_slow(float(history[-1].max()), steps, tol, stop_at):
                break
            beta = np.where(running, square / np.where(energy > 0, energy, 1.0), 0.0).astype(np.float32)
            energy = square.copy()
        return history
