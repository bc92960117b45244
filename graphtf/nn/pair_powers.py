"""All entries of polynomials in `T = I - L` on many small graphs, with gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from graphtf.incidence import Incidence
from graphtf.layout import local_index
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
    local, N = local_index(graph)
    heads, G = len(off), graph.num_graphs
    row = (graph.batch * N + local) * N
    u, v = graph.index
    at_edge, own = row[u] + local[v], row + local
    at = torch.cat([at_edge, row[v] + local[u], own])
    entries = torch.cat([off, off, diagonal], 1)
    walk = entries.new_zeros(heads, G * N * N).index_add(1, at, entries).view(heads * G, N, N)
    identity = walk.new_zeros(G * N * N).index_fill_(0, own, 1.0).expand(heads, -1)
    power, powers = walk, [identity]
    for j in range(1, maps.shape[2]):
        power = torch.bmm(walk, power) if j > 1 else walk
        powers.append(power.view(heads, -1))
    stack = torch.stack(powers, 1)  # [H, k + 1, G N N]
    out = (maps @ stack).flatten(0, 1) if apart else maps.transpose(0, 1).flatten(1) @ stack.flatten(0, 1)
    node, edge = (stack[:, 1:].index_select(2, place).transpose(1, 2) for place in (own, at_edge))
    return out.view(len(out), G, N, N).transpose(0, 1), node, edge


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
        (heads, rows, terms), size = maps.shape, int(nodes.diff().max())
        out = off.new_zeros(len(nodes) - 1, heads * rows if apart else rows, size, size)
        node, edge = (off.new_empty(heads, number, terms - 1) for number in (diagonal.shape[1], off.shape[1]))
        pair_powers_numba.all_entries(*_arrays(nodes, edges, u, v, off, diagonal, maps, out, node, edge))
        return out, node, edge

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.nn import pair_powers_numba

        off, diagonal, maps, u, v, nodes, edges = ctx.saved_tensors
        found = [t.new_empty(t.shape) for t in (off, diagonal, maps)]  # filled, so contiguous
        pair_powers_numba.all_gradients(*_arrays(nodes, edges, u, v, off, diagonal, maps, *gradients, *found))
        return *found, None, None, None, None, None


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
