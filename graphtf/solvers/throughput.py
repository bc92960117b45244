"""How much current every edge carries, summed over all pairs of source and sink."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.blocks import block_inverse, component_blocks

MAX_ROWS = 1 << 20  # entries of the flow matrix that are sorted at a time, 8 MiB in float64: what a cache holds


def pair_sum(x: Tensor) -> Tensor:
    r"""Sum of the distances between all pairs of entries of a row, in O(k log k).

    .. math:: \sum_{s < t} |x_s - x_t| = \sum_{i=0}^{k-1} (2 i - k + 1)\, x_{(i)}, \qquad x_{(0)} \le x_{(1)} \le \dots

    Args:
        x: `[e, k]`.

    Returns:
        `[e]`. The gradient in `x_s` is the number of entries below it less the number above it; entries that tie up
        to rounding do not count, which is the symmetric subgradient.

    Example:
        >>> pair_sum(torch.tensor([[0.0, 1.0, 3.0]]))
        tensor([6.])

    Source: Brandes, Fleischer, "Centrality measures based on current flow", STACS 2005.
    """
    k = x.shape[1]
    rank = torch.arange(1 - k, k, 2, dtype=x.dtype, device=x.device)
    # NumPy sorts values alone, vectorised; torch carries the indices along and takes ten times as long.
    values = torch.from_numpy(np.sort(x.detach().numpy(), axis=1)) if x.device.type == "cpu" else x.detach().sort(1)[0]
    total = values @ rank
    if not x.requires_grad:
        return total
    near = 1e3 * torch.finfo(x.dtype).eps * values.abs().amax(1, keepdim=True)
    below = torch.searchsorted(values, x.detach() - near)
    above = k - torch.searchsorted(values, x.detach() + near, right=True)
    linear = ((below - above) * x).sum(1)
    return total + (linear - linear.detach())


def edge_throughput(graph: Incidence, reduce: Callable[[Tensor], Tensor] = pair_sum) -> tuple[Tensor, Tensor]:
    r"""Current through every edge, summed over all pairs of nodes of its component.

    .. math:: T_e = \sum_{s < t} |f_e(s, t)|, \qquad f_e(s, t) = w_e\,(G_u - G_v)(e_s - e_t), \quad e = (u, v),

    where `f(s, t)` is the electric flow of one unit of current from `s` to `t`.

    Args:
        graph: incidence operator of a graph or a batch. Gradients reach its weights.
        reduce: function of rows `w_e (G_u - G_v)` `[e, k]` of the flow matrix, with one value a row: the sum over all
            pairs of columns, or over some. Columns are the nodes of the component in ascending order.

    Returns:
        `[m]`, and the residual: by how much the sum of the leverages `w_e R_e` of a component differs from its number
        of nodes less one, relative to that, at worst.

    Example:
        >>> path = Incidence(torch.tensor([[0, 1], [1, 2]]))
        >>> edge_throughput(path)[0].round(decimals=4)  # of three pairs, two send their current through an edge
        tensor([2., 2.])

    Source: Brandes, Fleischer, "Centrality measures based on current flow", STACS 2005; Foster's theorem, 1949.
    """
    found, where = [], []
    residual = graph.weight.new_zeros(())
    for block in component_blocks(graph):
        k = block.nodes.shape[1]
        if k == 1:
            continue
        G = block_inverse(graph.weight, block)
        residual = torch.maximum(
            residual, foster_residual(graph.weight[block.edges].detach(), block.row, block.ends, G)
        )
        for part in torch.arange(block.edges.numel(), device=graph.device).split(max(1, MAX_ROWS // k)):
            row, (u, v) = block.row[part], block.ends[:, part]
            flow = graph.weight[block.edges[part], None] * (G[row, u] - G[row, v])
            found.append(reduce(flow))
            where.append(block.edges[part])
    zero = graph.weight.new_zeros(graph.num_edges)
    return (zero.index_put((torch.cat(where),), torch.cat(found)) if found else zero), residual


def foster_residual(weight: Tensor, row: Tensor, ends: Tensor, G: Tensor) -> Tensor:
    """By how much the leverages of a component of `k` nodes miss their sum `k - 1`, relative to it, at worst.

    Args:
        weight: `[e]` conductances.
        row: `[e]` component of every edge.
        ends: `[2, e]` end points within the component.
        G: `[g, k, k]` generalized inverses.

    Returns:
        A scalar.
    """
    G = G.detach()
    u, v = ends
    leverage = weight * (G[row, u, u] + G[row, v, v] - 2 * G[row, u, v])
    rank = G.shape[1] - 1
    return (weight.new_zeros(G.shape[0]).index_add(0, row, leverage) - rank).abs().max() / rank
