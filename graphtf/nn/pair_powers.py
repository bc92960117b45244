"""All entries of polynomials in `T = I - L` on many small graphs, with gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphtf.differentiable import by_tensors, is_differentiated_again
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.nn.blocks import Blocks, block_powers
from graphtf.nn.heads import contiguous


class NodePairs(NamedTuple):
    """All `S` ordered pairs of nodes of one graph, graph after graph, row after row of their matrices."""

    tail: Tensor  # [S]
    head: Tensor  # [S]
    place: Tensor  # [S] in matrices padded to [G, N, N]
    size: int  # N, nodes of the largest graph


def node_pairs(graph: Incidence) -> NodePairs:
    """List the pairs of nodes of every graph of a batch.

    Example:
        >>> import torch
        >>> pairs = node_pairs(Incidence(torch.tensor([[0], [1]]), num_nodes=3, batch=torch.tensor([0, 0, 1])))
        >>> pairs.tail.tolist(), pairs.head.tolist(), pairs.place.tolist()
        ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2], [0, 1, 2, 3, 4])
    """
    local, size = local_index(graph)
    count = torch.bincount(graph.batch, minlength=graph.num_graphs)
    row = graph.batch * size + local  # of every node among the padded ones
    order = row.argsort()  # graph after graph, also where a batch mixes its nodes
    tail = torch.repeat_interleave(order, count[graph.batch[order]])  # one entry a pair
    block, length = graph.batch[tail], count * count
    column = (torch.arange(len(tail), device=tail.device) - (length.cumsum(0) - length)[block]) % count[block]
    start = count.cumsum(0) - count
    head = order[start[block] + column]
    return NodePairs(tail, head, row[tail] * size + column, size)


def pair_polynomials(
    graph: Incidence, off: Tensor, diagonal: Tensor, maps: Tensor, apart: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    r"""All entries of polynomials in several operators on the edges of the same graphs.

    .. math:: \mathrm{out}_c = \sum_h \sum_{j=0}^k M_{hcj} T_h^j

    Where numba is installed, batches of small graphs on the CPU are handled by compiled loops, which multiply by a
    sparse `T` and keep no power; else by products of padded blocks.

    Args:
        graph: the edges, and which graph is whose.
        off: `[H, m]` entries of `T` at the edges.
        diagonal: `[H, n]` entries on the diagonal.
        maps: `[H, C, k + 1]` coefficients. Gradients reach all three.
        apart: leave out the sum over the heads.

    Returns:
        `[G, C, N, N]` (`[G, H C, N, N]` head after head with `apart`) with `N` nodes in the largest graph, zero in the
        padding; and entries of the powers `1 ... k` that have been met: `[H, n, k]` on the diagonal, `[H, m, k]` at the
        edges.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]))
        >>> maps = torch.tensor([[[0.5, 1.0, 2.0]]])
        >>> out, node, _ = pair_polynomials(edge, torch.ones(1, 1), torch.zeros(1, 2), maps)
        >>> out[0, 0], node[0, 0]  # I / 2 + T + 2 T^2
        (tensor([[2.5000, 1.0000],
                [1.0000, 2.5000]]), tensor([0., 1.]))
    """
    where = contiguous(graph)
    if where is not None:
        return _Polynomials.apply(off, diagonal, maps, *graph.index, *where, apart)
    local, size = local_index(graph)
    blocks = Blocks(graph.batch * size + local, local, size, graph.num_graphs)
    u, v = graph.index
    stack, node, edge = block_powers(off, diagonal, u, v, blocks, maps.shape[2] - 1)
    return _polynomials(stack, maps, blocks, apart), node, edge


def _polynomials(stack: Tensor, maps: Tensor, blocks: Blocks, apart: bool) -> Tensor:
    """`[G, C, N, N]` from the powers `[H, k + 1, G N N]`."""
    out = (maps @ stack).flatten(0, 1) if apart else maps.transpose(0, 1).flatten(1) @ stack.flatten(0, 1)
    return out.view(len(out), blocks.number, blocks.size, blocks.size).transpose(0, 1)


class _Polynomials(torch.autograd.Function):
    """`pair_polynomials` by compiled loops."""

    @staticmethod
    def forward(
        ctx: Any,
        off: Tensor,
        diagonal: Tensor,
        maps: Tensor,
        u: Tensor,
        v: Tensor,
        nodes: Tensor,
        edges: Tensor,
        apart: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        from graphtf.nn import pair_powers_numba

        ctx.save_for_backward(off, diagonal, maps, u, v, nodes, edges)
        ctx.apart = apart
        (heads, rows, terms), size = maps.shape, int(nodes.diff().max())
        out = off.new_zeros(len(nodes) - 1, heads * rows if apart else rows, size, size)
        node, edge = (off.new_empty(heads, number, terms - 1) for number in (diagonal.shape[1], off.shape[1]))
        pair_powers_numba.all_entries(*_arrays(nodes, edges, u, v, off, diagonal, maps, out, node, edge))
        return out, node, edge

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.nn import pair_powers_numba

        off, diagonal, maps, u, v, nodes, edges = ctx.saved_tensors
        if is_differentiated_again(*gradients):

            def entries(off: Tensor, diagonal: Tensor, maps: Tensor) -> tuple[Tensor, ...]:
                blocks = Blocks.of(nodes)
                stack, node, edge = block_powers(off, diagonal, u, v, blocks, maps.shape[2] - 1)
                return _polynomials(stack, maps, blocks, ctx.apart), node, edge

            return *by_tensors(entries, (off, diagonal, maps), gradients), None, None, None, None, None
        found = [t.new_empty(t.shape) for t in (off, diagonal, maps)]  # filled, so contiguous
        pair_powers_numba.all_gradients(*_arrays(nodes, edges, u, v, off, diagonal, maps, *gradients, *found))
        return *found, None, None, None, None, None


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
