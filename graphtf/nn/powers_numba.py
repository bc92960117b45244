# mypy: disable-error-code="untyped-decorator"
"""Compiled powers of the operators of many small graphs, several at a time; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST

LANES = 8  # rows are padded to a multiple of this many float32, half of what a vector register holds

# Rows are named by their numbers: a slice, as in _add(D[i], f, P[j]), counts references, which costs more than the row.


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _add(out: Any, i: int, factor: float, x: Any, j: int) -> None:
    """`out[i] += factor x[j]`, of matrices."""
    for c in range(out.shape[1]):
        out[i, c] += factor * x[j, c]


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _dot(x: Any, i: int, y: Any, j: int) -> float:
    """Product of the rows `x[i]` and `y[j]`."""
    total = x.dtype.type(0)
    for c in range(x.shape[1]):
        total += x[i, c] * y[j, c]
    return total


@njit(cache=True, nogil=True, fastmath=FAST)
def _powers(P: Any, n: int, u: Any, v: Any, off: Any, diagonal: Any) -> None:
    """`P[j n + i]` becomes row `i` of `T^j`, for `j >= 1`."""
    for i in range(n, len(P)):
        for c in range(P.shape[1]):
            P[i, c] = 0.0
    for i in range(n):
        P[n + i, i] = diagonal[i]
    for e in range(len(u)):
        P[n + u[e], v[e]] += off[e]  # columns may be parallel
        P[n + v[e], u[e]] += off[e]
    for j in range(2 * n, len(P), n):
        for i in range(n):
            if diagonal[i] != 0.0:
                _add(P, j + i, diagonal[i], P, j - n + i)
        for e in range(len(u)):
            a, b, w = u[e], v[e], off[e]
            _add(P, j + a, w, P, j - n + b)
            _add(P, j + b, w, P, j - n + a)


@njit(cache=True, nogil=True, fastmath=FAST)
def entries(node_first: Any, edge_first: Any, u: Any, v: Any, off: Any, diagonal: Any, node: Any, edge: Any) -> None:
    """Entries of `T^1 ... T^k` on the diagonal and on the edges.

    `T` is symmetric, so that half of the powers are enough: entries of `T^(h + l)` are products of rows of `T^l` and of
    the last one computed, `T^h`.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        off: `[H, m]` entries of `T` on the edges.
        diagonal: `[H, n]` entries on the diagonal.
        node: `[H, n, k]`, is filled.
        edge: `[H, m, k]`, is filled.
    """
    k = node.shape[2]
    half = (k + 1) // 2
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        P = np.empty(((half + 1) * n, -(-n // LANES) * LANES), off.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            _powers(P, n, tail, head, off[h, c:d], diagonal[h, a:b])
            for power in range(1, half + 1):
                s = power * n
                for i in range(n):
                    node[h, a + i, power - 1] = P[s + i, i]
                for e in range(d - c):
                    edge[h, c + e, power - 1] = P[s + tail[e], head[e]]
            top = half * n
            for power in range(half + 1, k + 1):
                s = power * n - top
                for i in range(n):
                    node[h, a + i, power - 1] = _dot(P, s + i, P, top + i)
                for e in range(d - c):
                    edge[h, c + e, power - 1] = _dot(P, s + tail[e], P, top + head[e])


@njit(cache=True, nogil=True, fastmath=FAST)
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
    """Derivative of `entries`: `of_off` and `of_diagonal` (unless it has no rows) are filled."""
    k, with_diagonal = of_node.shape[2], len(of_diagonal) > 0
    half = (k + 1) // 2
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        P = np.empty(((half + 1) * n, -(-n // LANES) * LANES), off.dtype)
        D = np.empty_like(P)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(off.shape[0]):
            w, own = off[h, c:d], diagonal[h, a:b]
            _powers(P, n, tail, head, w, own)
            D[:] = 0.0
            for power in range(1, half + 1):
                s = power * n
                for i in range(n):
                    D[s + i, i] = of_node[h, a + i, power - 1]
                for e in range(d - c):
                    D[s + tail[e], head[e]] += of_edge[h, c + e, power - 1]
            top = half * n
            for power in range(half + 1, k + 1):
                s = power * n - top
                for i in range(n):
                    f = of_node[h, a + i, power - 1]
                    if s == top:
                        _add(D, top + i, f + f, P, top + i)
                    else:
                        _add(D, s + i, f, P, top + i)
                        _add(D, top + i, f, P, s + i)
                for e in range(d - c):
                    f, x, y = of_edge[h, c + e, power - 1], tail[e], head[e]
                    _add(D, s + x, f, P, top + y)
                    _add(D, top + y, f, P, s + x)
            of_off[h, c:d] = 0.0
            if with_diagonal:
                of_diagonal[h, a:b] = 0.0
            for j in range(len(P) - n, n, -n):
                for i in range(n):
                    if with_diagonal:
                        of_diagonal[h, a + i] += _dot(D, j + i, P, j - n + i)
                    if own[i] != 0.0:
                        _add(D, j - n + i, own[i], D, j + i)
                for e in range(d - c):
                    x, y = tail[e], head[e]
                    of_off[h, c + e] += _dot(D, j + x, P, j - n + y) + _dot(D, j + y, P, j - n + x)
                    _add(D, j - n + x, w[e], D, j + y)
                    _add(D, j - n + y, w[e], D, j + x)
            if with_diagonal:
                for i in range(n):
                    of_diagonal[h, a + i] += D[n + i, i]
            for e in range(d - c):
                of_off[h, c + e] += D[n + tail[e], head[e]] + D[n + head[e], tail[e]]
