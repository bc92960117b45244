r"""Plain algorithms of first-order optimisation, iterate by iterate, to compare transformers with.

All take a batch of quadratic problems :math:`\min_w \frac12 w^\top S w - b^\top w` (or lassos) and give every iterate,
`[steps + 1, ..., d]` from zero on, in the dtype of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.memory import ratio
from graphtf.prox import soft_threshold as soft_threshold
from graphtf.validate import check_positive_int


def gradient_descent(S: Tensor, b: Tensor, steps: Sequence[float], momentum: Sequence[float] | None = None) -> Tensor:
    r"""Gradient descent, with momentum if there is any: :math:`w' = w + a_l (b - S w) + m_l (w - w_{last})`.

    Args:
        S: `[..., d, d]` matrices.
        b: `[..., d]` right-hand sides.
        steps: the `L` step sizes `a`.
        momentum: as many `m`; `None`: none.

    Returns:
        `[L + 1, ..., d]`.

    Example:
        >>> gradient_descent(torch.eye(1) * 2, torch.ones(1), [0.5, 0.5]).flatten().tolist()
        [0.0, 0.5, 0.5]
    """
    rates = [0.0] * len(steps) if momentum is None else momentum
    w = last = torch.zeros_like(b)
    iterates = [w]
    for a, m in zip(steps, rates, strict=True):
        w, last = w + a * (b - _apply(S, w)) + m * (w - last), w
        iterates.append(w)
    return torch.stack(iterates)


gd = gradient_descent


def chebyshev(S: Tensor, b: Tensor, lambda_min: float, lambda_max: float, num_steps: int) -> Tensor:
    """The Chebyshev iteration for eigenvalues in `[lambda_min, lambda_max]`; see :func:`graphtf.chebyshev`.

    Example:
        >>> w = chebyshev(torch.diag(torch.tensor([1.0, 3.0])), torch.ones(2), 1.0, 3.0, 12)[-1]
        >>> [round(value, 4) for value in w.tolist()]
        [1.0, 0.3333]
    """
    centre, radius = (lambda_max + lambda_min) / 2, (lambda_max - lambda_min) / 2
    check_positive_int("num_steps", num_steps)
    w, last, tau = torch.zeros_like(b), torch.zeros_like(b), 1 / centre
    iterates = [w]
    for step in range(num_steps):
        if step == 0:
            a, m = tau, 0.0
        else:
            following = 1 / (2 * centre - radius**2 * tau)
            a, m, tau = 2 * following, radius**2 * following * tau, following
        w, last = w + a * (b - _apply(S, w)) + m * (w - last), w
        iterates.append(w)
    return torch.stack(iterates)


def conjugate_gradient(S: Tensor, b: Tensor, num_steps: int, preconditioner: Tensor | None = None) -> Tensor:
    """Conjugate gradients from zero; a problem that is solved to rounding keeps its iterate.

    Args:
        S: `[..., d, d]` symmetric positive semidefinite matrices.
        b: `[..., d]` right-hand sides in their range.
        num_steps: number of steps.
        preconditioner: `[d, d]` positive matrix that multiplies residuals.

    Example:
        >>> conjugate_gradient(torch.diag(torch.tensor([1.0, 3.0])), torch.ones(2), 2)[-1]
        tensor([1.0000, 0.3333])
    """
    check_positive_int("num_steps", num_steps)
    w, r = torch.zeros_like(b), b
    z = r if preconditioner is None else r @ preconditioner.T
    p, rho = z, (r * z).sum(-1, keepdim=True)
    first = rho
    iterates = [w]
    for _ in range(num_steps):
        q = _apply(S, p)
        alive = rho > first * (8 * torch.finfo(b.dtype).eps) ** 2
        a = ratio(rho, (p * q).sum(-1, keepdim=True), alive)
        w, r = w + a * p, r - a * q
        z = r if preconditioner is None else r @ preconditioner.T
        new = (r * z).sum(-1, keepdim=True)
        p, rho = z + ratio(new, rho, alive) * p, new
        iterates.append(w)
    return torch.stack(iterates)


cg = conjugate_gradient


def ista(A: Tensor, y: Tensor, lam: float, num_steps: int, step: float | None = None) -> Tensor:
    r"""Iterative soft thresholding of :math:`\frac12 \|A x - y\|^2 + \lambda \|x\|_1`, step `1 / ||A||^2` by default.

    Args:
        A: `[..., m, d]` matrices.
        y: `[..., m]` measurements.
        lam: weight of the l1 norm.
        num_steps: number of steps.
        step: step size.

    Example:
        >>> ista(torch.eye(2), torch.tensor([3.0, 0.5]), 1.0, 1)[-1]
        tensor([2., 0.])
    """
    return _shrinkage(A, y, lam, num_steps, step, accelerate=False)


def fista(A: Tensor, y: Tensor, lam: float, num_steps: int, step: float | None = None) -> Tensor:
    """:func:`ista` with Nesterov's extrapolation (Beck and Teboulle, 2009).

    Example:
        >>> fista(torch.eye(2), torch.tensor([3.0, 0.5]), 1.0, 3)[-1]
        tensor([2., 0.])
    """
    return _shrinkage(A, y, lam, num_steps, step, accelerate=True)


class FixedPolynomial(NamedTuple):
    """The best polynomial with fixed coefficients, depth by depth; see :func:`best_fixed_polynomial`."""

    loss: list[float]
    coefficients: list[list[float]]
    roots: list[list[complex]]


def best_fixed_polynomial(powers: Tensor, max_degree: int | None = None) -> FixedPolynomial:
    r"""Best loss of any first-order method whose coefficients do not depend on the instance, of every depth.

    After `l` steps such a method leaves :math:`p(S) w^*` of the error, `p` a polynomial of degree `l` with `p(0) = 1`.
    The best one solves a linear least-squares problem in the features :math:`\phi_k = x^\top S^k w^*`:

    .. math:: \min_{c_0 = 1} \mathbb{E} \Bigl(\sum_k c_k \phi_k\Bigr)^2

    If its roots are real and positive, gradient descent with the steps :math:`1 / \mathrm{root}` attains it.

    Args:
        powers: `[L + 1, M]` features of `M` instances, float64.
        max_degree: highest degree; `None`: `L`.

    Returns:
        Losses, coefficients and roots for degrees 1 ... `L`.

    Raises:
        ValueError: the features have the wrong shape.

    Example:
        >>> found = best_fixed_polynomial(torch.tensor([[1.0, 1.0], [2.0, 2.0]], dtype=torch.float64))
        >>> round(found.loss[0], 12), [round(c, 6) for c in found.coefficients[0]]
        (0.0, [1.0, -0.5])
    """
    if powers.dim() != 2 or powers.shape[0] < 2 or powers.dtype != torch.float64:
        raise ValueError(f"powers must be float64 [L + 1, M] with L >= 1, but are {powers.dtype} {list(powers.shape)}")
    out = FixedPolynomial([], [], [])
    top = powers.shape[0] - 1 if max_degree is None else min(max_degree, powers.shape[0] - 1)
    for degree in range(1, top + 1):
        scale = powers[1 : degree + 1].norm(dim=1, keepdim=True)
        rest = (
            torch.linalg.lstsq((powers[1 : degree + 1] / scale).T, -powers[0].unsqueeze(1), driver="gels").solution
            / scale
        )
        c = torch.cat([torch.ones(1, dtype=powers.dtype), rest.squeeze(1)])
        out.loss.append(float((c @ powers[: degree + 1]).square().mean()))
        out.coefficients.append(c.tolist())
        companion = torch.zeros(degree, degree, dtype=powers.dtype)
        companion[1:, :-1] = torch.eye(degree - 1, dtype=powers.dtype)
        companion[:, -1] = -c[:degree] / c[degree]
        out.roots.append(torch.linalg.eigvals(companion).tolist())
    return out


def _apply(S: Tensor, w: Tensor) -> Tensor:
    return (S @ w.unsqueeze(-1)).squeeze(-1)


def _shrinkage(A: Tensor, y: Tensor, lam: float, num_steps: int, step: float | None, accelerate: bool) -> Tensor:
    check_positive_int("num_steps", num_steps)
    if not lam >= 0:
        raise ValueError(f"lam must be at least 0, but got {lam}")
    size: Tensor | float = step if step is not None else 1 / torch.linalg.matrix_norm(A, 2).square().unsqueeze(-1)
    x = y.new_zeros(*A.shape[:-2], A.shape[-1])
    z, t, iterates = x, 1.0, [x]
    for _ in range(num_steps):
        new = soft_threshold(z - size * _apply(A.mT, _apply(A, z) - y), size * lam)
        following = (1 + (1 + 4 * t * t) ** 0.5) / 2
        z = new + (t - 1) / following * (new - x) if accelerate else new
        x, t = new, following
        iterates.append(x)
    return torch.stack(iterates)
