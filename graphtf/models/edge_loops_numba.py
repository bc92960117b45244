# mypy: disable-error-code="untyped-decorator"
"""Compiled loops over the edges of a batch of graphs, forward and backward; imported only where numba is installed.

Each works on the edges `a ... b - 1`, and writes to no other node than the ends of these: batches are split between
threads where a graph ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.compiled import FAST


@njit(cache=True, nogil=True, fastmath=FAST)
def gine(a: int, b: int, source: Any, target: Any, h: Any, e: Any, total: Any) -> None:
    """`total[i] += relu(h[j] + e)` over the edges from `j` to `i`."""
    zero = h.dtype.type(0)
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        for c in range(h.shape[1]):
            value = h[j, c] + e[edge, c]
            total[i, c] += zero if value <= zero else value  # so that NaN is not lost


@njit(cache=True, nogil=True, fastmath=FAST)
def gine_gradient(a: int, b: int, source: Any, target: Any, h: Any, e: Any, grad: Any, of_h: Any, of_e: Any) -> None:
    """Derivative of `gine`: `of_e` is set, `of_h` is added to."""
    zero = h.dtype.type(0)
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        for c in range(h.shape[1]):
            value = zero if h[j, c] + e[edge, c] <= zero else grad[i, c]
            of_e[edge, c] = value
            of_h[j, c] += value


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _sums(row: Any, d: int, out: Any) -> None:
    """Sums of the parts of length `d`; a constant length lets the compiler unroll."""
    for h in range(len(out)):
        value = row.dtype.type(0)
        if d == 8:
            for c in range(8):
                value += row[8 * h + c]
        elif d == 9:
            for c in range(9):
                value += row[9 * h + c]
        elif d == 16:
            for c in range(16):
                value += row[16 * h + c]
        else:
            for c in range(h * d, h * d + d):
                value += row[c]
        out[h] = value


@njit(cache=True, nogil=True, fastmath=FAST, inline="always")
def _repeat(x: Any, d: int, row: Any) -> None:
    """Every entry `d` times, the reverse of `_sums`."""
    for h in range(len(x)):
        value = x[h]
        if d == 8:
            for c in range(8):
                row[8 * h + c] = value
        elif d == 9:
            for c in range(9):
                row[9 * h + c] = value
        elif d == 16:
            for c in range(16):
                row[16 * h + c] = value
        else:
            for c in range(h * d, h * d + d):
                row[c] = value


@njit(cache=True, nogil=True, fastmath=FAST)
def attention(
    a: int, b: int, source: Any, target: Any, qkv: Any, e: Any, w: Any, alpha: Any, largest: Any, total: Any, out: Any
) -> None:
    """Attention along edges: `w`, `alpha` are set, `out` is added to.

    Args:
        a: first edge.
        b: one past the last edge.
        source: `[E]` senders.
        target: `[E]` receivers.
        qkv: `[n, 3 C]` queries (scaled), keys and values.
        e: `[E, C]` mapped edge states.
        w: `[E, C]` products of query, key and edge.
        alpha: `[E, H]` attention.
        largest: `[n, H]`, less than every logit.
        total: `[n, H]` zeros.
        out: `[n, C]` zeros.
    """
    C, H = e.shape[1], alpha.shape[1]
    row = np.empty(C, e.dtype)
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        for c in range(C):
            w[edge, c] = qkv[i, c] * qkv[j, C + c] * e[edge, c]
        _sums(w[edge], C // H, alpha[edge])
        for h in range(H):
            largest[i, h] = max(largest[i, h], alpha[edge, h])
    for edge in range(a, b):
        i = target[edge]
        for h in range(H):
            value = np.exp(alpha[edge, h] - largest[i, h])
            alpha[edge, h] = value
            total[i, h] += value
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        for h in range(H):
            alpha[edge, h] /= total[i, h]
        _repeat(alpha[edge], C // H, row)
        for c in range(C):
            out[i, c] += row[c] * qkv[j, 2 * C + c]


@njit(cache=True, nogil=True, fastmath=FAST)
def attention_gradient(
    a: int,
    b: int,
    source: Any,
    target: Any,
    qkv: Any,
    e: Any,
    alpha: Any,
    of_w: Any,
    of_out: Any,
    of_qkv: Any,
    of_e: Any,
    of_alpha: Any,
    mean: Any,
) -> None:
    """Derivative of `attention`: `of_e` is set, `of_qkv` is added to; `of_alpha` and `mean` (zeros) are scratch."""
    C, H = e.shape[1], alpha.shape[1]
    row, logit = np.empty(C, e.dtype), np.empty(H, e.dtype)
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        for c in range(C):
            row[c] = of_out[i, c] * qkv[j, 2 * C + c]
        _sums(row, C // H, of_alpha[edge])
        for h in range(H):
            mean[i, h] += alpha[edge, h] * of_alpha[edge, h]
    for edge in range(a, b):
        j, i = source[edge], target[edge]
        _repeat(alpha[edge], C // H, row)
        for c in range(C):
            of_qkv[j, 2 * C + c] += row[c] * of_out[i, c]
        for h in range(H):
            logit[h] = alpha[edge, h] * (of_alpha[edge, h] - mean[i, h])
        _repeat(logit, C // H, row)
        for c in range(C):
            g = row[c] + of_w[edge, c]
            q, k, x = qkv[i, c], qkv[j, C + c], e[edge, c]
            of_e[edge, c] = g * q * k
            of_qkv[i, c] += g * k * x
            of_qkv[j, C + c] += g * q * x
