# mypy: disable-error-code="untyped-decorator"
"""Compiled powers of the operators of many small graphs, several at a time; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

LANES = 16  # rows are padded to a multiple of this many float32, what a vector register holds


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _powers(P: Any, u: Any, v: Any, off: Any, diagonal: Any) -> None:
    """`P[j] = T^j` for `j >= 1`; row `P[j, i]`."""
    n, width = len(diagonal), P.shape[2]
    P[1] = 0.0
    for i in range(n):
        P[1, i, i] = diagonal[i]
    for e in range(len(u)):
        P[1, u[e], v[e]] = off[e]
        P[1, v[e], u[e]] = off[e]
    for j in range(2, P.shape[0]):
        for i in range(n):
            d = diagonal[i]
            for c in range(width):
                P[j, i, c] = d * P[j - 1, i, c]
        for e in range(len(u)):
            a, b, w = u[e], v[e], off[e]
            for c in range(width):
                P[j, a, c] += w * P[j - 1, b, c]
            for c in range(width):
                P[j, b, c] += w * P[j - 1, a, c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _dot(x: Any, y: Any) -> float:
    total = x.dtype.type(0)
    for c in range(len(x)):
        total += x[c] * y[c]
    return total


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def _add(out: Any, factor: float, x: Any) -> None:
    for c in range(len(x)):
        out[c] += factor * x[c]


@njit(cache=True, nogil=True)
def entries(node_first: Any, edge_first: Any, u: Any, v: Any, off: Any, diagonal: Any, node: Any, edge: Any) -> None:
    """Entries of `T^1 ... T^k` on the diagonal and on the edges.

    `T` is symmetric, so that `T^l[i, j]` is a product of rows of `T^(l // 2)` and `T^(l - l // 2)`: half of the powers
    are enough.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        off: `[H, m]` entries of `T` on the edges.
        diagonal: `[H, n]` entries on the diagonal.
        node: `[n, H, k]`, is filled.
        edge: `[m, H, k]`, is filled.
    """
    k = node.shape[2]
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        P = np.empty(((k + 1) // 2 + 1, n, -(-n // LANES) * LANES), off.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            _powers(P, tail, head, off[h, c:d], diagonal[h, a:b])
            for i in range(n):
                node[a + i, h, 0] = diagonal[h, a + i]
            for e in range(d - c):
                edge[c + e, h, 0] = off[h, c + e]
            for power in range(2, k + 1):
                low, high = P[power // 2], P[power - power // 2]
                for i in range(n):
                    node[a + i, h, power - 1] = _dot(low[i], high[i])
                for e in range(d - c):
                    edge[c + e, h, power - 1] = _dot(low[tail[e]], high[head[e]])


@njit(cache=True, nogil=True)
def gradients(
    node_first: Any,
    edge_first: Any,
    u: Any,
    v: Any,
    off: Any,
    diagonal: Any,
    of_node: Any,
    of_edge: Any,
    of_off: Any,
    of_diagonal: Any,
) -> None:
    """Derivative of `entries`: `of_off` and `of_diagonal` are filled from `of_node` and `of_edge`."""
    k = of_node.shape[2]
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        P = np.empty(((k + 1) // 2 + 1, n, -(-n // LANES) * LANES), off.dtype)
        D = np.empty_like(P)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            w, own = off[h, c:d], diagonal[h, a:b]
            _powers(P, tail, head, w, own)
            D[:] = 0.0
            for power in range(2, k + 1):
                s, t = power // 2, power - power // 2
                for i in range(n):
                    f = of_node[a + i, h, power - 1]
                    _add(D[s, i], f, P[t, i])
                    _add(D[t, i], f, P[s, i])
                for e in range(d - c):
                    f = of_edge[c + e, h, power - 1]
                    _add(D[s, tail[e]], f, P[t, head[e]])
                    _add(D[t, head[e]], f, P[s, tail[e]])
            for i in range(n):
                of_diagonal[h, a + i] = of_node[a + i, h, 0]
            for e in range(d - c):
                of_off[h, c + e] = of_edge[c + e, h, 0]
            for j in range(P.shape[0] - 1, 1, -1):
                for i in range(n):
                    of_diagonal[h, a + i] += _dot(D[j, i], P[j - 1, i])
                    _add(D[j - 1, i], own[i], D[j, i])
                for e in range(d - c):
                    x, y = tail[e], head[e]
                    of_off[h, c + e] += _dot(D[j, x], P[j - 1, y]) + _dot(D[j, y], P[j - 1, x])
                    _add(D[j - 1, x], w[e], D[j, y])
                    _add(D[j - 1, y], w[e], D[j, x])
            for i in range(n):
                of_diagonal[h, a + i] += D[1, i, i]
            for e in range(d - c):
                of_off[h, c + e] += D[1, tail[e], head[e]] + D[1, head[e], tail[e]]
