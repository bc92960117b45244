"""Conjugate gradient on one large graph by compiled loops; the plain form is in `linear_cg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphtf.solvers.linear_cg import PROBE_STEPS, is_slow

Array = np.ndarray[Any, np.dtype[Any]]
STALLED = 500  # preconditioned steps without progress: rounding


def one_column(
    loops: Any,
    matrix: tuple[Array, ...],
    psi: Array,
    tol: float,
    max_layers: int,
    scale: Array,
    apply: Callable[[Array], Array] | None = None,
    stop_at: int = 0,
) -> tuple[Array, list[float]]:
    """Conjugate gradient for one right-hand side.

    Args:
        loops: the module of compiled loops.
        matrix: `L` as `(row starts, columns, conductances, degrees)`.
        psi: `[n]` demands.
        tol: relative residual to stop at.
        max_layers: number of steps to stop at.
        scale: `[n]` diagonal of the preconditioner.
        apply: another preconditioner, instead of the diagonal (which is one then).
        stop_at: return early if the residual falls so slowly that more steps than this would be needed; 0: never.

    Returns:
        The iterate of least residual, and the residuals of all of them.
    """
    norm = float(np.sqrt(psi @ psi))
    x, r, q = np.zeros_like(psi), psi.copy(), np.empty_like(psi)
    history = [1.0 if norm > 0 else 0.0]
    if norm == 0:
        return x, history
    z = scale * r if apply is None else apply(r)
    p, energy = z.copy(), float(r @ z)
    best, least, reached = None, 1.0, 0
    while history[-1] > tol and len(history) <= max_layers:
        curvature = loops.product(*matrix, p, q)
        if not curvature > 0:
            break
        alpha = energy / curvature
        square, after = loops.advance(x, r, p, q, scale, alpha)
        history.append(float(square) ** 0.5 / norm)
        steps = len(history) - 1
        if history[-1] <= least:
            best, least, reached = None, history[-1], steps
        elif reached == steps - 1:  # the step has gone away from the best iterate so far
            best = x - alpha * p
        if apply is not None and steps - reached >= STALLED:
            break
        if stop_at and steps % PROBE_STEPS == 0 and is_slow(history[-1], steps, tol, stop_at):
            break
        if history[-1] > tol:
            z = r
            if apply is not None:
                z = apply(r)
                after = float(r @ z)
            loops.turn(p, z, scale, after / energy)
            energy = after
    return x if best is None else best, history


def some_columns(
    loops: Any,
    product: Callable[[Array], Array],
    psi: Array,
    tol: float,
    max_layers: int,
    scale: Array,
    stop_at: int = 0,
) -> tuple[Array, Array]:
    """Conjugate gradient for a few right-hand sides, every one with its own coefficients.

    A column that has arrived stands still. Sums are in float64, whatever the type of the vectors.

    Args:
        loops: the module of compiled loops.
        product: `L p` for `[n, k]`.
        psi: `[n, k]` demands, float64 or float32.
        tol: relative residual to stop at.
        max_layers: number of steps to stop at.
        scale: `[n]` diagonal of the preconditioner, of the type of `psi`.
        stop_at: as for one column.

    Returns:
        The iterates of least residual, and `[steps + 1, k]` residuals.
    """
    x, r, p = np.zeros_like(psi), psi.copy(), scale[:, None] * psi
    norm = np.sqrt(loops.block_energy(r, r))
    energy = loops.block_energy(r, p)
    safe = np.where(norm > 0, norm, 1.0)
    least = np.where(norm > 0, 1.0, 0.0)
    history, running = [least], least > tol
    best, stale = None, np.zeros(len(norm), dtype=bool)  # `stale`: the iterate is not the best one
    while running.any() and len(history) <= max_layers:
        q = product(p)
        curvature = loops.block_energy(p, q)
        running = running & (curvature > 0)
        alpha = np.where(running, energy / np.where(running, curvature, 1.0), 0.0).astype(psi.dtype)
        square, after = loops.block_advance(x, r, p, q, scale, alpha)
        residual = np.where(running, np.sqrt(square) / safe, history[-1])
        worse = residual > least
        leaving = worse & ~stale
        if leaving.any():  # these steps have gone away from the best iterates so far
            best = np.empty_like(x) if best is None else best
            loops.block_back(best, x, p, alpha, leaving)
        stale, least = worse, np.minimum(residual, least)
        history.append(residual)
        running = running & (residual > tol)
        steps = len(history) - 1
        if stop_at and steps % PROBE_STEPS == 0 and is_slow(float(residual.max()), steps, tol, stop_at):
            break
        beta = np.where(running, after / np.where(energy > 0, energy, 1.0), 0.0).astype(psi.dtype)
        loops.block_turn(p, r, scale, beta)
        energy = after
    if best is not None:
        x[:, stale] = best[:, stale]
    return x, np.stack(history)
