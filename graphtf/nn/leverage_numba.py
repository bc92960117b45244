# mypy: disable-error-code="untyped-decorator"
"""Compiled leverages of the edges of many small graphs, for several conductances; imported only where numba is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST


@njit(cache=True, nogil=True, inline="always")
def _root(parent: Any, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _roots(parent: Any, tail: Any, head: Any) -> None:
    """`parent[i] == i` for one node of every component alone."""
    for i in range(len(parent)):
        parent[i] = i
    for e in range(len(tail)):
        x, y = _root(parent, tail[e]), _root(parent, head[e])
        parent[max(x, y)] = min(x, y)


@njit(cache=True, nogil=True, fastmath=FAST)
def _grounded_inverse(G: Any, a: Any, tail: Any, head: Any, w: Any, parent: Any, ends: Any) -> None:
    """`G` becomes the inverse of `L` without the rows and columns of the roots, which become zero.

    Nodes are eliminated from the last to the first: in molecules most have one or two neighbours before them, so that
    little fills in. `a` `[n, n]` and `ends` `[n]` are scratch.
    """
    n = len(G)
    for i in range(n):
        for c in range(n):
            a[i, c] = 0.0
    for e in range(len(tail)):
        u, v = tail[e], head[e]
        a[u, u] += w[e]
        a[v, v] += w[e]
        a[u, v] -= w[e]
        a[v, u] -= w[e]
    for k in range(n - 1, -1, -1):
        if parent[k] == k:
            continue
        number = 0
        for i in range(k):
            if a[k, i] != 0.0:
                ends[number] = i
                number += 1
        for s in range(number):
            i = ends[s]
            factor = a[k, i] / a[k, k]
            for t in range(number):
                a[i, ends[t]] -= factor * a[k, ends[t]]
    for k in range(n):  # row k of G is a combination of rows before it
        for c in range(n):
            G[k, c] = 0.0
        if parent[k] == k:
            continue
        for i in range(k):
            if a[k, i] != 0.0:
                factor = a[k, i] / a[k, k]
                for c in range(k):
                    G[k, c] -= factor * G[i, c]
        own = 1.0 / a[k, k]
        for i in range(k):
            G[i, k] = G[k, i]
            own -= a[k, i] / a[k, k] * G[k, i]
        G[k, k] = own


@njit(cache=True, nogil=True)
def leverages(node_first: Any, edge_first: Any, u: Any, v: Any, w: Any, leverage: Any, kept: Any) -> None:
    """Leverages :math:`w_e R_e`.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        w: `[H, m]` conductances, float64.
        leverage: `[H, m]`, is filled.
        kept: `[H sum n^2]` for the derivative, is filled with the grounded inverses of every graph and head, one after
            the other. Empty: they are not kept.
    """
    start = 0
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - a, v[c:d] - a
        n = b - a
        G, scratch, parent, ends = np.empty((n, n)), np.empty((n, n)), np.empty(n, np.int64), np.empty(n, np.int64)
        _roots(parent, tail, head)
        for h in range(w.shape[0]):
            if len(kept):
                G = kept[start : start + n * n].reshape(n, n)
                start += n * n
            _grounded_inverse(G, scratch, tail, head, w[h, c:d], parent, ends)
            for e in range(d - c):
                s, t = tail[e], head[e]
                leverage[h, c + e] = w[h, c + e] * (G[s, s] + G[t, t] - 2.0 * G[s, t])


@njit(cache=True, nogil=True, fastmath=FAST)
def gradients(
    node_first: Any, edge_first: Any, u: Any, v: Any, w: Any, leverage: Any, kept: Any, of_leverage: Any, of_w: Any
) -> None:
    r"""Derivative of `leverages`: `of_w` is filled from `of_leverage`.

    With :math:`D_{fe} = b_f^T L^+ b_e` it is :math:`g_f R_f - \sum_e g_e w_e D_{fe}^2`.
    """
    start = 0
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - a, v[c:d] - a
        n = b - a
        row, factor = np.empty(n), np.empty(d - c)
        for h in range(w.shape[0]):
            G = kept[start : start + n * n].reshape(n, n)
            start += n * n
            for e in range(d - c):
                factor[e] = of_leverage[h, c + e] * w[h, c + e]
            for f in range(d - c):
                p, q = tail[f], head[f]
                for i in range(n):
                    row[i] = G[p, i] - G[q, i]
                total = 0.0
                for e in range(d - c):
                    drop = row[tail[e]] - row[head[e]]
                    total += factor[e] * drop * drop
                of_w[h, c + f] = of_leverage[h, c + f] * leverage[h, c + f] / w[h, c + f] - total
