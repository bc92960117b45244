r"""Chebyshev expansion of the heat kernel, and its product with a vector and with an adjoint.

This is the transformer :func:`graphtf.constructions.heat_kernel` with one readout register for every time, and products
with `L` by a sparse matrix.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def expansion(z: float, tol: float, limit: int | None = None) -> tuple[Tensor, float]:
    r"""Coefficients of :math:`e^{-z (1 + y)} = \sum_j c_j T_j(y)` on :math:`[-1, 1]`, and the bound of the rest.

    They are :math:`c_j = (2 - [j = 0]) (-1)^j e^{-z} I_j(z)`. As :math:`|T_j| \le 1`, the error is at most the sum of
    the :math:`|c_j|` that are left out, relative to the vector. Since :math:`I_{j-1} = I_{j+1} + (2 j / z) I_j`, all of
    them follow from above by Miller's algorithm, scaled so that :math:`e^{-z} (I_0 + 2 \sum_j I_j) = 1`.

    Args:
        z: half of the time times the bound of the largest eigenvalue, at least 0.
        tol: allowed error.
        limit: largest number of coefficients after the first, even if the error is larger.

    Returns:
        `[degree + 1]` coefficients in float64, and the bound.

    Example:
        >>> c, bound = expansion(1.0, 1e-3)
        >>> len(c), bound < 1e-3
        (5, True)
        >>> round(float(c.sum()), 3)  # y = 1: exp(-2)
        0.136

    Source: Hochbruck, Lubich, SIAM J. Numer. Anal. 34, 1997; Gautschi, SIAM Review 9, 1967 (the recurrence).
    """
    if z == 0:
        return torch.ones(1, dtype=torch.float64), 0.0
    # I_j(z) exp(-z) < exp(-j^2 / (2 z + j)): below 1e-40 from here on.
    start = math.ceil(46 + math.sqrt(46**2 + 2 * 93 * z)) + 8
    ratio = np.zeros(start + 2)  # I_j / I_{j-1}, which never overflows
    for j in range(start, 0, -1):
        ratio[j] = 1 / (2 * j / z + ratio[j + 1])
    with np.errstate(under="ignore"):
        bessel = np.concatenate([[1.0], np.cumprod(ratio[1 : start + 1])])
    size = 2 * bessel / (2 * bessel.sum() - bessel[0])
    size[0] /= 2
    tail = np.concatenate([np.cumsum(size[::-1])[::-1][1:], [0.0]])  # what is left out after degree j
    degree = int(np.argmax(tail <= tol))
    degree = degree if limit is None else min(degree, limit)
    sign = (-1.0) ** np.arange(degree + 1)
    return torch.from_numpy(size[: degree + 1] * sign), float(tail[degree])


def expansion_rounding(coefficients: Tensor, dtype: torch.dtype) -> float:
    """Estimate of the rounding of the sum: every term carries some units, one a step of the recurrence."""
    steps = torch.arange(1, len(coefficients) + 1, dtype=torch.float64)
    return float((coefficients.abs() * steps).sum()) * torch.finfo(dtype).eps


def scaled_operator(index: Tensor, weight: Tensor, diagonal: Tensor, bound: Tensor) -> Tensor:
    """`Y = 2 L / bound - I` as a sparse matrix, from the `weight` `[m]` and `diagonal` of `L` and `bound` `[n]`."""
    n = len(diagonal)
    u, v = index
    nodes = torch.arange(n, device=u.device)
    factor = torch.where(bound > 0, 2 / torch.where(bound > 0, bound, 1.0), 0.0)
    off = -weight * factor[u]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        matrix = torch.sparse_coo_tensor(
            torch.stack([torch.cat([u, v, nodes]), torch.cat([v, u, nodes])]),
            torch.cat([off, off, diagonal * factor - 1]),
            (n, n),
            check_invariants=False,
        )
        return matrix.to_sparse_csr()


def chebyshev_terms(Y: Tensor, x: Tensor, degree: int) -> Iterator[Tensor]:
    """`T_0(Y) x ... T_degree(Y) x` for `x` `[n, k]`."""
    last, now = x, x
    for j in range(degree + 1):
        if j == 1:
            last, now = x, Y @ x
        elif j > 1:
            last, now = now, 2 * (Y @ now) - last
        yield now


class ChebyshevSum(torch.autograd.Function):
    r"""Sums :math:`y_t = \sum_j c_{tj} T_j(Y) x` for several times, with the exact derivative of the sum.

    The adjoint needs no stored states: Clenshaw's recurrence :math:`b_j = \sum_t c_{tj} g_t + 2 Y b_{j+1} - b_{j+2}`
    gives the derivative by the terms, while the terms themselves run backwards, :math:`T_{j-1} = 2 Y T_j - T_{j+1}`,
    which is as stable as forwards. Then :math:`dY` gets :math:`\sum_j (2 - [j = 0]) b_{j+1} (T_j x)^\top`.
    """

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]  # noqa: D102
        ctx, x: Tensor, weight: Tensor, diagonal: Tensor, index: Tensor, bound: Tensor, coefficients: Tensor
    ) -> Tensor:
        # coefficients [T, degree + 1, n or 1], bound [n]
        Y = scaled_operator(index, weight, diagonal, bound)
        out = x.new_zeros(len(coefficients), *x.shape)
        for j, term in enumerate(chebyshev_terms(Y, x, coefficients.shape[1] - 1)):
            for t in range(len(out)):
                out[t].addcmul_(coefficients[t, j].unsqueeze(1), term)
        ctx.save_for_backward(x, weight, diagonal, index, bound, coefficients)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]  # noqa: D102
        if torch.is_grad_enabled():
            raise RuntimeError("heat_kernel has no second derivatives; call backward without create_graph")
        x, weight, diagonal, index, bound, coefficients = ctx.saved_tensors
        Y = scaled_operator(index, weight, diagonal, bound)
        degree = coefficients.shape[1] - 1
        with_operator = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        now = last = x
        if with_operator:
            for term in chebyshev_terms(Y, x, max(degree - 1, 0)):
                last, now = now, term  # T_{degree - 2}, T_{degree - 1}
        grad_weight, grad_diagonal = torch.zeros_like(weight), torch.zeros_like(diagonal)
        u, v = index
        b, following = torch.zeros_like(x), torch.zeros_like(x)  # b_{j+1}, b_{j+2}
        for j in range(degree, -1, -1):
            if with_operator and j < degree:
                # Here `now` is T_j x and `b` is b_{j+1}.
                twice = 1.0 if j == 0 else 2.0
                grad_diagonal += twice * (b * now).sum(1)
                grad_weight -= twice * (b[u] * now[v] + b[v] * now[u]).sum(1)
                if j > 0:
                    last, now = (2 * (Y @ last) - now if j > 1 else last), last
            here = torch.einsum("tn,tnk->nk", coefficients[:, j].expand(-1, len(x)), grad)
            step = Y @ b
            b, following = here + (1 if j == 0 else 2) * step - following, b
        factor = torch.where(bound > 0, 2 / torch.where(bound > 0, bound, 1.0), 0.0)
        return b, grad_weight * factor[u], grad_diagonal * factor, None, None, None
