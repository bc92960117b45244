"""Subspace iteration, plain and with a Chebyshev filter, and powers of the random-walk operator."""

from __future__ import annotations

from typing import Literal

import torch

from graphtf.attention import Layer, Norm
from graphtf.constructions._weights import attention, check_interval, check_steps, frozen
from graphtf.constructions.momentum import chebyshev_steps, momentum_layer
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int


def subspace_iteration(
    num_layers: int,
    mu: float,
    orthonormalize: bool = True,
    dtype: torch.dtype = torch.float64,
    which: Literal["smallest", "largest"] = "smallest",
) -> LinearTransformer:
    r"""Eigenvectors of the `k` smallest or largest eigenvalues of `L`, by subspace iteration.

    .. math:: \Phi_{l+1} = \mathrm{GramSchmidt}((I - L / \mu) \Phi_l) \quad\text{or}\quad
        \mathrm{GramSchmidt}((L / \mu) \Phi_l)

    One layer: score `L`, value Phi to Phi with :math:`-1/\mu` (for the largest :math:`1/\mu` and the skip -1); then
    Gram-Schmidt by attention and column normalisation. The tangent of the angle to the wanted subspace shrinks by
    :math:`(\mu - \lambda_{k+1}) / (\mu - \lambda_k)` a layer if :math:`\mu \ge \lambda_{max}`, and for the largest,
    numbered from the top, by :math:`\lambda_{k+1} / \lambda_k`. Start from `k` linearly independent columns; for the
    smallest, with :meth:`graphtf.Incidence.null_vector` as the first one the others stay off it. Columns past the
    number of nodes become zero.

    Args:
        num_layers: depth.
        mu: shift, at least `lambda_max`; `B.lambda_bound()` is safe. For the largest it only scales.
        orthonormalize: `False` leaves the powers of `I - L / mu` as they are.
        dtype: floating type of the weights.
        which: `"smallest"` or `"largest"` eigenvalues.

    Returns:
        A transformer with the single register `phi`.

    Raises:
        ValueError: depth or shift is not positive, or `which` is none of these.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))  # a path
        >>> phi = subspace_iteration(40, mu=4.0)(B, phi=torch.eye(3, 2, dtype=torch.float64))
        >>> eigenvalues = (phi.T @ (B.laplacian @ phi)).diagonal()
        >>> [round(value, 6) for value in eigenvalues.tolist()]
        [0.0, 1.0]

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma on subspace iteration; Golub, Van Loan, "Matrix Computations", 7.3.2.
    """
    check_steps(num_layers, mu=mu)
    check_choice("which", which, ("smallest", "largest"))
    sign = -1.0 if which == "smallest" else 1.0
    skip = {} if which == "smallest" else {("phi", "phi"): -1.0}
    layers: list[Layer] = [
        attention(
            ("phi",),
            {("phi", "phi"): sign / mu},
            skip,
            dtype,
            norm="gram_schmidt" if orthonormalize else "none",
        )
        for _ in range(num_layers)
    ]
    return frozen(layers, ("phi",), "phi")


def chebyshev_subspace_iteration(
    num_filters: int, degree: int, cut: float, lambda_max: float, dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Eigenvectors of the smallest eigenvalues of `L`, by subspace iteration with a Chebyshev filter.

    .. math:: \Phi_{i+1} = \mathrm{GramSchmidt}(p_d(L) \Phi_i), \qquad
        p_d(\lambda) = \frac{T_d((c + b - 2\lambda) / (b - c))}{T_d((c + b) / (b - c))}

    with :math:`c` the cut and :math:`b = \lambda_{max}`. The filter is small on :math:`[c, b]` and grows below it. Its
    `d` layers are those of :func:`chebyshev` without demands; memory is the register `last`. If
    :math:`\lambda_k < c = \lambda_{k+1}`, the tangent of the angle to the wanted subspace shrinks by
    :math:`1 / T_d((c + b - 2\lambda_k) / (b - c))` a filter. Single eigenvectors come from the `k x k` matrix
    :math:`\Phi^\top L \Phi`: inside the subspace the columns turn towards them more slowly.

    Args:
        num_filters: number of filters, each followed by Gram-Schmidt.
        degree: degree `d` of the filter, the number of layers between two orthonormalisations.
        cut: start of the unwanted part of the spectrum, best the eigenvalue after the last wanted one.
        lambda_max: end of the spectrum; `B.lambda_bound()` is safe.
        dtype: floating type of the weights.

    Returns:
        A transformer of `num_filters * degree` layers with registers `phi`, which it reads out, and `last`.

    Raises:
        ValueError: a count is not positive, or the bounds are not ordered.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.ones(3, dtype=torch.float64))  # a path
        >>> phi = chebyshev_subspace_iteration(4, degree=5, cut=2.0, lambda_max=4.0)(
        ...     B, phi=torch.eye(4, 2, dtype=torch.float64))
        >>> [round(abs(value), 6) for value in torch.linalg.eigvalsh(phi.T @ (B.laplacian @ phi)).tolist()]
        [0.0, 0.585786]

    Reference: Zhou, Saad, Tiago, Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace
    iteration", J. Comput. Phys. 219, 2006; Saad, "Numerical Methods for Large Eigenvalue Problems", section 7.4.
    """
    check_positive_int("num_filters", num_filters)
    check_positive_int("degree", degree)
    check_interval(cut, lambda_max)
    steps = chebyshev_steps(degree, cut, lambda_max)
    layers: list[Layer] = []
    for _ in range(num_filters):
        for i, (alpha, beta) in enumerate(steps):
            norm: Norm = "gram_schmidt" if i == degree - 1 else "none"
            layers.append(momentum_layer(("phi", "last"), "phi", alpha, beta, dtype, norm))
    return frozen(layers, ("phi", "last"), "phi")


def random_walk(num_layers: int, dtype: torch.dtype = torch.float64) -> LinearTransformer:
    r"""Powers :math:`\Phi_l = (I - L)^l \Phi_0`; on a `"sym"` normalized operator those of the random walk.

    There :math:`(I - L)^l = D^{1/2} P^l D^{-1/2}` with :math:`P = D^{-1} A`, so that from the identity the diagonal
    holds the probabilities of return after `l` steps.

    Args:
        num_layers: number of steps `l`.
        dtype: floating type of the weights.

    Returns:
        A transformer with the single register `phi`.

    Raises:
        ValueError: the depth is not positive.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1, 2], [1, 2, 0]])).normalized("sym")  # a triangle
        >>> probability = random_walk(2)(B, phi=torch.eye(3)).diagonal()  # of being back after two steps
        >>> [round(value, 4) for value in probability.tolist()]
        [0.5, 0.5, 0.5]
    """
    return subspace_iteration(num_layers, mu=1.0, orthonormalize=False, dtype=dtype)
