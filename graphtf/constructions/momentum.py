"""Gradient descent with memory of the last step and fixed coefficients: heavy ball and Chebyshev."""

from __future__ import annotations

import math

import torch

from graphtf.attention import Layer, Norm, StructuredAttention
from graphtf.constructions._weights import attention, check_interval, check_steps, frozen
from graphtf.transformer import LinearTransformer


def chebyshev(
    num_layers: int, lambda_min: float, lambda_max: float, dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Potentials :math:`L^+ \psi` by the Chebyshev iteration, gradient descent with memory and fixed coefficients.

    .. math:: x_{l+1} = x_l + \alpha_l (\psi - L x_l) + \beta_l (x_l - x_{l-1})

    One layer: score `L`, value X to X with :math:`-\alpha_l`; skips Psi to X with :math:`\alpha_l`, X to X with
    :math:`\beta_l`, Last to X with :math:`-\beta_l`, and the shift of X to Last. The error is the Chebyshev polynomial
    of :math:`[\lambda_{min}, \lambda_{max}]`: no other fixed coefficients have a smaller worst case after `l` layers.
    For demands that sum to zero on every component,

    .. math:: \frac{\|x_l - x\|_L^2}{\|x\|_L^2} \le \Bigl(\frac{2 q^l}{1 + q^{2l}}\Bigr)^2, \qquad
        q = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}, \quad \kappa = \frac{\lambda_{max}}{\lambda_{min}} .

    Args:
        num_layers: depth `l`; the coefficients of a layer do not depend on it.
        lambda_min: at most the smallest positive eigenvalue of `L`.
        lambda_max: at least the largest; `B.lambda_bound()` is safe.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the demands), `x`, which it reads out, and `last`.

    Raises:
        ValueError: the depth is not positive, or the bounds are not ordered.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]))  # a path: eigenvalues 0, 1, 3
        >>> x = chebyshev(12, lambda_min=1.0, lambda_max=3.0)(B, psi=torch.tensor([1.0, 0.0, -1.0]))
        >>> [round(value, 4) for value in x.tolist()]
        [1.0, 0.0, -1.0]

    Reference: Golub, Varga, Numer. Math. 3, 1961; memory in registers: Dutta, Sra, "Memory-augmented Transformers can
    implement Linear First-Order Optimization Methods", 2024.
    """
    check_steps(num_layers)
    check_interval(lambda_min, lambda_max)
    names = ("psi", "x", "last")
    steps = chebyshev_steps(num_layers, lambda_min, lambda_max)
    layers: list[Layer] = [momentum_layer(names, "x", alpha, beta, dtype) for alpha, beta in steps]
    return frozen(layers, names, "x")


def heavy_ball(
    num_layers: int, lambda_min: float, lambda_max: float, dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Potentials :math:`L^+ \psi` by Polyak's heavy ball: the layers of :func:`chebyshev`, all with the same weights.

    .. math:: \alpha = \frac{4}{(\sqrt{\lambda_{max}} + \sqrt{\lambda_{min}})^2}, \qquad \beta = q^2, \qquad
        q = \frac{\sqrt\kappa - 1}{\sqrt\kappa + 1}

    For demands that sum to zero on every component the relative error after `l` layers, in every norm that `L` defines,
    is at most :math:`q^l (1 + l (1 + q))`.

    Args:
        num_layers: depth `l`.
        lambda_min: at most the smallest positive eigenvalue of `L`.
        lambda_max: at least the largest; `B.lambda_bound()` is safe.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the demands), `x`, which it reads out, and `last`.

    Raises:
        ValueError: the depth is not positive, or the bounds are not ordered.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]))  # a path: eigenvalues 0, 1, 3
        >>> x = heavy_ball(16, lambda_min=1.0, lambda_max=3.0)(B, psi=torch.tensor([1.0, 0.0, -1.0]))
        >>> [round(value, 4) for value in x.tolist()]
        [1.0, 0.0, -1.0]

    Reference: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """
    check_steps(num_layers)
    check_interval(lambda_min, lambda_max)
    low, high = math.sqrt(lambda_min), math.sqrt(lambda_max)
    names, alpha, beta = ("psi", "x", "last"), 4 / (low + high) ** 2, ((high - low) / (high + low)) ** 2
    layers: list[Layer] = [momentum_layer(names, "x", alpha, beta, dtype) for _ in range(num_layers)]
    return frozen(layers, names, "x")


def chebyshev_steps(num_layers: int, lambda_min: float, lambda_max: float) -> list[tuple[float, float]]:
    """Coefficients `(alpha, beta)` of the layers of :func:`chebyshev`, by their recurrence.

    Example:
        >>> chebyshev_steps(2, 1.0, 3.0)
        [(0.5, 0.0), (0.5714285714285714, 0.14285714285714285)]
    """
    centre, radius = (lambda_max + lambda_min) / 2, (lambda_max - lambda_min) / 2
    tau, steps = 1 / centre, [(1 / centre, 0.0)]
    for _ in range(num_layers - 1):
        following = 1 / (2 * centre - radius**2 * tau)
        steps.append((2 * following, radius**2 * following * tau))
        tau = following
    return steps


def momentum_layer(
    names: tuple[str, ...], iterate: str, alpha: float, beta: float, dtype: torch.dtype, norm: Norm = "none"
) -> StructuredAttention:
    """One step with memory: the register `iterate` moves, `last` keeps what it was, `psi` (if any) is the demand."""
    skip = {
        (iterate, iterate): beta,
        ("last", iterate): -beta,
        (iterate, "last"): 1.0,
        ("last", "last"): -1.0,
    }
    if "psi" in names:
        skip["psi", iterate] = alpha
    return attention(names, {(iterate, iterate): -alpha}, skip, dtype, norm=norm)
