"""The paper's descent methods: electric flow, and the square root of the pseudo-inverse."""

from __future__ import annotations

import math

import torch

from graphtf.attention import Layer
from graphtf.constructions._weights import attention, check_steps, frozen
from graphtf.transformer import LinearTransformer


def electric_flow(num_layers: int, delta: float, dtype: torch.dtype = torch.float64) -> LinearTransformer:
    r"""Potentials of the electric flow, by gradient descent on :math:`x^\top L x / 2 - \psi^\top x`.

    .. math:: x_{l+1} = x_l + \delta (\psi - L x_l), \qquad x_l = \delta \sum_{j<l} (I - \delta L)^j \psi \to L^+ \psi

    One layer: score `L`, value X to X with :math:`-\delta`, skip Psi to X with :math:`+\delta`. For demands that sum to
    zero on every component (:meth:`graphtf.Incidence.center`) and :math:`\delta \le 1 / \lambda_{max}` the relative
    error after `l` layers is at most :math:`(1 - \delta \lambda_2)^l`.

    Args:
        num_layers: depth `l`.
        delta: step size, at most `1 / lambda_max`; `1 / B.lambda_bound()` is safe.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the demands) and `x`, which it reads out.

    Raises:
        ValueError: depth or step size is not positive.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0]))  # one edge of resistance 1/4
        >>> x = electric_flow(20, delta=0.1)(B, psi=torch.tensor([1.0, -1.0]))  # L^+ psi
        >>> [round(value, 4) for value in x.tolist()]
        [0.125, -0.125]

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma 1 (electric flow).
    """
    check_steps(num_layers, delta=delta)
    names = ("psi", "x")
    layers: list[Layer] = [
        attention(names, {("x", "x"): -delta}, {("psi", "x"): delta}, dtype) for _ in range(num_layers)
    ]
    return frozen(layers, names, "x")


def resistive_embedding(num_layers: int, delta: float, dtype: torch.dtype = torch.float64) -> LinearTransformer:
    r"""The resistive embedding :math:`(L^+)^{1/2} \psi`, whose squared distances are effective resistances.

    .. math:: x_l = \sqrt\delta \sum_{j<l} a_j (I - \delta L)^j \psi \to (L^+)^{1/2} \psi,
        \qquad a_0 = 1, \quad a_{j+1} = a_j \frac{2j+1}{2j+2}

    These are the first terms of the power series of :math:`(I - (I - \delta L))^{-1/2}`. Layer `l`: score `L`, value
    Psi to Psi with :math:`-\delta`, skip Psi to X with :math:`a_l \sqrt\delta`; so register `psi` holds
    :math:`(I - \delta L)^l \psi`. For demands that sum to zero on every component and
    :math:`\delta \le 1 / \lambda_{max}` the relative error after `l` layers is at most
    :math:`(1 - \delta \lambda_2)^l`, since the coefficients decrease.

    The effective resistance of two nodes is :math:`\|(L^+)^{1/2} (e_u - e_v)\|^2`.

    Args:
        num_layers: depth `l`.
        delta: step size, at most `1 / lambda_max`; `1 / B.lambda_bound()` is safe.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the demands) and `x`, which it reads out.

    Raises:
        ValueError: depth or step size is not positive.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0]))  # one edge of resistance 1/4
        >>> x = resistive_embedding(40, delta=0.1)(B, psi=torch.tensor([1.0, -1.0]))
        >>> round(float(x @ x), 4)
        0.25

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma on the resistive embedding.
    """
    check_steps(num_layers, delta=delta)
    names = ("psi", "x")
    layers: list[Layer] = []
    coefficient = math.sqrt(delta)
    for j in range(num_layers):
        layers.append(attention(names, {("psi", "psi"): -delta}, {("psi", "x"): coefficient}, dtype))
        coefficient *= (2 * j + 1) / (2 * j + 2)
    return frozen(layers, names, "x")
