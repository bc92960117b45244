# mypy: disable-error-code="untyped-decorator"
"""The compiled loops of the elimination; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def mates(u: Any, v: Any, starts: Any) -> Any:
    """For every entry of compressed rows the place of the entry in the other direction."""
    place = starts[:-1].copy()
    mate = np.empty(2 * len(u), np.int32)
    for e in range(len(u)):
        i, j = place[u[e]], place[v[e]]
        mate[i], mate[j] = j, i
        place[u[e]] += 1
        place[v[e]] += 1
    return mate


@njit(cache=True, nogil=True)
def eliminate(starts: Any, columns: Any, values: Any, mate: Any) -> Any:
    """Eliminate nodes of at most two neighbors, one after the other, and nodes that come down to two by that.

    `columns`, `values` and `mate` are overwritten; entries of removed edges get the column -1.

    Returns:
        `(order, ends, weights)`: eliminated nodes, their neighbors `[r, 2]` at that time (-1 for none) and the
        conductances to them; and `[n]` whether a node is left.
    """
    n = len(starts) - 1
    degree, stack, size = np.empty(n, np.int32), np.empty(n, np.int32), 0
    left = np.ones(n, np.bool_)
    queued = np.zeros(n, np.bool_)
    for i in range(n - 1, -1, -1):
        degree[i] = starts[i + 1] - starts[i]
        if degree[i] <= 2:
            stack[size] = i
            size += 1
            queued[i] = True
    order = np.empty(n, np.int32)
    ends, weights = np.full((n, 2), -1, np.int32), np.zeros((n, 2))
    count = 0
    slot = np.zeros(2, np.int32)
    while size:
        size -= 1
        i = stack[size]
        left[i] = False
        found = 0
        for k in range(starts[i], starts[i + 1]):
            if columns[k] >= 0:
                slot[found] = k
                found += 1
                if found == 2:
                    break
        order[count] = i
        for s in range(found):
            ends[count, s], weights[count, s] = columns[slot[s]], values[slot[s]]
        a, b = ends[count, 0], ends[count, 1]
        if found == 2 and a != b:
            joined = weights[count, 0] / (weights[count, 0] + weights[count, 1]) * weights[count, 1]
            to_a, to_b = mate[slot[0]], mate[slot[1]]
            columns[to_a], mate[to_a], values[to_a] = b, to_b, joined
            columns[to_b], mate[to_b], values[to_b] = a, to_a, joined
        else:
            for s in range(found):
                columns[mate[slot[s]]] = -1
            if found:
                degree[a] -= found
                if degree[a] <= 2 and not queued[a]:
                    stack[size] = a
                    size += 1
                    queued[a] = True
        count += 1
    return order[:count], ends[:count], weights[:count], left


@njit(cache=True, nogil=True)
def remaining(starts: Any, columns: Any, values: Any, left: Any) -> Any:
    """The edges `(u, v, w)` between nodes that are left, numbered anew, parallel ones as one."""
    n = len(left)
    number = np.full(n, -1, np.int64)
    count = 0
    for i in range(n):
        if left[i]:
            number[i] = count
            count += 1
    total = 0
    for i in range(n):
        if left[i]:
            for k in range(starts[i], starts[i + 1]):
                total += columns[k] > i
    u, v, w = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total)
    seen = np.full(n, -1, np.int64)  # the edge that goes to this node from the present one
    at = 0
    for i in range(n):
        first = at
        if left[i]:
            for k in range(starts[i], starts[i + 1]):
                j = columns[k]
                if j > i:
                    e = seen[j]
                    if e >= first:
                        w[e] += values[k]
                    else:
                        seen[j] = at
                        u[at], v[at], w[at] = number[i], number[j], values[k]
                        at += 1
    return u[:at], v[:at], w[:at]


@njit(cache=True, nogil=True)
def forward(order: Any, ends: Any, weights: Any, psi: Any) -> None:
    """Hand the demands `[n, k]` of eliminated nodes on to their neighbors, in place."""
    for t in range(len(order)):
        i, total = order[t], weights[t, 0] + weights[t, 1]
        for s in range(2):
            j = ends[t, s]
            if j >= 0:
                share = weights[t, s] / total
                for c in range(psi.shape[1]):
                    psi[j, c] += share * psi[i, c]


@njit(cache=True, nogil=True)
def backward(order: Any, ends: Any, weights: Any, psi: Any, x: Any) -> None:
    """The potentials `[n, k]` of eliminated nodes from those of their neighbors, in place; zero without any."""
    for t in range(len(order) - 1, -1, -1):
        i, total = order[t], weights[t, 0] + weights[t, 1]
        for c in range(psi.shape[1]):
            entry = psi[i, c] if total > 0 else 0.0
            for s in range(2):
                j = ends[t, s]
                if j >= 0:
                    entry += weights[t, s] * x[j, c]
            x[i, c] = entry / total if total > 0 else 0.0
