# mypy: disable-error-code="untyped-decorator"
"""Compiled leverages of the edges of many small graphs, for several conductances; imported only where numba is.

Nodes are eliminated, the last first or, where that fills in, those with few neighbours first: a star of conductances
becomes a mesh, and nothing is subtracted. Put back in the opposite order, every node gets its resistances to the
neighbours that it had. Leverages are right to rounding, however far the conductances spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST

# Nodes are numbered from the one that is eliminated last. Matrices are dense in memory; of every row `k` only the
# columns `before[first[k] : last[k]]` are used, all below `k`: the neighbours of the node when it is eliminated.


@njit(cache=True, nogil=True)
def _order(tail: Any, head: Any, mark: Any, degree: Any, place: Any) -> None:
    """`place` becomes a numbering from the end of which nodes are eliminated: those with fewest neighbours first."""
    n = len(place)
    for i in range(n):
        place[i], degree[i] = -1, 0
        for k in range(n):
            mark[i, k] = False
    for e in range(len(tail)):
        u, v = tail[e], head[e]
        if not mark[u, v]:
            mark[u, v] = mark[v, u] = True
            degree[u] += 1
            degree[v] += 1
    for k in range(n - 1, -1, -1):
        least = -1
        for i in range(n):
            if place[i] < 0 and (least < 0 or degree[i] <= degree[least]):
                least = i
        place[least] = k
        if degree[least] == 0:
            continue
        for i in range(n):
            if not mark[least, i] or place[i] >= 0:
                continue
            degree[i] -= 1
            for j in range(i):
                if mark[least, j] and place[j] < 0 and not mark[i, j]:
                    mark[i, j] = mark[j, i] = True
                    degree[i] += 1
                    degree[j] += 1


@njit(cache=True, nogil=True)
def _pattern(
    tail: Any, head: Any, place: Any, mark: Any, row: Any, column: Any, first: Any, last: Any, before: Any
) -> int:
    """Eliminate by the numbering `place`: the ends of every edge, the earlier eliminated in `row`, and `before`."""
    n, number = len(place), 0
    for k in range(n):
        for i in range(k):
            mark[k, i] = False
    for e in range(len(tail)):
        u, v = place[tail[e]], place[head[e]]
        row[e], column[e] = max(u, v), min(u, v)
        mark[row[e], column[e]] = True
    for k in range(n - 1, -1, -1):
        first[k] = number
        for i in range(k):
            if mark[k, i]:
                for s in range(first[k], number):
                    mark[i, before[s]] = True
                before[number] = i
                number += 1
        last[k] = number
    return number


@njit(cache=True, nogil=True)
def _structure(tail: Any, head: Any, n: int) -> Any:
    """`row`, `column`, `first`, `last` and `before` of a graph: as it is numbered, if little fills in then."""
    place, mark = np.arange(n), np.empty((n, n), np.bool_)
    row, column, before = np.empty_like(tail), np.empty_like(tail), np.empty(n * n, np.int64)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    if _pattern(tail, head, place, mark, row, column, first, last, before) > 2 * len(tail):
        _order(tail, head, mark, first, place)
        _pattern(tail, head, place, mark, row, column, first, last, before)
    return row, column, first, last, before


@njit(cache=True, nogil=True, fastmath=FAST)
def _clear(a: Any, first: Any, last: Any, before: Any) -> None:
    for k in range(len(first)):
        for s in range(first[k], last[k]):
            a[k, before[s]] = 0.0


@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _eliminate(a: Any, inverse: Any, row: Any, column: Any, w: Any, first: Any, last: Any, before: Any) -> None:
    """`a[k, i]` becomes the conductance between `k` and `i` when `k` is eliminated, `inverse[k]` that of their sum."""
    _clear(a, first, last, before)
    for e in range(len(row)):
        a[row[e], column[e]] += w[e]
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

    Little is lost by the difference: :math:`f_i f_l d_k` is a conductance of the mesh, so that the last sum is below
    the number of neighbours, over :math:`d_k`.
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
        a, R, inverse = np.empty((n, n)), np.empty((n, n)), np.empty(n)
        row, column, first, last, before = _structure(u[c:d] - node_first[g], v[c:d] - node_first[g], n)
        for h in range(w.shape[0]):
            _eliminate(a, inverse, row, column, w[h, c:d], first, last, before)
            _resistances(R, a, inverse, first, last, before)
            for e in range(d - c):
                leverage[h, c + e] = w[h, c + e] * R[row[e], column[e]]


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
        a, R, inverse = np.empty((n, n)), np.empty((n, n)), np.empty(n)
        of_a, of_R = np.empty((n, n)), np.empty((n, n))
        row, column, first, last, before = _structure(u[c:d] - node_first[g], v[c:d] - node_first[g], n)
        for h in range(w.shape[0]):
            _eliminate(a, inverse, row, column, w[h, c:d], first, last, before)
            _resistances(R, a, inverse, first, last, before)
            _clear(of_R, first, last, before)
            for e in range(d - c):
                of_R[row[e], column[e]] += of_leverage[h, c + e] * w[h, c + e]
            _of_resistances(of_a, of_R, a, R, inverse, first, last, before)
            _of_eliminate(of_a, a, inverse, first, last, before)
            for e in range(d - c):
                at = row[e], column[e]
                of_w[h, c + e] = of_leverage[h, c + e] * R[at] + of_a[at]
