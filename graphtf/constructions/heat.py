"""The heat kernel: Chebyshev expansion, the paper's Taylor series, and scaling with squaring."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Literal

import torch
from torch import Tensor

from graphtf.attention import Layer
from graphtf.constructions._weights import attention, check_steps, frozen
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int

HeatForm = Literal["chebyshev", "taylor"]


def chebyshev_coefficients(degree: int, s: float, lambda_max: float) -> Tensor:
    r"""Coefficients of :math:`e^{-s \lambda} = \sum_j c_j T_j(2 \lambda / \lambda_{max} - 1)`.

    They are :math:`c_j = (2 - [j = 0]) (-1)^j e^{-z} I_j(z)` with :math:`z = s \lambda_{max} / 2` and the modified
    Bessel functions `I_j`, computed from their ratios by the backward recurrence.

    Args:
        degree: the last `j`.
        s: time.
        lambda_max: end of the interval `[0, lambda_max]`.

    Returns:
        `[degree + 1]` coefficients in float64.

    Example:
        >>> [round(c, 4) for c in chebyshev_coefficients(2, s=1.0, lambda_max=2.0).tolist()]
        [0.4658, -0.4158, 0.0999]
    """
    z = s * lambda_max / 2
    # I_j / I_{j-1} = 1 / (2 j / z + I_{j+1} / I_j) forgets its start, and I_j / I_0 ~ exp(-j^2 / 2z) that end.
    last = degree + 32 + math.ceil(9 * math.sqrt(z))
    ratios, ratio = [0.0] * (last + 1), 0.0
    for j in range(last, 0, -1):
        ratio = ratios[j] = 1 / (2 * j / z + ratio)
    bessel = list(itertools.accumulate(ratios[1:], operator.mul, initial=1.0))  # I_j / I_0
    scale = 1 / (1 + 2 * sum(bessel[1:]))  # e^{-z} I_0, since e^z = I_0 + 2 sum_j I_j
    signed = [scale * (2 - (j == 0)) * (-1) ** j * value for j, value in enumerate(bessel[: degree + 1])]
    return torch.tensor(signed, dtype=torch.float64)


def heat_kernel(
    num_layers: int, s: float, lambda_max: float, form: HeatForm = "chebyshev", dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Heat after time `s`, :math:`e^{-s L} \psi`.

    `"chebyshev"` sums the Chebyshev expansion on :math:`[0, \lambda_{max}]` by its three-term recurrence. Layer `j`
    sets :math:`\psi \leftarrow 2 A \psi - last`, :math:`last \leftarrow \psi`, :math:`x \leftarrow x + c_j \psi`, with
    :math:`A = 2 L / \lambda_{max} - I`: score `L`, values from Psi to Psi and X, skips. It needs about
    :math:`\sqrt{s \lambda_{max} \log(1/\epsilon)}` layers, and the error, relative to the length of :math:`\psi`, is at
    most the sum of the coefficients that are left out.

    `"taylor"` is the paper's form: layer `l` has values Psi to Psi and Psi to X, both :math:`-s/(l+1)`, and the skip
    Psi to Psi :math:`-1`, so that :math:`x_l = \sum_{j \le l} (-s L)^j \psi / j!`. Its terms grow before they
    fall: it needs more than :math:`e s \lambda_{max}` layers, and loses :math:`e^{s \lambda_{max}}` times rounding. Its
    error is at most :math:`(s \lambda_{max})^{l+1} / (l+1)!`.

    In both forms the first layer also copies Psi to X, so that only `psi` has to be given.

    Args:
        num_layers: depth `l`, the degree of the polynomial.
        s: time.
        lambda_max: at least the largest eigenvalue of `L`; `B.lambda_bound()` is safe. The Taylor form has the same
            weights for all values.
        form: `"chebyshev"` or `"taylor"`.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the start), `last` (Chebyshev only) and `x`, which it reads out.

    Raises:
        ValueError: depth, time or `lambda_max` is not positive, or the form is none of these.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0], [1]]))  # one edge: eigenvalues 0 and 2
        >>> x = heat_kernel(12, s=0.5, lambda_max=2.0)(B, psi=torch.tensor([1.0, 0.0]))
        >>> [round(value, 4) for value in x.tolist()]  # (1 + 1/e) / 2, (1 - 1/e) / 2
        [0.6839, 0.3161]

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma on the heat kernel (Taylor); Tal-Ezer, Kosloff, J. Chem. Phys. 81,
    1984 (Chebyshev); Hochbruck, Lubich, SIAM J. Numer. Anal. 34, 1997 (number of terms).
    """
    check_steps(num_layers, s=s, lambda_max=lambda_max)
    check_choice("form", form, ("chebyshev", "taylor"))
    if form == "taylor":
        names: tuple[str, ...] = ("psi", "x")
        return frozen([*_taylor_layers(num_layers, s, names, "x", dtype)], names, "x")
    names = ("psi", "last", "x")
    c = chebyshev_coefficients(num_layers, s, lambda_max).tolist()
    layers: list[Layer] = []
    for j in range(1, num_layers + 1):
        twice = 1 if j == 1 else 2  # T_1 = A T_0, then T_j = 2 A T_{j-1} - T_{j-2}
        slope = 2 * twice / lambda_max
        skip = {("psi", "psi"): -twice - 1.0, ("psi", "last"): 1.0, ("last", "last"): -1.0, ("psi", "x"): -twice * c[j]}
        if j == 1:
            skip["psi", "x"] += c[0]
        else:
            skip |= {("last", "psi"): -1.0, ("last", "x"): -c[j]}
        layers.append(attention(names, {("psi", "psi"): slope, ("psi", "x"): slope * c[j]}, skip, dtype))
    return frozen(layers, names, "x")


