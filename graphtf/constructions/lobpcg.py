"""LOBPCG: eigenvectors by memory whose coefficients are attention scores between registers."""

from __future__ import annotations

import torch

from graphtf.attention import Layer
from graphtf.constructions._weights import check_steps, frozen
from graphtf.lobpcg import LOBPCG
from graphtf.memory import Preconditioner
from graphtf.transformer import LinearTransformer


def lobpcg(
    num_layers: int, preconditioner: Preconditioner = "none", dtype: torch.dtype = torch.float64
) -> LinearTransformer:
    r"""Eigenvectors of the `k` smallest eigenvalues of `L`, one :class:`graphtf.lobpcg.LOBPCG` a step.

    The layers need no bounds of the spectrum. The sum of the Ritz values falls with every layer; asymptotically the
    error falls as that of conjugate gradients with the gap in place of the smallest eigenvalue, instead of as that of
    gradient descent for :func:`subspace_iteration`. Start from `k` linearly independent columns; with
    :meth:`graphtf.Incidence.null_vector` as the first one the others stay off it.

    Args:
        num_layers: depth.
        preconditioner: `"none"`, or `"jacobi"` for the inverse diagonal of `L`, which helps where degrees differ.
        dtype: without effect, as the layers have no weights; for the same call as of the other constructions.

    Returns:
        A transformer with registers `x`, orthonormal columns that it reads out, and `p` (the memory).

    Raises:
        ValueError: the depth is not positive, or the preconditioner is none of these.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.ones(3, dtype=torch.float64))  # a path
        >>> x = lobpcg(8)(B, x=torch.eye(4, 2, dtype=torch.float64))
        >>> [round(abs(value), 6) for value in torch.linalg.eigvalsh(x.T @ (B.laplacian @ x)).tolist()]
        [0.0, 0.585786]

    Reference: Knyazev, SIAM J. Sci. Comput. 23, 2001.
    """
    check_steps(num_layers)
    layers: list[Layer] = [LOBPCG(preconditioner) for _ in range(num_layers)]
    return frozen(layers, LOBPCG.REGISTERS, "x")
