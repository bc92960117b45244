# mypy: disable-error-code="untyped-decorator"
"""Compiled leverages of the edges of many small graphs, for several conductances; imported only where numba is.

Nodes are eliminated from the last to the first: a star of conductances becomes a mesh, and nothing is subtracted. In
molecules most nodes have one or two neighbours before them, so that little fills in. Put back from the first to the
last, every node gets its resistances to these neighbours. Leverages are right to rounding, however far the conductances
spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST

# Matrices are dense in memory; of them, only the columns `before[first[k] : last[k]]`, all below `k`, of every row `k`
# are used: the neighbours of a node when it is eliminated.


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
        for s in range(first[k], last[k]):
            a[k, before[s]] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST)
def _eliminate(a: Any, inverse: Any, tail: Any, head: Any, w: Any, first: Any, last: Any, before: Any) -> None:
    """`a[k, i]` becomes the conductance between `k` and `i` when `k` is eliminated, `inverse[k]` that of their sum."""
    _clear(a, first, last, before)
    for e in range(len(tail)):
        a[max(tail[e], head[e]), min(tail[e], head[e])] += w[e]
    for k in range(len(first) - 1, -1, -1):
        if first[k] == last[k]:
            continue
        total = 0.0
        for s in range(first[k], last[k]):
            total += a[k, before[s]]
        inverse[k] = 1.0 / total
        for s in range(first[k] + 1, last[k]):
            f = a[k, before[s]] * inverse[k]
            for t in range(first[k], s):
                a[before[s], before[t]] += f * a[k, before[t]]


@njit(cache=True, nogil=True, fastmath=FAST)
def _resistances(R: Any, a: Any, inverse: Any, first: Any, last: Any, before: Any) -> None:
    r"""`R` becomes the effective resistances between `k` and its neighbours before it.

    .. math:: R_{kj} = 1 / d_k + \sum_i f_i R_{ij} - \sum_{i < l} f_i f_l R_{il}, \qquad f_i = a_{ki} / d_k
    """
    for k in range(len(first)):
        common = inverse[k]
        for s in range(first[k], last[k]):
            i, f = before[s], a[k, before[s]] * inverse[k]
            R[k, i] = 0.0
            for t in range(first[k], s):
                j, g = before[t], a[k, before[t]] * inverse[k]
                R[k, i] += g * R[i, j]
                R[k, j] += f * R[i, j]
                common -= f * g * R[i, j]
        for s in range(first[k], last[k]):
            R[k, before[s]] += common


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
        before, a, R, inverse = np.empty(n * n, np.int64), np.empty((n, n)), np.empty((n, n)), np.empty(n)
        _pattern(tail, head, mark, first, last, before)
        for h in range(w.shape[0]):
            _eliminate(a, inverse, tail, head, w[h, c:d], first, last, before)
            _resistances(R, a, inverse, first, last, before)
            for e in range(d - c):
                leverage[h, c + e] = w[h, c + e] * R[max(tail[e], head[e]), min(tail[e], head[e])]


@njit(cache=True, nogil=True, fastmath=FAST)
def _of_resistances(of_a: Any, of_R: Any, a: Any, R: Any, inverse: Any, first: Any, last: Any, before: Any) -> None:
    """`of_a` becomes the derivative of `_resistances` in `a`; `of_R` is used up."""
    for k in range(len(first) - 1, -1, -1):
        d, total = inverse[k], 0.0
        for s in range(first[k], last[k]):
            of_a[k, before[s]] = 0.0
            total += of_R[k, before[s]]
        of_inverse = total
        for s in range(first[k] + 1, last[k]):
            i = before[s]
            for t in range(first[k], s):
                j = before[t]
                f, g = a[k, i] * d, a[k, j] * d
                of_f, of_g = (of_R[k, j] - total * g) * R[i, j], (of_R[k, i] - total * f) * R[i, j]
                of_R[i, j] += of_R[k, j] * f + of_R[k, i] * g - total * f * g
                of_a[k, i] += of_f * d
                of_a[k, j] += of_g * d
                of_inverse += of_f * a[k, i] + of_g * a[k, j]
        for s in range(first[k], last[k]):
            of_a[k, before[s]] -= of_inverse * d * d


@njit(cache=True, nogil=True, fastmath=FAST)
def _of_eliminate(of_a: Any, a: Any, inverse: Any, first: Any, last: Any, before: Any) -> None:
    """`of_a`, the derivative in the conductances met in elimination, becomes that in those at the start."""
    for k in range(len(first)):
        d, of_inverse = inverse[k], 0.0
        for s in range(first[k] + 1, last[k]):
            i = before[s]
            for t in range(first[k], s):
                j = before[t]
                of_a[k, i] += of_a[i, j] * a[k, j] * d
                of_a[k, j] += of_a[i, j] * a[k, i] * d
                of_inverse += of_a[i, j] * a[k, i] * a[k, j]
        for s in range(first[k], last[k]):
            of_a[k, before[s]] -= of_inverse * d * d


@njit(cache=True, nogil=True, fastmath=FAST)
def gradients(node_first: Any, edge_first: Any, u: Any, v: Any, w: Any, of_leverage: Any, of_w: Any) -> None:
    """Derivative of `leverages`: `of_w` is filled from `of_leverage`."""
    for g in range(len(node_first) - 1):
        n, c, d = node_first[g + 1] - node_first[g], edge_first[g], edge_first[g + 1]
        tail, head = u[c:d] - node_first[g], v[c:d] - node_first[g]
        mark, first, last = np.empty((n, n), np.bool_), np.empty(n, np.int64), np.empty(n, np.int64)
        before, a, R, inverse = np.empty(n * n, np.int64), np.empty((n, n)), np.empty((n, n)), np.empty(n)
        of_a, of_R = np.empty((n, n)), np.empty((n, n))
        _pattern(tail, head, mark, first, last, before)
        for h in range(w.shape[0]):
            _eliminate(a, inverse, tail, head, w[h, c:d], first, last, before)
            _resistances(R, a, inverse, first, last, before)
            _clear(of_R, first, last, before)
            for e in range(d - c):
                of_R[max(tail[e], head[e]), min(tail[e], head[e])] += of_leverage[h, c + e] * w[h, c + e]
            _of_resistances(of_a, of_R, a, R, inverse, first, last, before)
            _of_eliminate(of_a, a, inverse, first, last, before)
            for e in range(d - c):
                s, t = max(tail[e], head[e]), min(tail[e], head[e])
                of_w[h, c + e] = of_leverage[h, c + e] * R[s, t] + of_a[s, t]
