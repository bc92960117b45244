"""Several electrical networks on the same edges: powers of their walks and leverages of their edges, with gradients.

Where numba is installed, small graphs on the CPU are handled by compiled loops; else, and on other devices, head by
head by tensor operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.compiled import has_numba, is_traced
from graphtf.differentiable import by_tensors, is_differentiated_again, stays_in_torch
from graphtf.incidence import Incidence
from graphtf.nn.blocks import Blocks, block_leverages, block_powers
from graphtf.powers import power_entries

LARGEST = 128  # nodes of a graph in the compiled loops


def head_entries(graph: Incidence, weight: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    r"""Diagonals, and entries at the edges, of :math:`T_h^l`, `l = 1 ... degree`, `T_h = I - L_h` normalized.

    .. math:: T_h = D_h^{-1/2} A_h D_h^{-1/2} \quad (1 \text{ on isolated nodes})

    is similar to the random walk on the network with the conductances of head `h`.

    Args:
        graph: plain operator, whose own weights are not used.
        weight: `[H, m]` positive conductances. Gradients reach them.
        degree: the largest power, at least 1.

    Returns:
        `[H, n, degree]` and `[H, m, degree]`; gradients need the latter, which must not be changed in place.

    Example:
        >>> import torch
        >>> triangle = Incidence(torch.tensor([[0, 0, 1], [1, 2, 2]]))
        >>> node, edge = head_entries(triangle, torch.ones(1, 3), 3)
        >>> node[0, 0], edge[0, 0]
        (tensor([0.0000, 0.5000, 0.2500]), tensor([0.5000, 0.2500, 0.3750]))

    Source: Dwivedi et al., ICLR 2022 (return probabilities as encoding); the layers are those of
    :func:`graphtf.random_walk`.
    """
    where = contiguous(graph)
    if where is None:
        return _plain_entries(graph, weight, degree)
    node, edge = _Entries.apply(weight, *graph.index, *where, degree)
    return node, edge


def walk_entries(weight: Tensor, u: Tensor, v: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """`[H, m]` entries at the edges and `[H, n]` diagonals of the normalized `T_h`; see :func:`head_entries`."""
    d = weight.new_zeros(len(weight), num_nodes).index_add(1, u, weight).index_add(1, v, weight)
    scale = torch.where(d > 0, torch.where(d > 0, d, 1.0).rsqrt(), 0.0)
    off = weight * scale.index_select(1, u) * scale.index_select(1, v)
    return off, (d == 0).to(off)


def head_leverages(graph: Incidence, weight: Tensor) -> Tensor:
    r"""Leverages :math:`w_e R_e` of all edges in every network.

    A bridge has leverage 1, an edge of a ring of k equal edges :math:`(k - 1) / k`.

    Args:
        graph: plain operator, whose own weights are not used.
        weight: `[H, m]` positive conductances. Gradients reach them.

    Returns:
        `[m, H]`, summing to the number of nodes less the number of components.

    Example:
        >>> import torch
        >>> triangle = Incidence(torch.tensor([[0, 0, 1], [1, 2, 2]]))
        >>> head_leverages(triangle, torch.ones(1, 3)).flatten()
        tensor([0.6667, 0.6667, 0.6667])

    Source: Spielman, Srivastava, "Graph sparsification by effective resistances", SIAM J. Comput. 40, 2011.
    """
    where = contiguous(graph)
    if where is None:
        from graphtf.solvers import leverage_scores

        return torch.stack([leverage_scores(graph._replace(weight=w)).value for w in weight], 1)
    u, v = graph.index
    return _Leverages.apply(weight, u, v, *where).t()


def contiguous(graph: Incidence) -> tuple[Tensor, Tensor] | None:
    """`[G + 1]` starts of nodes and of edges of the graphs of a batch; `None` where the compiled loops do not apply.

    The operator remembers them.
    """
    if graph.device.type != "cpu" or not has_numba() or is_traced() or graph.num_nodes == 0:
        return None
    if graph._starts is None:
        with torch.inference_mode(False):  # they are remembered, and may be saved for a derivative later
            batch, of_edge = graph.batch, graph.batch[graph.index[0]]
            if not (bool((batch[1:] >= batch[:-1]).all()) and bool((of_edge[1:] >= of_edge[:-1]).all())):
                return None
            counts = [torch.bincount(part, minlength=graph.num_graphs) for part in (batch, of_edge)]
            nodes, edges = (torch.cat([count.new_zeros(1), count.cumsum(0)]) for count in counts)
        graph._starts = nodes, edges
    return None if int(graph._starts[0].diff().max()) > LARGEST else graph._starts


def _plain_entries(graph: Incidence, weight: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    nodes, edges = [], []
    for w in weight:
        node, edge = power_entries(graph._replace(weight=w).normalized("sym"), degree, graph.index)
        nodes.append(node[:, 1:])
        edges.append(edge[:, 1:])
    return torch.stack(nodes), torch.stack(edges)


class _Entries(torch.autograd.Function):
    """`[H, n, k]` and `[H, m, k]` entries of the powers of `T`, from the conductances."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, u: Tensor, v: Tensor, nodes: Tensor, edges: Tensor, k: int
    ) -> tuple[Tensor, Tensor]:
        from graphtf.nn import powers_numba

        arguments = [t.detach().contiguous().numpy() for t in (nodes, edges, u, v, weight)]
        node, edge = (weight.new_empty(len(weight), size, k) for size in (int(nodes[-1]), weight.shape[1]))
        powers_numba.entries(*arguments, node.numpy(), edge.numpy())
        ctx.save_for_backward(weight, u, v, nodes, edges, edge)
        return node, edge

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.nn import powers_numba

        weight, u, v, nodes, edges, edge = ctx.saved_tensors
        if is_differentiated_again(*gradients):
            blocks = Blocks.of(nodes)

            def entries(weight: Tensor) -> tuple[Tensor, Tensor]:
                walk = walk_entries(weight, u, v, int(nodes[-1]))
                return block_powers(*walk, u, v, blocks, gradients[0].shape[2])[1:]

            return *by_tensors(entries, (weight,), gradients), None, None, None, None, None
        arguments = [t.detach().contiguous().numpy() for t in (nodes, edges, u, v, weight, edge, *gradients)]
        of_weight = weight.new_empty(weight.shape)  # numba fills it: contiguous, whatever the weights are
        powers_numba.gradients(*arguments, of_weight.numpy())
        return of_weight, None, None, None, None, None


