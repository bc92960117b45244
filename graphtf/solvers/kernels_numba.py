# mypy: disable-error-code="untyped-decorator"
"""The compiled loops; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

PROBE_STEPS = 8


@njit(cache=True, nogil=True)
def compressed_rows(u: Any, v: Any, w: Any, n: int) -> Any:
    """`(starts, columns, conductances, degrees)` of the off-diagonal part, by counting."""
    starts = np.zeros(n + 1, np.int32)
    degrees = np.zeros(n, np.float64)
    for e in range(len(w)):
        starts[u[e] + 1] += 1
        starts[v[e] + 1] += 1
    for i in range(n):
        starts[i + 1] += starts[i]
    place = starts[:-1].copy()
    columns = np.empty(2 * len(w), np.int32)
    values = np.empty(2 * len(w), np.float64)
    for e in range(len(w)):
        i, j = u[e], v[e]
        columns[place[i]] = j
        values[place[i]] = w[e]
        place[i] += 1
        columns[place[j]] = i
        values[place[j]] = w[e]
        place[j] += 1
        degrees[i] += w[e]
        degrees[j] += w[e]
    return starts, columns, values, degrees


@njit(cache=True, nogil=True)
def component_labels(starts: Any, columns: Any) -> Any:
    """Labels of the connected components, in the order of their first node."""
    n = len(starts) - 1
    labels, stack = np.full(n, -1, np.int64), np.empty(n, np.int32)
    count = 0
    for first in range(n):
        if labels[first] >= 0:
            continue
        labels[first] = count
        stack[0], size = first, 1
        while size:
            size -= 1
            i = stack[size]
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                if labels[j] < 0:
                    labels[j] = count
                    stack[size] = j
                    size += 1
        count += 1
    return labels


@njit(cache=True, nogil=True)
def with_diagonal(starts: Any, columns: Any, values: Any, degrees: Any) -> Any:
    """Compressed rows of `L` itself, sorted if the rows are."""
    n = len(degrees)
    full_starts = np.empty(n + 1, np.uint32)
    full_columns = np.empty(len(columns) + n, np.uint32)
    full_values = np.empty(len(columns) + n, np.float64)
    at = 0
    for i in range(n):
        full_starts[i] = at
        placed = False
        for k in range(starts[i], starts[i + 1]):
            if not placed and columns[k] > i:
                full_columns[at], full_values[at] = i, degrees[i]
                at += 1
                placed = True
            full_columns[at], full_values[at] = columns[k], -values[k]
            at += 1
        if not placed:
            full_columns[at], full_values[at] = i, degrees[i]
            at += 1
    full_starts[n] = at
    return full_starts, full_columns, full_values


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def product(starts: Any, columns: Any, values: Any, degrees: Any, p: Any, q: Any) -> float:
    """`q = L p`; returns `p^T L p`."""
    total = 0.0
    for i in range(len(p)):
        entry = degrees[i] * p[i]
        for k in range(starts[i], starts[i + 1]):
            entry -= values[k] * p[columns[k]]
        q[i] = entry
        total += entry * p[i]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def advance(x: Any, r: Any, p: Any, q: Any, scale: Any, alpha: float) -> Any:
    """`x += alpha p`, `r -= alpha q`; returns `r^T r` and `r^T scale r`."""
    square, energy = 0.0, 0.0
    for i in range(len(x)):
        x[i] += alpha * p[i]
        left = r[i] - alpha * q[i]
        r[i] = left
        square += left * left
        energy += left * left * scale[i]
    return square, energy


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def turn(p: Any, r: Any, scale: Any, beta: float) -> None:
    """`p = scale r + beta p`."""
    for i in range(len(p)):
        p[i] = scale[i] * r[i] + beta * p[i]


@njit(cache=True, nogil=True)
def _hopeless(residual: float, step: int, tol: float, limit: int) -> bool:
    """Whether the rate so far would need more than `limit` steps in all."""
    if residual <= 0.0:
        return False
    if residual >= 1.0:
        return True
    return step * np.log(tol) / np.log(residual) > limit


@njit(cache=True, nogil=True)
def conjugate_gradient(
    starts: Any,
    columns: Any,
    values: Any,
    degrees: Any,
    psi: Any,
    tol: float,
    max_layers: int,
    jacobi: bool,
    stop_at: int,
) -> Any:
    """One right-hand side."""
    n = len(psi)
    scale = np.ones(n)
    if jacobi:
        for i in range(n):
            scale[i] = 1.0 / degrees[i] if degrees[i] > 0 else 0.0
    x, q, r = np.zeros(n), np.empty(n), psi.copy()
    p = scale * r
    norm, energy = np.sqrt(np.dot(r, r)), np.dot(r, p)
    history = [0.0 if norm == 0 else 1.0]
    step = 0
    while history[-1] > tol and step < max_layers:
        curvature = product(starts, columns, values, degrees, p, q)
        if not curvature > 0:
            break
        square, after = advance(x, r, p, q, scale, energy / curvature)
        step += 1
        history.append(np.sqrt(square) / norm)
        if stop_at and step % PROBE_STEPS == 0 and _hopeless(history[-1], step, tol, stop_at):
            break
        turn(p, r, scale, after / energy)
        energy = after
    return x, step, np.array(history)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_product(starts: Any, columns: Any, values: Any, degrees: Any, p: Any, q: Any, total: Any) -> None:
    """`q = L p` for a few columns; `total` becomes the diagonal of `p^T L p`."""
    width = p.shape[1]
    total[:] = 0.0
    entry = np.empty(width)
    for i in range(p.shape[0]):
        for c in range(width):
            entry[c] = degrees[i] * p[i, c]
        for k in range(starts[i], starts[i + 1]):
            w, j = values[k], columns[k]
            for c in range(width):
                entry[c] -= w * p[j, c]
        for c in range(width):
            q[i, c] = entry[c]
            total[c] += entry[c] * p[i, c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_advance(x: Any, r: Any, p: Any, q: Any, scale: Any, alpha: Any, square: Any, energy: Any) -> None:
    """The same as `advance` for a few columns."""
    square[:] = 0.0
    energy[:] = 0.0
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            x[i, c] += alpha[c] * p[i, c]
            left = r[i, c] - alpha[c] * q[i, c]
            r[i, c] = left
            square[c] += left * left
            energy[c] += left * left * scale[i]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_turn(p: Any, r: Any, scale: Any, beta: Any) -> None:
    """The same as `turn` for a few columns."""
    for i in range(p.shape[0]):
        for c in range(p.shape[1]):
            p[i, c] = scale[i] * r[i, c] + beta[c] * p[i, c]


@njit(cache=True, nogil=True)
def block_conjugate_gradient(
    starts: Any,
    columns: Any,
    values: Any,
    degrees: Any,
    psi: Any,
    tol: float,
    max_layers: int,
    jacobi: bool,
    stop_at: int,
) -> Any:
    """A few right-hand sides, every one with its own coefficients; one that has arrived stands still."""
    n, width = psi.shape
    scale = np.ones(n)
    if jacobi:
        for i in range(n):
            scale[i] = 1.0 / degrees[i] if degrees[i] > 0 else 0.0
    x, q, r, p = np.zeros((n, width)), np.empty((n, width)), psi.copy(), np.empty((n, width))
    norm, energy = np.zeros(width), np.zeros(width)
    for i in range(n):
        for c in range(width):
            p[i, c] = scale[i] * r[i, c]
            norm[c] += r[i, c] * r[i, c]
            energy[c] += r[i, c] * p[i, c]
    norm = np.sqrt(norm)
    alpha, beta, total, square, after = (
        np.zeros(width),
        np.zeros(width),
        np.zeros(width),
        np.zeros(width),
        np.zeros(width),
    )
    residual = np.where(norm > 0, 1.0, 0.0)
    history = [residual.copy()]
    running = residual > tol
    step = 0
    while running.any() and step < max_layers:
        block_product(starts, columns, values, degrees, p, q, total)
        for c in range(width):
            if running[c] and not total[c] > 0:
                running[c] = False
            alpha[c] = energy[c] / total[c] if running[c] else 0.0
        block_advance(x, r, p, q, scale, alpha, square, after)
        step += 1
        row = history[-1].copy()
        worst = 0.0
        for c in range(width):
            if running[c]:
                row[c] = np.sqrt(square[c]) / norm[c]
                beta[c] = after[c] / energy[c]
                energy[c] = after[c]
                running[c] = row[c] > tol
                worst = max(worst, row[c])
        history.append(row)
        if stop_at and step % PROBE_STEPS == 0 and worst > tol and _hopeless(worst, step, tol, stop_at):
            break
        block_turn(p, r, scale, beta)
    table = np.empty((len(history), width))
    for i in range(len(history)):
        table[i] = history[i]
    return x, step, table
