"""All entries of the powers of `T = I - L` on many small graphs, with gradients, without what padding would cost."""

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


def pair_powers(graph: Incidence, off: Tensor, diagonal: Tensor, degree: int, pairs: NodePairs) -> Tensor:
    r"""All entries of :math:`T_h^l`, `l = 1 ... degree`, of several operators on the edges of the same graphs.

    Where numba is installed, batches of small graphs on the CPU are handled by compiled loops, which multiply by a
    sparse `T`; else by products of padded blocks.

    Args:
        graph: the edges, and which graph is whose.
        off: `[H, m]` entries of `T` at the edges. Gradients reach them.
        diagonal: `[H, n]` entries on the diagonal. Gradients reach them.
        degree: the largest power, at least 1.
        pairs: those of the graph.

    Returns:
        `[H, degree, S]` in the order of the pairs.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]))
        >>> pair_powers(edge, torch.ones(1, 1), torch.zeros(1, 2), 2, node_pairs(edge))
        tensor([[[0., 1., 1., 0.],
                 [1., 0., 0., 1.]]])
    """
    where = contiguous(graph)
    if where is not None:
        nodes, edges = where
        count = nodes.diff()
        first = torch.cat([count.new_zeros(1), (count * count).cumsum(0)])
        return _PairPowers.apply(off, diagonal, *graph.index, nodes, edges, first, degree)
    local, _ = local_index(graph)
    heads, G, N = len(off), graph.num_graphs, pairs.size
    row = (graph.batch * N + local) * N
    u, v = graph.index
    at = torch.cat([row[u] + local[v], row[v] + local[u], row + local])
    entries = torch.cat([off, off, diagonal], 1)
    walk = entries.new_zeros(heads, G * N * N).index_add(1, at, entries).view(heads * G, N, N)
    power, found = walk, []
    for j in range(degree):
        power = torch.bmm(walk, power) if j else walk
        found.append(power.view(heads, -1).index_select(1, pairs.place))
    return torch.stack(found, 1)


class _PairPowers(torch.autograd.Function):
    """`[H, k, S]` entries of the powers, by compiled loops."""

    @staticmethod
    def forward(
        ctx: Any,
        off: Tensor,
        diagonal: Tensor,
        u: Tensor,
        v: Tensor,
        nodes: Tensor,
        edges: Tensor,
        first: Tensor,
        k: int,
    ) -> Tensor:
        from graphtf.nn import pair_powers_numba

        ctx.save_for_backward(off, diagonal, u, v, nodes, edges, first)
        out = off.new_empty(len(off), k, int(first[-1]))
        pair_powers_numba.all_entries(*_arrays(nodes, edges, first, u, v, off, diagonal, out))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.nn import pair_powers_numba

        off, diagonal, u, v, nodes, edges, first = ctx.saved_tensors
        of_off, of_diagonal = off.new_empty(off.shape), diagonal.new_empty(diagonal.shape)  # filled, so contiguous
        arrays = _arrays(nodes, edges, first, u, v, off, diagonal, gradients[0], of_off, of_diagonal)
        pair_powers_numba.all_gradients(*arrays)
        return of_off, of_diagonal, None, None, None, None, None, None


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