class _Leverages(torch.autograd.Function):
    """`[H, m]` leverages; computed in float64."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, nodes: Tensor, edges: Tensor) -> Tensor:
        from graphtf.nn import leverage_numba

        w = weight.detach().double().contiguous()
        leverage = torch.empty_like(w)
        leverage_numba.leverages(*[t.numpy() for t in (nodes, edges, u, v, w, leverage)])
        ctx.save_for_backward(u, v, nodes, edges, weight)
        return leverage.to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.nn import leverage_numba

        u, v, nodes, edges, weight = ctx.saved_tensors
        found = None
        if is_differentiated_again(*gradients):
            (found,) = by_tensors(lambda weight: block_leverages(weight, u, v, Blocks.of(nodes)), (weight,), gradients)
            if found is None or any(map(stays_in_torch, gradients)):
                return found, None, None, None, None
        w, of_leverage = weight.detach().double().contiguous(), gradients[0].detach().double().contiguous()
        of_w = torch.empty_like(w)
        leverage_numba.gradients(*[t.numpy() for t in (nodes, edges, u, v, w, of_leverage, of_w)])
        exact = of_w.to(weight.dtype)
        if found is not None:  # the loops lose nothing where conductances spread far; tensors know the derivative
            exact = exact + (found - found.detach())
        return exact, None, None, None, None
