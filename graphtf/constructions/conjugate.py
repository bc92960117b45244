"""Conjugate gradients: memory whose coefficients are attention scores between registers."""

from __future__ import annotations

import torch

from graphtf.attention import Layer
from graphtf.constructions._weights import check_steps, frozen
from graphtf.memory import ConjugateGradient, Preconditioner
from graphtf.transformer import LinearTransformer


def conjugate_gradient(
    num_layers: int, preconditioner: Preconditioner = "none", dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Potentials :math:`L^+ \psi` by conjugate gradients, one :class:`graphtf.memory.ConjugateGradient` a step.

    The layers need no bounds of the spectrum: their coefficients are ratios of inner products of registers, for every
    graph and column of its own. In exact arithmetic the error is the smallest, in the energy norm, that `l` products
    with `L` can give, so it keeps the bound of :func:`chebyshev`, and it is zero after as many layers as `L` has
    distinct positive eigenvalues. Columns that have converged stay as they are.

    Args:
        num_layers: depth `l`.
        preconditioner: `"none"`, or `"jacobi"` for the inverse diagonal of `L`, which helps where weights differ in
            size; the answer is then :math:`L^+ \psi` up to a constant on every component, which
            :meth:`graphtf.Incidence.center` removes.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `psi` (the demands, zero sum on every component; later the residual
        :math:`\psi - L x`), `x`, which it reads out, `p` (the direction), `rho` and `peak`.

    Raises:
        ValueError: the depth is not positive, or the preconditioner is none of these.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]))  # a path: two distinct positive eigenvalues
        >>> x = conjugate_gradient(2)(B, psi=torch.tensor([2.0, -1.0, -1.0]))
        >>> [round(value, 4) for value in x.tolist()]
        [1.6667, -0.3333, -1.3333]

    Reference: Hestenes, Stiefel, J. Res. Nat. Bur. Standards 49, 1952; as a transformer with memory: Dutta, Sra,
    "Memory-augmented Transformers can implement Linear First-Order Optimization Methods", 2024.
    """
    check_steps(num_layers)
    one = torch.ones((), dtype=dtype)
    layers: list[Layer] = [ConjugateGradient(one.clone(), one.clone(), preconditioner) for _ in range(num_layers)]
    return frozen(layers, ConjugateGradient.REGISTERS, "x")
