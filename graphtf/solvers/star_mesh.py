"""Elimination of nodes that are not adjacent, which leaves a smaller electric network with the same potentials."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.blocks import block_inverse, component_blocks
from graphtf.solvers.throughput import foster_residual

SMALLEST = 256  # nodes of a component from which on elimination is worth its time
LARGEST_DEGREE = 16  # edges of a node that is eliminated


class StarMesh:
    r"""A network without the nodes of an independent set, which it replaces by edges between their neighbours.

    .. math:: w'_{uv} = w_{uv} + \sum_{s \in S} \frac{w_{su} w_{sv}}{d_s}, \qquad
        P_{su} = w_{su} / d_s, \qquad L G \psi = \psi, \quad G = P\, G'\, P^\top + D_S^{-1},

    where `G'` is a generalized inverse of the smaller network's Laplacian, and `P` the identity on its nodes. Nothing
    is subtracted, so that conductances keep their relative accuracy over any range.

    Args:
        graph: plain operator, a batch or a single graph. Gradients reach its weights.

    Attributes:
        rest: the smaller network, with parallel edges.
        kept: `[n']` its nodes in `graph`.
        nodes: `[s]` the eliminated ones.
        degree: `[s]` their weighted degrees.
        links: `[s, d]` their neighbours in `rest`, filled up with 0.
        share: `[s, d]` the rows of `P`, filled up with zero.

    Example:
        >>> import torch
        >>> star = StarMesh(Incidence(torch.tensor([[0, 0, 0], [1, 2, 3]])), torch.tensor([0]))
        >>> star.rest.weight  # a star of three units is a triangle of thirds
        tensor([0.3333, 0.3333, 0.3333])

    Source: Rosen, "A new network theorem", Journal of the IEE 62, 1924; Curtis, Ingerman, Morrow, "Circular planar
    graphs and resistor networks", Linear Algebra and its Applications 283, 1998.
    """

    def __init__(self, graph: Incidence, nodes: Tensor) -> None:
        n, (u, v), w = graph.num_nodes, graph.index, graph.weight
        out = torch.zeros(n, dtype=torch.bool, device=graph.device)
        out[nodes] = True
        self.nodes, self.kept = out.nonzero().squeeze(1), (~out).nonzero().squeeze(1)
        place = torch.empty(n, dtype=torch.int64, device=graph.device)
        place[self.kept] = torch.arange(len(self.kept), device=graph.device)
        place[self.nodes] = torch.arange(len(self.nodes), device=graph.device)
        # Edges at an eliminated node, sorted by it; each has one such end.
        at = torch.where(out[u], u, v)
        inner = (out[u] | out[v]).nonzero().squeeze(1)
        inner = inner[torch.argsort(place[at[inner]], stable=True)]
        row = place[at[inner]]
        count = torch.bincount(row, minlength=len(self.nodes))
        column = torch.arange(len(row), device=graph.device) - (count.cumsum(0) - count)[row]
        shape = (len(self.nodes), int(count.max()) if len(count) else 0)
        other = (u + v - at)[inner]
        self.links = torch.zeros(shape, dtype=torch.int64, device=graph.device).index_put((row, column), place[other])
        weight = w.new_zeros(shape).index_put((row, column), w[inner])
        self.degree = weight.sum(1)
        self.share = weight / self.degree.unsqueeze(1)
        a, b = torch.triu_indices(shape[1], shape[1], 1, device=graph.device)
        mesh = torch.stack([self.links[:, a].flatten(), self.links[:, b].flatten()])
        new = (weight[:, a] * self.share[:, b]).flatten()
        used = (new > 0) & (mesh[0] != mesh[1])
        outer = (~(out[u] | out[v])).nonzero().squeeze(1)
        self.rest = Incidence(
            torch.cat([place[graph.index[:, outer]], mesh[:, used]], 1),
            torch.cat([w[outer], new[used]]),
            len(self.kept),
            graph.batch[self.kept],
            graph.num_graphs,
            validate=False,
        )
        self.rest._components = torch.unique(graph.components()[self.kept], return_inverse=True)[1]


def independent_set(graph: Incidence) -> Tensor:
    """Nodes of small degree, no two of them adjacent, in components of at least 256 nodes; greedy, in ascending degree.

    Example:
        >>> import torch
        >>> independent_set(Incidence(torch.tensor([[0, 1], [1, 2]])))
        tensor([], dtype=torch.int64)
    """
    n, device = graph.num_nodes, graph.device
    labels = graph.components()
    size = torch.bincount(labels)[labels]
    ends = torch.cat([graph.index, graph.index.flip(0)], 1)
    degree = torch.bincount(ends[0], minlength=n)
    wanted = (size >= SMALLEST) & (degree <= LARGEST_DEGREE)
    if not bool(wanted.any()):
        return torch.zeros(0, dtype=torch.int64, device=device)
    neighbours = ends[1, torch.argsort(ends[0], stable=True)].tolist()
    stop = degree.cumsum(0).tolist()
    candidates = wanted.nonzero().squeeze(1)
    order = candidates[torch.argsort(degree[candidates], stable=True)].tolist()
    taken, free = [], bytearray(b"\x01") * n
    for node in order:
        if free[node]:
            taken.append(node)
            for other in neighbours[stop[node - 1] if node else 0 : stop[node]]:
                free[other] = 0
    return torch.tensor(taken, dtype=torch.int64, device=device)


def generalized_diagonal(graph: Incidence) -> tuple[Tensor, Tensor, Tensor]:
    r"""Diagonal and row sums of a generalized inverse of the Laplacian: :math:`L G \psi = \psi` for centered demands.

    Args:
        graph: plain operator, a batch or a single graph. Gradients reach its weights.

    Returns:
        `[n]` diagonal, `[n]` sums, and the residual: by how much the sum of the leverages of a component misses its
        number of nodes less one, relative to that, at worst.

    Raises:
        ValueError: the conductances differ too much for the factorisation in this dtype.

    Example:
        >>> import torch
        >>> diagonal, row_sum, _ = generalized_diagonal(Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0])))
        >>> diagonal.sum() + (2 * diagonal - 2 * row_sum)[0]  # resistances from node 0 to both
        tensor(0.5000)
    """
    mesh = StarMesh(graph, independent_set(graph))
    rest, links, share = mesh.rest, mesh.links, mesh.share
    n = graph.num_nodes
    # How many nodes of `graph` a node of `rest` stands for: P^T applied to ones.
    load = graph.weight.new_ones(rest.num_nodes).index_add(0, links.flatten(), share.flatten())
    row, local = torch.full((2, rest.num_nodes), -1, device=graph.device)
    diagonal, row_sum = graph.weight.new_zeros(2, n).unbind()
    residual = graph.weight.new_zeros(())
    for block in component_blocks(rest):
        g, k = block.nodes.shape
        row.fill_(-1)[block.nodes] = torch.arange(g, device=graph.device).unsqueeze(1)
        local[block.nodes] = torch.arange(k, device=graph.device)
        G = block_inverse(rest.weight, block)
        if k > 1:
            weight = rest.weight[block.edges].detach()
            residual = torch.maximum(residual, foster_residual(weight, block.row, block.ends, G))
        sums = torch.bmm(G, load[block.nodes].unsqueeze(2)).flatten()
        inner = mesh.kept[block.nodes].flatten()
        diagonal = diagonal.index_put((inner,), G.diagonal(dim1=1, dim2=2).flatten())
        row_sum = row_sum.index_put((inner,), sums)
        if not links.numel():
            continue
        mine = (row[links[:, 0]] >= 0).nonzero().squeeze(1)
        p, at = share[mine], torch.where(share[mine] > 0, links[mine], links[mine, :1])
        of, position = row[at[:, 0]], local[at]
        between = G[of[:, None, None], position.unsqueeze(2), position.unsqueeze(1)]  # [s, d, d]
        own = 1 / mesh.degree[mine]
        quadratic = (p.unsqueeze(1) @ between @ p.unsqueeze(2)).flatten()
        diagonal = diagonal.index_put((mesh.nodes[mine],), quadratic + own)
        flat = (of.unsqueeze(1) * k + position).flatten()
        row_sum = row_sum.index_put((mesh.nodes[mine],), (p * sums[flat].view_as(p)).sum(1) + own)
    return diagonal, row_sum, residual
