# mypy: disable-error-code="untyped-decorator"
"""Compiled leverages of the edges of many small graphs, for several conductances; imported only where numba is.

Nodes are eliminated from the last to the first: in molecules most have one or two neighbours before them, so that
little fills in. The first node of every component has none, and is grounded. Only those entries of the inverse are
computed that lie where the triangular factor has some; the edges are among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST

# Matrices are dense in memory; of them, only the diagonal and the columns `before[first[k] : last[k]]`, all below `k`,
# of every row `k` are used.


@njit(cache=True, nogil=True)
def _pattern(tail: Any, head: Any, mark: Any, first: Any, last: Any, before: Any) -> None:
    """Where the triangular factor of the Laplacian is not zero: `first`, `last` and `before` are filled."""
    n, number = len(first), 0
    for k in range(n):
        for i in range(k):
            mark[k, i] = False
    for e in range(len(tail)):
        mark[max(tail[e], head[e]), min(tail[e], head[e])] = True
    for k in range(n - 1, -1, -1):
        first[k] = number
        for i in range(k):
            if mark[k, i]:
                before[number] = i
                for s in range(first[k], number):
                    mark[i, before[s]] = True
                number += 1
        last[k] = number


@njit(cache=True, nogil=True, fastmath=FAST)
def _clear(a: Any, first: Any, last: Any, before: Any) -> None:
    for k in range(len(first)):
        a[k, k] = 0.0
        for s in range(first[k], last[k]):
            a[k, before[s]] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def _factor(a: Any, tail: Any, head: Any, w: Any, first: Any, last: Any, before: Any) -> None:
    """Row `k` of `a` becomes that of the Laplacian when `k` is eliminated, with the inverse of the pivot."""
    _clear(a, first, last, before)
    for e in range(len(tail)):
        u, v = tail[e], head[e]
        a[u, u] += w[e]
        a[v, v] += w[e]
        a[max(u, v), min(u, v)] -= w[e]
    for k in range(len(first) - 1, -1, -1):
        if first[k] < last[k]:
            a[k, k] = 1.0 / a[k, k]
        for s in range(first[k], last[k]):
            i = before[s]
            f = a[k, i] * a[k, k]
            for t in range(first[k], s + 1):
                a[i, before[t]] -= f * a[k, before[t]]


@njit(cache=True, nogil=True, fastmath=FAST)
def _invert(G: Any, a: Any, first: Any, last: Any, before: Any) -> None:
    """The same entries of the inverse of `L` without the grounded nodes, whose rows and columns are zero."""
    for k in range(len(first)):
        G[k, k] = 0.0
        if first[k] == last[k]:
            continue
        own = 1.0
        for s in range(first[k], last[k]):
            j, total = before[s], 0.0
            for t in range(first[k], last[k]):
                i = before[t]
                total -= a[k, i] * G[max(i, j), min(i, j)]
            G[k, j] = total * a[k, k]
            own -= a[k, j] * G[k, j]
        G[k, k] = own * a[k, k]


@njit(cache=True, nogil=True)
def leverages(node_first: Any, edge_first: Any, u: Any, v: Any, w: Any, leverage: Any) -> None:
    """Leverages :math:`w_e R_e`.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        w: `[H, m]` conductances, float64.
        leverage: `[H, m]`, is filled.
    """
    for g in range(len(node_first) - 1):
        n, c, d = node_first[g + 1] - node_first[g], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - node_first[g], v[c:d] - node_first[g]
        mark, first, last = np.empty((n, n), np.bool_), np.empty(n, np.int64), np.empty(n, np.int64)
        before = np.empty(n * n, np.int64)
        a, G = np.empty((n, n)), np.empty((n, n))
        _pattern(tail, head, mark, first, last, before)
        for h in range(w.shape[0]):
            _factor(a, tail, head, w[h, c:d], first, last, before)
            _invert(G, a, first, last, before)
            for e in range(d - c):
                s, t = tail[e], head[e]
                leverage[h, c + e] = w[h, c + e] * (G[s, s] + G[t, t] - 2.0 * G[max(s, t), min(s, t)])


@njit(cache=True, nogil=True, fastmath=FAST)
def _of_invert(of_a: Any, of_G: Any, a: Any, G: Any, first: Any, last: Any, before: Any) -> None:
    """`of_a` becomes the derivative of `_invert` in `a`; `of_G` is used up."""
    for k in range(len(first) - 1, -1, -1):
        inverse, of_own = a[k, k], of_G[k, k] * a[k, k]
        of_a[k, k] = 0.0
        if first[k] == last[k]:
            continue
        of_pivot = of_G[k, k] * G[k, k]
        for s in range(first[k], last[k]):
            j = before[s]
            of_a[k, j] = -of_own * G[k, j]
            of_G[k, j] -= of_own * a[k, j]
        for s in range(first[k], last[k]):
            j = before[s]
            of_total = of_G[k, j] * inverse
            of_pivot += of_G[k, j] * G[k, j]
            for t in range(first[k], last[k]):
                i = before[t]
                of_a[k, i] -= of_total * G[max(i, j), min(i, j)]
                of_G[max(i, j), min(i, j)] -= of_total * a[k, i]
        of_a[k, k] = -of_pivot * inverse


@njit(cache=True, nogil=True, fastmath=FAST)
def _of_factor(of_a: Any, a: Any, first: Any, last: Any, before: Any) -> None:
    """`of_a`, the derivative in the factor, becomes that in the Laplacian."""
    for k in range(len(first)):
        for s in range(first[k], last[k]):
            i = before[s]
            f, of_f = a[k, i] * a[k, k], 0.0
            for t in range(first[k], s + 1):
                j = before[t]
                of_f -= of_a[i, j] * a[k, j]
                of_a[k, j] -= of_a[i, j] * f
            of_a[k, i] += of_f * a[k, k]
            of_a[k, k] -= of_f * f * a[k, k]


@njit(cache=True, nogil=True, fastmath=FAST)
def gradients(
    node_first: Any, edge_first: Any, u: Any, v: Any, w: Any, leverage: Any, of_leverage: Any, of_w: Any
) -> None:
    """Derivative of `leverages`: `of_w` is filled from `of_leverage`."""
    for g in range(len(node_first) - 1):
        n, c, d = node_first[g + 1] - node_first[g], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - node_first[g], v[c:d] - node_first[g]
        mark, first, last = np.empty((n, n), np.bool_), np.empty(n, np.int64), np.empty(n, np.int64)
        before = np.empty(n * n, np.int64)
        a, G, of_a, of_G = np.empty((n, n)), np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
        _pattern(tail, head, mark, first, last, before)
        for h in range(w.shape[0]):
            _factor(a, tail, head, w[h, c:d], first, last, before)
            _invert(G, a, first, last, before)
            _clear(of_G, first, last, before)
            for e in range(d - c):
                s, t, f = tail[e], head[e], of_leverage[h, c + e] * w[h, c + e]
                of_G[s, s] += f
                of_G[t, t] += f
                of_G[max(s, t), min(s, t)] -= 2.0 * f
            _of_invert(of_a, of_G, a, G, first, last, before)
            _of_factor(of_a, a, first, last, before)
            for e in range(d - c):
                s, t = tail[e], head[e]
                change = of_a[s, s] + of_a[t, t] - of_a[max(s, t), min(s, t)]
                of_w[h, c + e] = of_leverage[h, c + e] * leverage[h, c + e] / w[h, c + e] + change
