# mypy: disable-error-code="untyped-decorator"
"""Compiled powers of the operators of many small graphs, all entries; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.nn.powers_numba import LANES, _add, _dot, _powers


@njit(cache=True, nogil=True)
def all_entries(
    node_first: Any, edge_first: Any, pair_first: Any, u: Any, v: Any, off: Any, diagonal: Any, out: Any
) -> None:
    """Entries of `T^1 ... T^k`, row by row, graph after graph.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        pair_first: `[G + 1]` where its pairs of nodes start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        off: `[H, m]` entries of `T` on the edges.
        diagonal: `[H, n]` entries on the diagonal.
        out: `[H, k, S]`, is filled.
    """
    k = out.shape[1]
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        P = np.empty((k + 1, n, -(-n // LANES) * LANES), off.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            _powers(P, tail, head, off[h, c:d], diagonal[h, a:b])
            for j in range(k):
                at = pair_first[g]
                for i in range(n):
                    out[h, j, at : at + n] = P[j + 1, i, :n]
                    at += n


@njit(cache=True, nogil=True)
def all_gradients(
    node_first: Any,
    edge_first: Any,
    pair_first: Any,
    u: Any,
    v: Any,
    off: Any,
    diagonal: Any,
    of_out: Any,
    of_off: Any,
    of_diagonal: Any,
) -> None:
    """Derivative of `all_entries`: `of_off` and `of_diagonal` are filled from `of_out`."""
    k = of_out.shape[1]
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        width = -(-n // LANES) * LANES
        P = np.empty((k + 1, n, width), off.dtype)
        D, E = np.zeros((n, width), off.dtype), np.zeros((n, width), off.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            w, own = off[h, c:d], diagonal[h, a:b]
            _powers(P, tail, head, w, own)
            of_off[h, c:d] = 0.0
            of_diagonal[h, a:b] = 0.0
            D[:] = 0.0
            for j in range(k, 0, -1):  # D becomes the derivative in T^j: its own, and T times that in T^(j + 1)
                for i in range(n):
                    for t in range(width):
                        E[i, t] = own[i] * D[i, t]
                for e in range(d - c):
                    _add(E[tail[e]], w[e], D[head[e]])
                    _add(E[head[e]], w[e], D[tail[e]])
                at = pair_first[g]
                for i in range(n):
                    for t in range(n):
                        E[i, t] += of_out[h, j - 1, at + t]
                    at += n
                D, E = E, D
                if j > 1:
                    for i in range(n):
                        of_diagonal[h, a + i] += _dot(D[i], P[j - 1, i])
                    for e in range(d - c):
                        x, y = tail[e], head[e]
                        of_off[h, c + e] += _dot(D[x], P[j - 1, y]) + _dot(D[y], P[j - 1, x])
            for i in range(n):
                of_diagonal[h, a + i] += D[i, i]
            for e in range(d - c):
                of_off[h, c + e] += D[tail[e], head[e]] + D[head[e], tail[e]]