def heat_kernel_squaring(
    num_layers: int, num_squarings: int, s: float, dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""The whole heat kernel :math:`e^{-s L}` of small graphs, by scaling and squaring.

    .. math:: M_0 = \sum_{j \le l} (-s L / 2^q)^j / j!, \qquad M_{i+1} = M_i^2, \qquad M_q \to e^{-s L}

    First `l` Taylor layers for the time :math:`s / 2^q`, then `q` layers whose score is :math:`M I^\top = M`, with
    value M to M of 1 and skip M to M of -1. With :math:`a = s \lambda_{max} / 2^q \le 1` the error is at most
    :math:`2^q a^{l+1} / (l+1)!`, so that depth grows with the logarithm of `s`.

    Args:
        num_layers: number `l` of Taylor layers.
        num_squarings: number `q` of squarings; `2^q >= s lambda_max` is safe.
        s: time.
        dtype: floating type of the weights.

    Returns:
        A transformer of `l + q` layers with registers `identity` and `psi`, both to be started at the identity of every
        graph (:func:`graphtf.constructions.one_hot`), and `M`, which it reads out: row `u`, column `j` is the entry of
        node `u` and the node at position `j` of its graph.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0], [1]]))
        >>> I = torch.eye(2)
        >>> M = heat_kernel_squaring(6, num_squarings=4, s=0.5)(B, identity=I, psi=I)
        >>> [round(value, 4) for value in M[0].tolist()]
        [0.6839, 0.3161]

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemmas on the heat kernel and on the multiplicative construction; Higham,
    "Functions of Matrices", SIAM 2008, section 10.3.
    """
    check_steps(num_layers, s=s)
    check_positive_int("num_squarings", num_squarings, minimum=0)
    names = ("identity", "psi", "M")
    square = {("M", "M"): 1.0}
    squarings: list[Layer] = [
        attention(names, square, {("M", "M"): -1.0}, dtype, score={("M", "identity"): 1.0})
        for _ in range(num_squarings)
    ]
    return frozen([*_taylor_layers(num_layers, s / 2**num_squarings, names, "M", dtype), *squarings], names, "M")


def _taylor_layers(num_layers: int, s: float, names: tuple[str, ...], total: str, dtype: torch.dtype) -> list[Layer]:
    """Layers that keep the next term of the Taylor series in `psi` and add it to the register `total`."""
    layers: list[Layer] = []
    for j in range(1, num_layers + 1):
        skip = {("psi", "psi"): -1.0} | ({("psi", total): 1.0} if j == 1 else {})
        layers.append(attention(names, {("psi", "psi"): -s / j, ("psi", total): -s / j}, skip, dtype))
    return layers
