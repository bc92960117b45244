# mypy: disable-error-code="untyped-decorator"
"""Compiled leverages of the edges of many small graphs, for several conductances; imported only where numba is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _grounded_inverse(a: Any, tail: Any, head: Any, w: Any, root: Any) -> None:
    """`a` becomes the inverse of `L` with the rows and columns of the roots replaced by those of the identity."""
    n = a.shape[0]
    a[:] = 0.0
    for e in range(len(tail)):
        u, v = tail[e], head[e]
        a[u, u] += w[e]
        a[v, v] += w[e]
        a[u, v] -= w[e]
        a[v, u] -= w[e]
    for i in range(n):
        if root[i]:
            for c in range(n):
                a[i, c] = 0.0
                a[c, i] = 0.0
            a[i, i] = 1.0
    row = np.empty(n)
    for k in range(n):  # Gauss-Jordan in place
        pivot = 1.0 / a[k, k]
        a[k, k] = 1.0
        for c in range(n):
            row[c] = a[k, c] * pivot
            a[k, c] = row[c]
        for i in range(n):
            factor = a[i, k]
            if i != k and factor != 0.0:
                a[i, k] = 0.0
                for c in range(n):
                    a[i, c] -= factor * row[c]
    for i in range(n):
        if root[i]:
            a[i, i] = 0.0


@njit(cache=True, nogil=True)
def leverages(
    node_first: Any, edge_first: Any, u: Any, v: Any, root: Any, w: Any, of_leverage: Any, leverage: Any, of_w: Any
) -> None:
    """Leverages :math:`w_e R_e`, and with `of_leverage` not empty their derivative.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        root: `[n]` whether a node is the first of its component.
        w: `[H, m]` conductances, float64.
        of_leverage: `[H, m]` gradient of the leverages, or `[0, 0]`.
        leverage: `[H, m]`, is filled.
        of_w: `[H, m]`, is filled if there is a gradient.
    """
    backward = of_leverage.shape[0] > 0
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - a, v[c:d] - a
        G = np.empty((b - a, b - a))
        for h in range(w.shape[0]):
            _grounded_inverse(G, tail, head, w[h, c:d], root[a:b])
            for e in range(d - c):
                s, t = tail[e], head[e]
                leverage[h, c + e] = w[h, c + e] * (G[s, s] + G[t, t] - 2.0 * G[s, t])
            if backward:
                for f in range(d - c):
                    p, q = tail[f], head[f]
                    total = 0.0
                    for e in range(d - c):
                        s, t = tail[e], head[e]
                        drop = G[p, s] - G[p, t] - G[q, s] + G[q, t]
                        total += of_leverage[h, c + e] * w[h, c + e] * drop * drop
                    w_f = w[h, c + f]
                    of_w[h, c + f] = of_leverage[h, c + f] * leverage[h, c + f] / w_f - total
