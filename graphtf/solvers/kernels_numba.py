# mypy: disable-error-code="untyped-decorator"
"""The compiled loops; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


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
    k = np.uint64(0)  # unsigned: a negative index would have to be looked out for
    for i in range(np.uint64(len(p))):
        entry = degrees[i] * p[i]
        end = np.uint64(starts[i + np.uint64(1)])
        while k < end:
            entry -= values[k] * p[np.uint64(columns[k])]
            k += np.uint64(1)
        q[i] = entry
        total += entry * p[i]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def advance(x: Any, r: Any, p: Any, q: Any, scale: Any, alpha: float) -> Any:
    """`x += alpha p`, `r -= alpha q`; returns `r^T r` and `r^T scale r`."""
    square, energy = 0.0, 0.0
    for i in range(len(p)):
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


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_energy(p: Any, q: Any) -> Any:
    """The diagonal of `p^T q` for a few columns."""
    total = np.zeros(p.shape[1])
    for i in range(len(p)):
        for c in range(p.shape[1]):
            total[c] += p[i, c] * q[i, c]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_advance(x: Any, r: Any, p: Any, q: Any, scale: Any, alpha: Any) -> Any:
    """The same as `advance` for a few columns."""
    square, energy = np.zeros(p.shape[1]), np.zeros(p.shape[1])
    for i in range(len(p)):
        for c in range(x.shape[1]):
            x[i, c] += alpha[c] * p[i, c]
            left = r[i, c] - alpha[c] * q[i, c]
            r[i, c] = left
            square[c] += left * left
            energy[c] += left * left * scale[i]
    return square, energy


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def block_turn(p: Any, r: Any, scale: Any, beta: Any) -> None:
    """The same as `turn` for a few columns."""
    for i in range(len(p)):
        for c in range(p.shape[1]):
            p[i, c] = scale[i] * r[i, c] + beta[c] * p[i, c]


@njit(cache=True, nogil=True)
def block_back(out: Any, x: Any, p: Any, alpha: Any, wanted: Any) -> None:
    """`out = x - alpha p` in the wanted columns: where `x` was a step ago."""
    for i in range(len(x)):
        for c in range(x.shape[1]):
            if wanted[c]:
                out[i, c] = x[i, c] - alpha[c] * p[i, c]
