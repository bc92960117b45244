"""Weights that make a linear transformer run a known graph algorithm, one function an algorithm.

The weights are ordinary parameters of the layers, frozen so that an answer carries no gradient graph of its own;
`transformer.requires_grad_()` makes them learnable from there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphtf.attention import StructuredAttention
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_positive_int


def _check(num_layers: int, **positive: float) -> None:
    check_positive_int("num_layers", num_layers)
    for name, value in positive.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, but got {value}")


def _map(entries: dict[tuple[int, int], float], registers: int, dtype: torch.dtype) -> Tensor:
    """`[p, p, 1]` map of the registers with the given entries (from, to)."""
    out = torch.zeros(registers, registers, 1, dtype=dtype)
    for (a, b), value in entries.items():
        out[a, b] = value
    return out


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
    _check(num_layers, delta=delta)
    layers = [
        StructuredAttention(
            laplacian=torch.ones(1, dtype=dtype),
            value=_map({(1, 1): -delta}, 2, dtype).unsqueeze(0),
            skip=_map({(0, 1): delta}, 2, dtype),
        )
        for _ in range(num_layers)
    ]
    return LinearTransformer(layers, registers=("psi", "x"), readout="x").requires_grad_(False)


def subspace_iteration(
    num_layers: int, mu: float, orthonormalize: bool = True, dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Eigenvectors of the `k` smallest eigenvalues of `L`, by subspace iteration.

    .. math:: \Phi_{l+1} = \mathrm{GramSchmidt}((I - L / \mu) \Phi_l)

    One layer: score `L`, value Phi to Phi with :math:`-1/\mu`; then Gram-Schmidt by attention and column normalisation.
    The tangent of the angle to the wanted subspace shrinks by
    :math:`(\mu - \lambda_{k+1}) / (\mu - \lambda_k)` a layer if :math:`\mu \ge \lambda_{max}`. Start from `k` linearly
    independent columns; with :meth:`graphtf.Incidence.null_vector` as the first one the others stay off it. Columns
    past the number of nodes become zero.

    Args:
        num_layers: depth.
        mu: shift, at least `lambda_max`; `B.lambda_bound()` is safe.
        orthonormalize: `False` leaves the powers of `I - L / mu` as they are.
        dtype: floating type of the weights.

    Returns:
        A transformer with the single register `phi`.

    Raises:
        ValueError: depth or shift is not positive.

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
    _check(num_layers, mu=mu)
    layers = [
        StructuredAttention(
            laplacian=torch.ones(1, dtype=dtype),
            value=_map({(0, 0): -1 / mu}, 1, dtype).unsqueeze(0),
            skip=_map({}, 1, dtype),
            norm="gram_schmidt" if orthonormalize else "none",
        )
        for _ in range(num_layers)
    ]
    return LinearTransformer(layers, registers=("phi",), readout="phi").requires_grad_(False)


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


CONSTRUCTIONS: dict[str, Callable[..., LinearTransformer]] = {
    "electric": electric_flow,
    "eigenvectors": subspace_iteration,
    "random-walk": random_walk,
}
