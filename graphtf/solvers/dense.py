"""Dense answers: the reference, and the fastest way for small graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.differentiable import cholesky_inverse
from graphtf.incidence import Incidence


def laplacian_pinv(graph: Incidence) -> Tensor:
    r"""Pseudo-inverse of the Laplacian, from one Cholesky factorisation.

    .. math:: L^+ = (L + \sum_c v_c v_c^\top)^{-1} - \sum_c v_c v_c^\top,

    where :math:`v_c` is the unit vector that is constant on component `c`.

    Args:
        graph: incidence operator of a graph or a batch, at most some thousand nodes. Gradients reach its weights.

    Returns:
        `[n, n]`, with zeros between components.

    Example:
        >>> import torch
        >>> laplacian_pinv(Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0])))
        tensor([[ 0.1250, -0.1250],
                [-0.1250,  0.1250]])

    Source: Ghosh, Boyd, Saberi, "Minimizing effective resistance of a graph", SIAM Review 2008, section 2.
    """
    labels, v = graph.components(), graph.null_vector()
    same = labels[:, None] == labels[None, :]
    projector = v[:, None] * v[None, :] * same
    # The scale of the projector is free: that of L keeps the matrix well conditioned.
    scale = (
        graph.degree.mean().detach().clamp(min=torch.finfo(graph.dtype).tiny)
        if graph.num_edges
        else graph.weight.new_ones(())
    )
    factor = torch.linalg.cholesky(graph.laplacian_dense() + scale * projector)
    return cholesky_inverse(factor) - projector / scale
