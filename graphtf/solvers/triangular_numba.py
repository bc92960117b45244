"""Forward and backward substitution for eight or four right-hand sides at once, in compiled code (needs numba)."""

from __future__ import annotations

import numpy as np
from numba import njit

COLUMNS = 8  # one cache line of float64 a row


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def substitute(starts, rows, entries, inverse, x):  # type: ignore[no-untyped-def]
    r"""Solve :math:`C D C^\top x = b` in place, with a unit lower triangular `C` and a diagonal `D`.

    Every entry of the factor is read twice and serves eight columns each time, which is what makes it several times
    faster than column after column.

    Args:
        starts: `[n + 1]` int32 where the columns of `C` start; the entry of the diagonal, which is one, comes first.
        rows: `[nnz]` int32 rows.
        entries: `[nnz]` entries of `C`.
        inverse: `[n]` reciprocals of `D`.
        x: `[n, 8]` right-hand sides, overwritten with the solutions.
    """
    n = starts.shape[0] - 1
    for j in range(np.uint64(n)):  # unsigned: a negative index would have to be looked out for
        a, b, c, d = x[j, 0], x[j, 1], x[j, 2], x[j, 3]
        e, f, g, h = x[j, 4], x[j, 5], x[j, 6], x[j, 7]
        for t in range(np.uint64(starts[j] + 1), np.uint64(starts[j + np.uint64(1)])):
            i, v = np.uint64(rows[t]), entries[t]
            x[i, 0] -= v * a
            x[i, 1] -= v * b
            x[i, 2] -= v * c
            x[i, 3] -= v * d
            x[i, 4] -= v * e
            x[i, 5] -= v * f
            x[i, 6] -= v * g
            x[i, 7] -= v * h
    for back in range(n):
        j = np.uint64(n - 1 - back)
        s = inverse[j]
        a, b, c, d = s * x[j, 0], s * x[j, 1], s * x[j, 2], s * x[j, 3]
        e, f, g, h = s * x[j, 4], s * x[j, 5], s * x[j, 6], s * x[j, 7]
        for t in range(np.uint64(starts[j] + 1), np.uint64(starts[j + np.uint64(1)])):
            i, v = np.uint64(rows[t]), entries[t]
            a -= v * x[i, 0]
            b -= v * x[i, 1]
            c -= v * x[i, 2]
            d -= v * x[i, 3]
            e -= v * x[i, 4]
            f -= v * x[i, 5]
            g -= v * x[i, 6]
            h -= v * x[i, 7]
        x[j, 0], x[j, 1], x[j, 2], x[j, 3] = a, b, c, d
        x[j, 4], x[j, 5], x[j, 6], x[j, 7] = e, f, g, h


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def substitute_half(starts, rows, entries, inverse, x):  # type: ignore[no-untyped-def]
    """The same for `[n, 4]`, the share of one of two threads."""
    n = starts.shape[0] - 1
    for j in range(np.uint64(n)):  # unsigned: a negative index would have to be looked out for
        a, b, c, d = x[j, 0], x[j, 1], x[j, 2], x[j, 3]
        for t in range(np.uint64(starts[j] + 1), np.uint64(starts[j + np.uint64(1)])):
            i, v = np.uint64(rows[t]), entries[t]
            x[i, 0] -= v * a
            x[i, 1] -= v * b
            x[i, 2] -= v * c
            x[i, 3] -= v * d
    for back in range(n):
        j = np.uint64(n - 1 - back)
        s = inverse[j]
        a, b, c, d = s * x[j, 0], s * x[j, 1], s * x[j, 2], s * x[j, 3]
        for t in range(np.uint64(starts[j] + 1), np.uint64(starts[j + np.uint64(1)])):
            i, v = np.uint64(rows[t]), entries[t]
            a -= v * x[i, 0]
            b -= v * x[i, 1]
            c -= v * x[i, 2]
            d -= v * x[i, 3]
        x[j, 0], x[j, 1], x[j, 2], x[j, 3] = a, b, c, d
