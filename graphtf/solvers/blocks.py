"""Connected components of one size as dense blocks, with an inverse of the Laplacian each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from graphtf.differentiable import cholesky_inverse
from graphtf.incidence import Incidence

MAX_ENTRIES = 1 << 24  # of the dense blocks that are inverted at a time, 128 MiB in float64


@dataclass(frozen=True)
class Block:
    """Connected components of equal size.

    Attributes:
        nodes: `[g, k]` the nodes of every component.
        edges: `[e]` the edges within them, as columns of the operator.
        row: `[e]` the component of every edge, `0 ... g - 1`.
        ends: `[2, e]` its end points, as positions `0 ... k - 1` within the component.
    """

    nodes: Tensor
    edges: Tensor
    row: Tensor
    ends: Tensor


def component_blocks(graph: Incidence, max_entries: int = MAX_ENTRIES) -> Iterator[Block]:
    """The connected components of a graph or batch, those of equal size together.

    Args:
        graph: incidence operator.
        max_entries: largest number `g k^2` of entries of the dense blocks (a single component may exceed it).

    Returns:
        Blocks in the order of their size; every node is in exactly one, in ascending order within its component.

    Example:
        >>> import torch
        >>> path = Incidence(torch.tensor([[0, 1], [1, 2]]), num_nodes=4)
        >>> [block.nodes.tolist() for block in component_blocks(path)]
        [[[3]], [[0, 1, 2]]]
    """
    labels = graph.components()
    sizes = torch.bincount(labels)
    order = torch.argsort(labels, stable=True)
    start = sizes.cumsum(0) - sizes
    position = torch.empty_like(order)
    position[order] = torch.arange(order.numel(), device=order.device) - start[labels[order]]
    of_edge = labels[graph.index[0]]
    for size in torch.unique(sizes).tolist():
        for members in (sizes == size).nonzero()[:, 0].split(max(1, max_entries // (size * size))):
            row = torch.full_like(sizes, -1)
            row[members] = torch.arange(members.numel(), device=members.device)
            edges = (row[of_edge] >= 0).nonzero()[:, 0]
            yield Block(
                nodes=order[start[members][:, None] + torch.arange(size, device=order.device)],
                edges=edges,
                row=row[of_edge[edges]],
                ends=position[graph.index[:, edges]],
            )


def block_inverse(weight: Tensor, block: Block) -> Tensor:
    r"""A generalized inverse of the Laplacian of every component of a block.

    .. math:: G = (L + d d^\top / \mathbf 1^\top d)^{-1}, \qquad L G = I - d \mathbf 1^\top / \mathbf 1^\top d,

    with the weighted degrees `d`: `G psi` is a potential of every demand that sums to zero. Unlike a multiple of
    :math:`\mathbf 1 \mathbf 1^\top` the added term scales with the rows of `L`, which keeps the factorisation accurate
    when conductances differ by many orders of magnitude.

    Args:
        weight: `[m]` conductances of all edges of the graph. Gradients reach them.
        block: components of one size.

    Returns:
        `[g, k, k]`, symmetric; zero for single nodes.

    Raises:
        ValueError: the conductances differ too much for the factorisation in this dtype.

    Example:
        >>> graph = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> (block,) = component_blocks(graph)
        >>> G = block_inverse(graph.weight, block)[0]
        >>> G[0, 0] + G[1, 1] - 2 * G[0, 1]  # the effective resistance
        tensor(0.5000)

    Source: Kemeny, Snell, "Finite Markov Chains", 1960 (fundamental matrix), in symmetric form.
    """
    g, k = block.nodes.shape
    if k == 1:
        return weight.new_zeros(g, 1, 1)
    (u, v), row = block.ends, block.row
    w = weight[block.edges]
    d = weight.new_zeros(g, k).index_put((row.repeat(2), block.ends.flatten()), w.repeat(2), accumulate=True)
    matrix = d[:, :, None] * (d / d.sum(1, keepdim=True))[:, None, :]
    place = torch.stack([row.repeat(4), torch.cat([u, v, u, v]), torch.cat([u, v, v, u])])
    matrix.index_put_(tuple(place), torch.cat([w, w, -w, -w]), accumulate=True)
    factor, info = torch.linalg.cholesky_ex(matrix)
    # Whether a pivot that is lost to rounding comes out negative is up to the processor.
    pivot = factor.detach().diagonal(dim1=1, dim2=2).square() / matrix.detach().diagonal(dim1=1, dim2=2)
    if bool(info.any()) or float(pivot.amin()) < k * torch.finfo(weight.dtype).eps:
        raise ValueError(
            f"the conductances of a component with {k} nodes range from {float(w.detach().min()):.1e} to "
            f"{float(w.detach().max()):.1e}, too far apart for a factorisation in {weight.dtype}; bring them closer "
            "together"
        )
    return cholesky_inverse(factor)
