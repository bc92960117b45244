# mypy: disable-error-code="untyped-decorator"
"""Compiled resistances of the edges of many small graphs; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def edge_rows(u: Any, v: Any, n: int) -> Any:
    """`(starts, columns, edges)`: the neighbours of every node, and the edges that lead there."""
    starts = np.zeros(n + 1, np.int32)
    for e in range(len(u)):
        starts[u[e] + 1] += 1
        starts[v[e] + 1] += 1
    for i in range(n):
        starts[i + 1] += starts[i]
    place = starts[:-1].copy()
    columns, edges = np.empty(2 * len(u), np.int32), np.empty(2 * len(u), np.int32)
    for e in range(len(u)):
        i, j = u[e], v[e]
        columns[place[i]], edges[place[i]] = j, e
        place[i] += 1
        columns[place[j]], edges[place[j]] = i, e
        place[j] += 1
    return starts, columns, edges


@njit(cache=True, nogil=True)
def find_edges(starts: Any, columns: Any, edges: Any, u: Any, v: Any) -> Any:
    """An edge that joins each pair, -1 where there is none (and for a pair of equal nodes)."""
    found = np.full(len(u), -1, np.int64)
    for p in range(len(u)):
        a, b = u[p], v[p]
        if starts[b + 1] - starts[b] < starts[a + 1] - starts[a]:
            a, b = b, a
        for k in range(starts[a], starts[a + 1]):
            if columns[k] == b:
                found[p] = edges[k]
                break
    return found


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _invert(a: Any) -> None:
    """Gauss-Jordan in place on a positive definite matrix."""
    n = a.shape[0]
    row = np.empty(n)
    for k in range(n):
        pivot = 1.0 / a[k, k]
        a[k, k] = 1.0
        for j in range(n):
            row[j] = a[k, j] * pivot
            a[k, j] = row[j]
        for i in range(n):
            factor = a[i, k]
            if i != k and factor != 0.0:
                a[i, k] = 0.0
                for j in range(n):
                    a[i, j] -= factor * row[j]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _column_residuals(a: Any, g: Any, out: Any) -> None:
    """Lengths of the columns of `a g - I`, the row of the grounded node included."""
    n = a.shape[0]
    row, square, total = np.empty(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        row[:] = 0.0
        for k in range(n):
            entry = a[i, k]
            if entry != 0.0:
                for j in range(n):
                    row[j] += entry * g[k, j]
        row[i] -= 1.0
        for j in range(n):
            square[j] += row[j] * row[j]
            total[j] += abs(row[j])
    for j in range(n):
        out[j] = np.sqrt(square[j] + total[j] * total[j])
    out[n] = 0.0


@njit(cache=True, nogil=True)
def small_resistances(starts: Any, columns: Any, edges: Any, weight: Any, largest: int) -> Any:
    """Resistance between the ends of every edge, component by component, and a bound of its system's residual.

    Leaves are cut off one after the other (their edges are bridges, of resistance `1 / w`); what is left has its
    Laplacian inverted with its last node grounded.
    """
    n = len(starts) - 1
    resistance, residual = np.empty(len(weight)), np.zeros(len(weight))
    seen, degree, place = np.zeros(n, np.bool_), np.empty(n, np.int32), np.empty(n, np.int32)
    nodes, leaves = np.empty(largest, np.int32), np.empty(largest, np.int32)
    buffer, copy = np.empty(largest * largest), np.empty(largest * largest)
    column = np.empty(largest + 1)
    for first in range(n):
        if seen[first]:
            continue
        seen[first] = True
        nodes[0] = first
        count, at, num_leaves = 1, 0, 0
        while at < count:
            i = nodes[at]
            at += 1
            degree[i] = starts[i + 1] - starts[i]
            if degree[i] == 1:
                leaves[num_leaves] = i
                num_leaves += 1
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                if not seen[j]:
                    seen[j] = True
                    nodes[count] = j
                    count += 1
        while num_leaves:
            num_leaves -= 1
            i = leaves[num_leaves]
            if degree[i] != 1:
                continue  # the last node of a tree
            degree[i] = 0
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                if degree[j] > 0:
                    resistance[edges[k]] = 1.0 / weight[edges[k]]
                    degree[j] -= 1
                    if degree[j] == 1:
                        leaves[num_leaves] = j
                        num_leaves += 1
        core = 0
        for at in range(count):
            i = nodes[at]
            if degree[i] > 0:
                place[i] = core
                core += 1
        if core == 0:
            continue
        size = core - 1
        g = buffer[: size * size].reshape(size, size)
        g[:] = 0.0
        for at in range(count):
            i = nodes[at]
            if degree[i] > 0 and place[i] < size:
                for k in range(starts[i], starts[i + 1]):
                    j = columns[k]
                    if degree[j] > 0:
                        w = weight[edges[k]]
                        g[place[i], place[i]] += w
                        if place[j] < size:
                            g[place[i], place[j]] -= w
        a = copy[: size * size].reshape(size, size)
        a[:] = g
        _invert(g)
        _column_residuals(a, g, column)
        for at in range(count):
            i = nodes[at]
            if degree[i] > 0:
                for k in range(starts[i], starts[i + 1]):
                    j = columns[k]
                    if degree[j] > 0 and place[i] < place[j]:
                        p, q = place[i], place[j]
                        value = g[p, p]
                        if q < size:
                            value += g[q, q] - 2.0 * g[p, q]
                        resistance[edges[k]] = value
                        residual[edges[k]] = (column[p] + column[q]) / np.sqrt(2.0)
    return resistance, residual
