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
def _walk(w: Any, tail: Any, head: Any, off: Any, scale: Any, own: Any) -> None:
    """`off` and `own` become the entries of `T` on edges and diagonal, `scale` `D^(-1/2)`, 0 on isolated nodes."""
    n = len(scale)
    for i in range(n):
        scale[i] = 0.0
    for e in range(len(w)):
        scale[tail[e]] += w[e]
        scale[head[e]] += w[e]
    for i in range(n):
        own[i] = 1.0 if scale[i] == 0.0 else 0.0
        if scale[i] > 0.0:
            scale[i] = 1.0 / np.sqrt(scale[i])
        elif scale[i] < 0.0:
            scale[i] = 0.0
    for e in range(len(w)):
        off[e] = w[e] * scale[tail[e]] * scale[head[e]]


@njit(cache=True, nogil=True, fastmath=FAST)
def _entries(P: Any, tail: Any, head: Any, off: Any, own: Any, node: Any, edge: Any) -> None:
    """Entries of `T^1 ... T^k` on the edges from half of the powers, then those on the diagonal from these."""
    n, k = node.shape
    half = (k + 1) // 2
    top = half * n
    for e in range(len(off)):
        x, y = tail[e], head[e]
        for j in range(half):
            edge[e, j] = P[(j + 1) * n + x, y]
        for j in range(half, k):
            edge[e, j] = _dot(P, (j + 1 - half) * n + x, P, top + y)
    for i in range(n):
        for j in range(k):
            node[i, j] = own[i]
    for e in range(len(off)):  # a return ends with a step along some edge
        x, y, w = tail[e], head[e], off[e]
        for j in range(1, k):
            step = w * edge[e, j - 1]
            node[x, j] += step
            node[y, j] += step


@njit(cache=True, nogil=True, fastmath=FAST)
def entries(node_first: Any, edge_first: Any, u: Any, v: Any, weight: Any, node: Any, edge: Any) -> None:
    """Entries of `T^1 ... T^k` on the diagonal and on the edges, `T = I - L` normalized.

    `T` is symmetric, so that half of the powers are enough: entries of `T^(h + l)` are products of rows of `T^l` and of
    the last one computed, `T^h`.

    Args:
        node_first: `[G + 1]` where the nodes of every graph start.
        edge_first: `[G + 1]` where its edges start.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        weight: `[H, m]` conductances.
        node: `[H, n, k]`, is filled.
        edge: `[H, m, k]`, is filled.
    """
    half = (node.shape[2] + 1) // 2
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        P = np.empty(((half + 1) * n, -(-n // LANES) * LANES), weight.dtype)
        off, scale, own = np.empty(d - c, weight.dtype), np.empty(n, weight.dtype), np.empty(n, weight.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(weight.shape[0]):
            _walk(weight[h, c:d], tail, head, off, scale, own)
            _powers(P, n, tail, head, off, own)
            _entries(P, tail, head, off, own, node[h, a:b], edge[h, c:d])


@njit(cache=True, nogil=True, fastmath=FAST)
def _gradients(
    P: Any, D: Any, tail: Any, head: Any, off: Any, edge: Any, of_node: Any, of_edge: Any, of_off: Any
) -> None:
    """`of_off` becomes the derivative of `_entries` in `off`; `D`, like `P`, is filled with those in the powers."""
    n, k = of_node.shape
    half = (k + 1) // 2
    top = half * n
    factor = np.empty(k, off.dtype)
    D[:] = 0.0
    for e in range(len(off)):
        x, y = tail[e], head[e]
        total = off.dtype.type(0)
        for j in range(k - 1):
            both = of_node[x, j + 1] + of_node[y, j + 1]
            factor[j] = of_edge[e, j] + off[e] * both
            total += edge[e, j] * both
        factor[k - 1] = of_edge[e, k - 1]
        of_off[e] = total
        for j in range(half):
            D[(j + 1) * n + x, y] += factor[j]
        for j in range(half, k):
            s = (j + 1 - half) * n
            _add(D, s + x, factor[j], P, top + y)
            _add(D, top + y, factor[j], P, s + x)
    for s in range(top, n, -n):
        before = s - n
        for e in range(len(off)):
            x, y = tail[e], head[e]
            total = off.dtype.type(0)
            for c in range(P.shape[1]):
                total += D[s + x, c] * P[before + y, c] + D[s + y, c] * P[before + x, c]
            of_off[e] += total
            _add(D, before + x, off[e], D, s + y)
            _add(D, before + y, off[e], D, s + x)
    for e in range(len(off)):
        of_off[e] += D[n + tail[e], head[e]] + D[n + head[e], tail[e]]


@njit(cache=True, nogil=True, fastmath=FAST)
def _of_weights(tail: Any, head: Any, off: Any, scale: Any, of_off: Any, sums: Any, of_w: Any) -> None:
    r"""Derivative in the conductances from `of_off`, `g`, that in the entries :math:`T_e = w_e s_u s_v`.

    .. math:: \frac{\partial}{\partial w_e} = s_u s_v g_e - \frac{r_u + r_v}{2}, \qquad
        r_i = s_i^2 \sum_{e \ni i} g_e T_e, \qquad s = D^{-1/2}
    """
    for i in range(len(scale)):
        sums[i] = 0.0
    for e in range(len(off)):
        both = off[e] * of_off[e]
        sums[tail[e]] += both
        sums[head[e]] += both
    for i in range(len(scale)):
        sums[i] *= 0.5 * scale[i] * scale[i]
    for e in range(len(off)):
        x, y = tail[e], head[e]
        of_w[e] = of_off[e] * scale[x] * scale[y] - sums[x] - sums[y]


@njit(cache=True, nogil=True, fastmath=FAST)
def gradients(
    node_first: Any,
    edge_first: Any,
    u: Any,
    v: Any,
    weight: Any,
    edge: Any,
    of_node: Any,
    of_edge: Any,
    of_weight: Any,
) -> None:
    """Derivative of `entries`, of which `edge` is known: `of_weight` is filled."""
    half = (of_node.shape[2] + 1) // 2
    for g in range(len(node_first) - 1):
        a, b, c, d = node_first[g], node_first[g + 1], edge_first[g], edge_first[g + 1]
        n = b - a
        if n == 0:
            continue
        P = np.empty(((half + 1) * n, -(-n // LANES) * LANES), weight.dtype)
        D = np.empty_like(P)
        off, of_off = np.empty(d - c, weight.dtype), np.empty(d - c, weight.dtype)
        scale, own, sums = np.empty(n, weight.dtype), np.empty(n, weight.dtype), np.empty(n, weight.dtype)
        tail, head = u[c:d] - a, v[c:d] - a
        for h in range(weight.shape[0]):
            _walk(weight[h, c:d], tail, head, off, scale, own)
            _powers(P, n, tail, head, off, own)
            _gradients(P, D, tail, head, off, edge[h, c:d], of_node[h, a:b], of_edge[h, c:d], of_off)
            _of_weights(tail, head, off, scale, of_off, sums, of_weight[h, c:d])
