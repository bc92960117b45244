# mypy: disable-error-code="untyped-decorator"
"""Compiled sweeps of symmetric Gauss-Seidel; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from graphtf.solvers.prefetch_numba import prefetch

WIDTH = 16  # right-hand sides of a sweep: a row of float32 is one cache line
AHEAD = np.uint64(32)  # nonzeros between the hint at a row and its use
LOOSE = {"contract", "reassoc", "nsz"}


@njit(cache=True, nogil=True)
def scaled_halves(starts: Any, columns: Any, values: Any, degrees: Any, into: Any) -> Any:
    """The scale `D^-1/2`, and both triangles of `D^-1/2 A D^-1/2` in the type of `into`, as compressed rows."""
    n, m = len(degrees), len(columns) // 2
    scale = np.zeros(n)
    for i in range(n):
        if degrees[i] > 0:
            scale[i] = 1 / np.sqrt(degrees[i])
    lower_starts, upper_starts = np.zeros(n + 1, np.uint32), np.zeros(n + 1, np.uint32)
    lower_columns, upper_columns = np.empty(m, np.uint32), np.empty(m, np.uint32)
    lower_values, upper_values = np.empty(m, into.dtype), np.empty(m, into.dtype)
    below = above = 0
    for i in range(n):
        for k in range(starts[i], starts[i + 1]):
            j = columns[k]
            value = values[k] * scale[i] * scale[j]
            if j < i:
                lower_columns[below], lower_values[below] = j, value
                below += 1
            else:
                upper_columns[above], upper_values[above] = j, value
                above += 1
        lower_starts[i + 1], upper_starts[i + 1] = below, above
    return scale, (lower_starts, lower_columns, lower_values), (upper_starts, upper_columns, upper_values)


@njit(cache=True, nogil=True, fastmath=LOOSE)
def forward(starts: Any, columns: Any, values: Any, z: Any) -> None:
    """`z = M^-1 z`, where `M` is the lower triangle with a diagonal of ones."""
    k = np.uint64(0)
    for i in range(np.uint64(len(z))):
        end = np.uint64(starts[i + np.uint64(1)])
        while k < end:
            w, j = values[k], np.uint64(columns[k])
            for c in range(WIDTH):
                z[i, c] += w * z[j, c]
            k += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=LOOSE)
def down(starts: Any, columns: Any, values: Any, beta: Any, r: Any, p: Any, t: Any) -> None:
    """`p = r + beta p` and `t = M^-T p`, from the last row to the first."""
    n = np.int64(len(p))
    for back in range(n):
        i = np.uint64(n - 1 - back)
        for c in range(WIDTH):
            v = r[i, c] + beta[c] * p[i, c]
            p[i, c] = v
            t[i, c] = v
        k, end = np.uint64(starts[i]), np.uint64(starts[i + np.uint64(1)])
        while k < end:
            if k >= AHEAD:
                prefetch(t, np.uint64(columns[k - AHEAD]))
            w, j = values[k], np.uint64(columns[k])
            for c in range(WIDTH):
                t[i, c] += w * t[j, c]
            k += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=LOOSE)
def up(starts: Any, columns: Any, values: Any, p: Any, t: Any, q: Any, curvature: Any) -> None:
    """`q = M^-1 (p - t)`; `curvature = p^T (t + q)`."""
    k = np.uint64(0)
    curvature[:] = 0.0
    for i in range(np.uint64(len(p))):
        for c in range(WIDTH):
            q[i, c] = p[i, c] - t[i, c]
        end = np.uint64(starts[i + np.uint64(1)])
        while k < end:
            if k + AHEAD < len(columns):
                prefetch(q, np.uint64(columns[k + AHEAD]))
            w, j = values[k], np.uint64(columns[k])
            for c in range(WIDTH):
                q[i, c] += w * q[j, c]
            k += np.uint64(1)
        for c in range(WIDTH):
            curvature[c] += p[i, c] * (q[i, c] + t[i, c])


@njit(cache=True, nogil=True, fastmath=LOOSE)
def advance(alpha: Any, x: Any, r: Any, t: Any, q: Any, square: Any) -> None:
    """`x += alpha t`, `r -= alpha (t + q)`; `square = r^T r`."""
    square[:] = 0.0
    for i in range(np.uint64(len(x))):
        for c in range(WIDTH):
            x[i, c] += alpha[c] * t[i, c]
            v = r[i, c] - alpha[c] * (q[i, c] + t[i, c])
            r[i, c] = v
            square[c] += v * v


@njit(cache=True, nogil=True, fastmath=LOOSE)
def load(psi: Any, first: int, count: int, scale: Any, b: Any, r: Any) -> Any:
    """Copy `count` columns of `psi` to `b`, and scaled ones of length one to `r`; their lengths, plain and scaled."""
    norm, size = np.zeros(WIDTH), np.zeros(WIDTH)
    for i in range(len(b)):
        for c in range(count):
            v = psi[i, first + c]
            b[i, c] = v
            norm[c] += v * v
            size[c] += v * v * scale[i] * scale[i]
    norm, size = np.sqrt(norm), np.sqrt(size)
    for i in range(len(b)):
        for c in range(count):
            r[i, c] = b[i, c] * scale[i] / (size[c] if size[c] > 0 else 1.0)
    return norm, size


@njit(cache=True, nogil=True, fastmath=LOOSE)
def add(y: Any, scale: Any, size: Any, x: Any) -> None:
    """`x += size scale y`, where `y` is in single precision."""
    for i in range(np.uint64(len(x))):
        for c in range(WIDTH):
            x[i, c] += size[c] * scale[i] * y[i, c]


@njit(cache=True, nogil=True, fastmath=LOOSE)
def residual(
    starts: Any, columns: Any, values: Any, degrees: Any, x: Any, b: Any, scale: Any, size: Any, r: Any, square: Any
) -> None:
    """`r = scale (b - L x) / size` in single precision; `square` is that of `b - L x`."""
    square[:] = 0.0
    left = np.empty(WIDTH)
    k = np.uint64(0)
    for i in range(np.uint64(len(x))):
        for c in range(WIDTH):
            left[c] = b[i, c] - degrees[i] * x[i, c]
        end = np.uint64(starts[i + np.uint64(1)])
        while k < end:
            w, j = values[k], np.uint64(columns[k])
            for c in range(WIDTH):
                left[c] += w * x[j, c]
            k += np.uint64(1)
        for c in range(WIDTH):
            square[c] += left[c] * left[c]
            r[i, c] = left[c] * scale[i] / size[c]


@njit(cache=True, nogil=True, fastmath=LOOSE)
def forward_one(starts: Any, columns: Any, values: Any, z: Any) -> None:
    """`forward` for one right-hand side."""
    k = np.uint64(0)
    for i in range(np.uint64(len(z))):
        entry, end = z[i], np.uint64(starts[i + np.uint64(1)])
        while k < end:
            entry += values[k] * z[np.uint64(columns[k])]
            k += np.uint64(1)
        z[i] = entry


@njit(cache=True, nogil=True, fastmath=LOOSE)
def down_one(starts: Any, columns: Any, values: Any, beta: float, r: Any, p: Any, t: Any) -> None:
    """`down` for one right-hand side."""
    k = np.uint64(len(columns))
    i = np.uint64(len(p))
    while i > np.uint64(0):
        i -= np.uint64(1)
        entry, start = r[i] + beta * p[i], np.uint64(starts[i])
        p[i] = entry
        while k > start:
            k -= np.uint64(1)
            entry += values[k] * t[np.uint64(columns[k])]
        t[i] = entry


@njit(cache=True, nogil=True, fastmath=LOOSE)
def up_one(starts: Any, columns: Any, values: Any, p: Any, t: Any, q: Any) -> float:
    """`up` for one right-hand side; returns the curvature."""
    k, curvature = np.uint64(0), 0.0
    for i in range(np.uint64(len(p))):
        entry, end = p[i] - t[i], np.uint64(starts[i + np.uint64(1)])
        while k < end:
            entry += values[k] * q[np.uint64(columns[k])]
            k += np.uint64(1)
        q[i] = entry
        curvature += p[i] * (entry + t[i])
    return curvature


@njit(cache=True, nogil=True, fastmath=LOOSE)
def advance_one(alpha: float, x: Any, r: Any, t: Any, q: Any) -> float:
    """`advance` for one right-hand side; returns `r^T r`."""
    square = 0.0
    for i in range(len(x)):
        x[i] += alpha * t[i]
        left = r[i] - alpha * (t[i] + q[i])
        r[i] = left
        square += left * left
    return square
