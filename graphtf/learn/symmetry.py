"""Gradients of the literal transformer, averaged over all orders and directions of the edges.

The problems know neither, so a weight that does not act alike on all columns of `B` has a gradient of mean zero: from a
few hundred graphs, noise, in which short training drowns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.learn.tasks import MAX_EDGES


def average_over_edges(matrix: Tensor) -> Tensor:
    r"""Mean of :math:`S M S^\top` over all signed permutations `S` of the edge columns.

    The block on `B` becomes a multiple of the identity, the blocks between `B` and the registers vanish, and the block
    on the registers stays. As long as the weights are such matrices themselves, the averaged gradient is the gradient
    of the loss averaged over the `20! 2^20` incidence matrices of every graph.

    Args:
        matrix: `[..., d, d]` weights of the literal transformer, or their gradient; the first 20 columns are edges.

    Example:
        >>> averaged = average_over_edges(torch.ones(22, 22))
        >>> averaged[0, :3].tolist(), averaged[0, 20].item(), averaged[20, 20:].tolist()
        ([1.0, 0.0, 0.0], 0.0, [1.0, 1.0])
    """
    out = torch.zeros_like(matrix)
    mean = matrix[..., :MAX_EDGES, :MAX_EDGES].diagonal(dim1=-2, dim2=-1).mean(-1)
    out[..., :MAX_EDGES, :MAX_EDGES] = mean[..., None, None] * torch.eye(MAX_EDGES, dtype=matrix.dtype)
    out[..., MAX_EDGES:, MAX_EDGES:] = matrix[..., MAX_EDGES:, MAX_EDGES:]
    return out
