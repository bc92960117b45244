"""All eigenpairs of many small symmetric matrices, one after the other in compiled code (needs numba)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _tridiagonalize(a, d, e, z, p):  # type: ignore[no-untyped-def]
    """Householder reduction of `a` `[s, s]` to diagonal `d` and off-diagonal `e`; rows of `z` are the basis."""
    s = a.shape[0]
    for j in range(s - 2):
        d[j] = a[j, j]
        square = 0.0
        for i in range(j + 1, s):
            square += a[j, i] * a[j, i]
        rest = square - a[j, j + 1] * a[j, j + 1]
        p[s + j] = 0.0  # 2 / |v|^2 of the reflector, behind the work space
        if rest <= 1e-30 * square or square == 0.0:
            e[j] = a[j, j + 1]
            continue
        alpha = -math.copysign(math.sqrt(square), a[j, j + 1])
        e[j] = alpha
        head = a[j, j + 1] - alpha
        tau = 2.0 / (rest + head * head)
        p[s + j] = tau
        a[j, j + 1] = head
        v = a[j]
        for i in range(j + 1, s):
            row = a[i]
            total = 0.0
            for c in range(j + 1, s):
                total += row[c] * v[c]
            p[i] = tau * total
        inner = 0.0
        for i in range(j + 1, s):
            inner += p[i] * v[i]
        inner *= 0.5 * tau
        for i in range(j + 1, s):
            p[i] -= inner * v[i]
        for i in range(j + 1, s):
            row, vi, pi = a[i], v[i], p[i]
            for c in range(j + 1, s):
                row[c] -= vi * p[c] + pi * v[c]
    if s >= 2:
        d[s - 2] = a[s - 2, s - 2]
        e[s - 2] = a[s - 2, s - 1]
    d[s - 1] = a[s - 1, s - 1]
    e[s - 1] = 0.0
    for i in range(s):
        for c in range(s):
            z[i, c] = 0.0
        z[i, i] = 1.0
    for j in range(s - 3, -1, -1):  # rows of z are columns of the product of the reflectors
        tau = p[s + j]
        if tau == 0.0:
            continue
        v = a[j]
        for i in range(j + 1, s):
            row = z[i]
            total = 0.0
            for c in range(j + 1, s):
                total += row[c] * v[c]
            total *= tau
            for c in range(j + 1, s):
                row[c] -= total * v[c]


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _diagonalize(d, e, z):  # type: ignore[no-untyped-def]
    """Implicit QL iterations with Wilkinson's shift; rotations act on rows of `z`. False if they do not converge."""
    s = d.shape[0]
    for low in range(s):
        for sweep in range(61):
            high = low
            while high < s - 1:
                if abs(e[high]) <= 1.1e-16 * (abs(d[high]) + abs(d[high + 1])) + 1e-300:
                    break
                high += 1
            if high == low:
                break
            if sweep == 60:
                return False
            g = (d[low + 1] - d[low]) / (2.0 * e[low])
            g = d[high] - d[low] + e[low] / (g + math.copysign(math.sqrt(g * g + 1.0), g))
            sine, cosine, shift = 1.0, 1.0, 0.0
            split = False
            for i in range(high - 1, low - 1, -1):
                f, b = sine * e[i], cosine * e[i]
                radius = math.sqrt(f * f + g * g)
                e[i + 1] = radius
                if radius == 0.0:
                    d[i + 1] -= shift
                    e[high] = 0.0
                    split = True
                    break
                inverse = 1.0 / radius
                sine, cosine = f * inverse, g * inverse
                g = d[i + 1] - shift
                turn = (d[i] - g) * sine + 2.0 * cosine * b
                shift = sine * turn
                d[i + 1] = g + shift
                g = cosine * turn - b
                upper, lower = z[i], z[i + 1]
                for c in range(s):
                    x, y = upper[c], lower[c]
                    lower[c] = sine * x + cosine * y
                    upper[c] = cosine * x - sine * y
            if split:
                continue
            d[low] -= shift
            e[low] = g
            e[high] = 0.0
    return True


@njit(cache=True, nogil=True)
def eigenpairs(  # type: ignore[no-untyped-def]
    low, high, blocks, start, sizes, first, null, label, shift, count, largest, values, vectors
):
    """Wanted eigenpairs of Laplacians that lie behind each other, their null vectors left out.

    Args:
        low: the first matrix that is handled,
        high: and the one behind the last, so that threads can share the work.
        blocks: float64 entries of all matrices, `sum s^2`; overwritten.
        start: `[G]` position of the first entry of each matrix.
        sizes: `[G]` sizes `s`, at least 1.
        first: `[G]` position of the first node of each matrix.
        null: `[n]` null vectors, one a component.
        label: `[n]` component of every node.
        shift: `[G]` numbers above all eigenvalues, where the null vectors are moved to.
        count: `[G]` numbers of pairs wanted.
        largest: whether they are those of the largest eigenvalues, which then come first.
        values: `[G, k]`, receives the eigenvalues; zero on input.
        vectors: `[n, k]`, receives the eigenvectors; zero on input.

    Returns:
        Number of matrices whose iterations did not converge.
    """
    failed = 0
    for g in range(low, high):
        s, node = sizes[g], first[g]
        if count[g] == 0:
            continue
        a = blocks[start[g] : start[g] + s * s].reshape(s, s)
        for i in range(s):
            for c in range(s):
                if label[node + i] == label[node + c]:
                    a[i, c] += shift[g] * null[node + i] * null[node + c]
        z = np.empty((s, s))
        d, e, p = np.empty(s), np.empty(s), np.empty(2 * s)
        _tridiagonalize(a, d, e, z, p)
        if not _diagonalize(d, e, z):
            failed += 1
        order = np.argsort(d)
        last = s - 1
        if largest:  # behind them come the shifted null vectors, one a component
            while last > 0 and d[order[last]] > 0.75 * shift[g]:
                last -= 1
        for j in range(count[g]):
            row = order[last - j] if largest else order[j]
            values[g, j] = d[row]
            for i in range(s):
                vectors[node + i, j] = z[row, i]
    return failed
