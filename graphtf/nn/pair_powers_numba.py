# mypy: disable-error-code="untyped-decorator"
"""Compiled polynomials in the operators of many small graphs, all entries; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST
from graphtf.nn.powers_numba import LANES, _add, _dot, _powers


@njit(cache=True, nogil=True, fastmath=FAST)
def all_entries(
    node_first: Any,
    edge_first: Any,
    u: Any,
    v: Any,
    off: Any,
    diagonal: Any,
    maps: Any,
    out: Any,
    node: Any,
    edge: Any,
) -> None:
    """Entries of polynomials in `T`, and of `T^1 ... T^k` on the diagonal and on the edges.

    The powers of one graph stay in the cache; what is written is the polynomials alone.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        off: `[H, m]` entries of `T` on the edges.
        diagonal: `[H, n]` entries on the diagonal.
        maps: `[H, C, k + 1]` coefficients.
        out: `[G, C, N, N]` sum over the heads, or `[G, H C, N, N]` head after head; zeros, of which all but the padding
            are filled.
        node: `[H, n, k]`, is filled.
        edge: `[H, m, k]`, is filled.
    """
    heads, rows, k = maps.shape[0], maps.shape[1], maps.shape[2] - 1
    apart = out.shape[1] > rows
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        width = -(-n // LANES) * LANES
        P, total = np.empty(((k + 1) * n, width), off.dtype), np.zeros((rows, n * width), off.dtype)
        powers, square = P.reshape(k + 1, n * width), total.reshape(rows, n, width)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(heads):
            _powers(P, n, tail, head, off[h, c:d], diagonal[h, a:b])
            for j in range(1, k + 1):
                for i in range(n):
                    node[h, a + i, j - 1] = P[j * n + i, i]
                for e in range(d - c):
                    edge[h, c + e, j - 1] = P[j * n + tail[e], head[e]]
                for r in range(rows):
                    _add(total, r, maps[h, r, j], powers, j)
            for r in range(rows):
                for i in range(n):
                    square[r, i, i] += maps[h, r, 0]
            if apart or h == heads - 1:
                for r in range(rows):
                    for i in range(n):
                        out[g, h * rows + r if apart else r, i, :n] = square[r, i, :n]
                total[:] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def all_gradients(
    node_first: Any,
    edge_first: Any,
    u: Any,
    v: Any,
    off: Any,
    diagonal: Any,
    maps: Any,
    of_out: Any,
    of_node: Any,
    of_edge: Any,
    of_off: Any,
    of_diagonal: Any,
    of_maps: Any,
) -> None:
    """Derivative of `all_entries`: `of_off`, `of_diagonal` and `of_maps` are filled."""
    heads, rows, k = maps.shape[0], maps.shape[1], maps.shape[2] - 1
    apart = of_out.shape[1] > rows
    of_maps[:] = 0.0
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        width = -(-n // LANES) * LANES
        P, of_total = np.empty(((k + 1) * n, width), off.dtype), np.zeros((rows, n * width), off.dtype)
        powers, square = P.reshape(k + 1, n * width), of_total.reshape(rows, n, width)
        D, E = np.zeros((n, width), off.dtype), np.zeros((n, width), off.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(heads):
            if apart or h == 0:
                for r in range(rows):
                    for i in range(n):
                        square[r, i, :n] = of_out[g, h * rows + r if apart else r, i, :n]
            w, own = off[h, c:d], diagonal[h, a:b]
            _powers(P, n, tail, head, w, own)
            of_off[h, c:d] = 0.0
            of_diagonal[h, a:b] = 0.0
            for r in range(rows):
                for i in range(n):
                    of_maps[h, r, 0] += square[r, i, i]
            D[:] = 0.0
            for j in range(k, 0, -1):  # D becomes the derivative in T^j: its own, and T times that in T^(j + 1)
                E[:] = 0.0
                for i in range(n):
                    if own[i] != 0.0:
                        _add(E, i, own[i], D, i)
                for e in range(d - c):
                    _add(E, tail[e], w[e], D, head[e])
                    _add(E, head[e], w[e], D, tail[e])
                for i in range(n):
                    E[i, i] += of_node[h, a + i, j - 1]
                for e in range(d - c):
                    E[tail[e], head[e]] += of_edge[h, c + e, j - 1]
                whole = E.reshape(1, n * width)
                for r in range(rows):
                    _add(whole, 0, maps[h, r, j], of_total, r)
                    of_maps[h, r, j] += _dot(of_total, r, powers, j)
                D, E = E, D
                if j > 1:
                    before = (j - 1) * n
                    for i in range(n):
                        of_diagonal[h, a + i] += _dot(D, i, P, before + i)
                    for e in range(d - c):
                        x, y = tail[e], head[e]
                        of_off[h, c + e] += _dot(D, x, P, before + y) + _dot(D, y, P, before + x)
            for i in range(n):
                of_diagonal[h, a + i] += D[i, i]
            for e in range(d - c):
                of_off[h, c + e] += D[tail[e], head[e]] + D[head[e], tail[e]]
