"""Incidence operators from edge lists and PyG data, and their disjoint union."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.validate import check_batch, check_choice, check_index, check_weight, unit_weight

DIRECTIONS = ("auto", "once", "both")
_SYMMETRIZE = "symmetrize=True (to Incidence.from_edge_index where you call what has no such option) for (A + A^T) / 2"


def from_edge_index(
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    num_graphs: int | None = None,
    *,
    directions: Literal["auto", "once", "both"] = "auto",
    symmetrize: bool = False,
) -> Incidence:
    r"""Incidence operator of an undirected graph given by an edge list.

    Self-loops are dropped (they cancel in `B`), parallel edges add up, columns come sorted by their end points and
    point from the smaller to the larger node. A weight is a conductance, as in PyG.

    Args:
        edge_index: `[2, E]` integer tensor; every edge in both directions (the PyG convention) or in one of them.
        edge_weight: `[E]` conductances, finite and positive; `None` means one. May require gradients.
        num_nodes: number of nodes `n`; `None` means the length of `batch`, or one more than the largest index.
        batch: `[n]` graph of every node; `None` means a single graph.
        num_graphs: number of graphs; `None` means one more than the largest entry of `batch`.
        directions: `"both"`: every edge is listed as (u, v) and as (v, u) with the same weight; `"once"`: every column
            is an edge of its own, so that (u, v) and (v, u) are parallel and add up; `"auto"` decides graph by graph:
            `"both"` if every pair has both directions, `"once"` if none has; a graph where some have is an error.
        symmetrize: `True` accepts a directed graph and uses (A + A^T) / 2 in place of its adjacency matrix A, so that
            an edge listed in one direction only gets half its weight.

    Returns:
        The operator, with `m` columns.

    Raises:
        TypeError: a tensor has the wrong type.
        ValueError: shapes, indices or weights are wrong; or the list is that of a directed graph: it has some edges,
            but not all, in both directions, or with another weight each way.

    Example:
        >>> import torch
        >>> B = from_edge_index(torch.tensor([[0, 1, 1, 2, 2], [1, 0, 2, 1, 2]]))
        >>> B.index
        tensor([[0, 1],
                [1, 2]])
        >>> from_edge_index(torch.tensor([[0, 1, 0], [1, 2, 1]])).weight
        tensor([2., 1.])
    """
    check_choice("directions", directions, DIRECTIONS)
    if symmetrize and directions != "auto":
        raise ValueError(
            f"symmetrize=True is for directed graphs, but directions={directions!r} says that the graph is undirected; "
            "leave one of them out"
        )
    if num_nodes is None and isinstance(batch, Tensor):
        num_nodes = batch.numel()
    edge_index, num_nodes = check_index(edge_index, num_nodes, "edge_index")
    batch, num_graphs = check_batch(batch, num_graphs, num_nodes, edge_index)
    weight = check_weight(edge_weight, edge_index.shape[1], edge_index.device, "edge_weight")
    if weight is None:
        weight = unit_weight(edge_index)

    keep = edge_index[0] != edge_index[1]
    if not bool(keep.all()):
        edge_index, weight = edge_index[:, keep], weight[keep]
    low, high = edge_index.aminmax(dim=0) if edge_index.numel() else edge_index
    key, pair = torch.unique(low * max(num_nodes, 1) + high, return_inverse=True)
    index = torch.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)])  # [2, m]
    forward = edge_index[0] == low
    a = weight.new_zeros(key.numel()).index_add(0, pair[forward], weight[forward])
    b = weight.new_zeros(key.numel()).index_add(0, pair[~forward], weight[~forward])

    if symmetrize:
        total = (a + b) / 2
    elif directions == "once":
        total = a + b
    else:
        graph = torch.zeros_like(key) if batch is None else batch[index[0]]
        both = _listed_both_ways(a.detach(), b.detach(), graph, num_graphs or 1, index, directions)
        total = torch.where(both, (a + b) / 2, a + b)
    return Incidence(index, total, num_nodes, batch, num_graphs, validate=False)


def _listed_both_ways(a: Tensor, b: Tensor, graph: Tensor, num_graphs: int, index: Tensor, directions: str) -> Tensor:
    """For every pair, whether its graph lists each edge in both directions; raise if the graph is directed."""
    paired = (a > 0) & (b > 0)
    count = torch.bincount(graph, minlength=num_graphs)
    num_paired = torch.bincount(graph[paired], minlength=num_graphs)
    both = (num_paired > 0)[graph] if directions == "auto" else torch.ones_like(paired)
    mixed = both & ~paired
    if bool(mixed.any()):
        where = int(mixed.nonzero()[0])
        u, v = index[:, where].tolist()
        raise ValueError(
            f"graph {int(graph[where])} lists {int(num_paired[graph[where]])} of its {int(count[graph[where]])} node "
            f"pairs in both directions, but ({u}, {v}) in one: a directed graph. List every edge both ways (as "
            f"torch_geometric.utils.to_undirected does), or pass {_SYMMETRIZE}; if every column is an edge of its own, "
            "Incidence.from_edge_index takes directions='once'"
        )
    tolerance = 1e-4 if a.dtype == torch.float32 else 1e-9  # both ways, parallel edges may add up in another order
    unequal = both & ((a - b).abs() > tolerance * torch.maximum(a, b))
    if bool(unequal.any()):
        where = int(unequal.nonzero()[0])
        u, v = index[:, where].tolist()
        raise ValueError(
            f"edge ({u}, {v}) has weight {float(a[where])} one way and {float(b[where])} the other: a directed graph. "
            f"Give both directions the same weight, or pass {_SYMMETRIZE}"
        )
    return both


def from_data(data: Any, *, symmetrize: bool = False, stored: bool = True) -> Incidence:
    """Incidence operator of a PyG `Data` or `Batch`.

    Reads `incidence_index` and `incidence_weight` where :class:`graphtf.transforms.AddIncidence` has stored them, else
    `edge_index` and, if present, `edge_weight`. A stored incidence whose edges are no longer those of `edge_index`
    (a transform has dropped nodes or edges since) is an error.

    Args:
        data: a homogeneous `Data` or a `Batch` of them (one block-diagonal operator).
        symmetrize: accept a directed graph, see :func:`from_edge_index`.
        stored: `False` reads `edge_index` although an incidence is stored.

    Returns:
        The operator; its `batch` is that of `data`.

    Raises:
        TypeError: `data` is heterogeneous, or no PyG data.
        ValueError: it has no edges stored, they are not those of an undirected graph, or the stored incidence is stale.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Batch, Data
        >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> from_data(Batch.from_data_list([edge, edge]))
        Incidence(num_nodes=4, num_edges=2, num_graphs=2, dtype=torch.float32)
    """
    from torch_geometric.data import Data, HeteroData

    if isinstance(data, HeteroData):
        raise TypeError(
            "the graph is a HeteroData with several node and edge types, but an incidence operator needs one type of "
            "each; call .to_homogeneous() first"
        )
    if not isinstance(data, Data):
        raise TypeError(f"expected a torch_geometric Data or Batch, but got {type(data).__name__}")
    batch = getattr(data, "batch", None)
    num_graphs = int(data.num_graphs) if batch is not None and hasattr(data, "num_graphs") else None
    if stored and data.get("incidence_index") is not None:
        try:
            graph = Incidence(data.incidence_index, data.get("incidence_weight"), data.num_nodes, batch, num_graphs)
        except ValueError as error:
            raise ValueError(f"the stored incidence is not one of this graph ({error}); {_REMEDY}") from error
        if data.edge_index is not None and not _same_pairs(graph.index, data.edge_index, graph.num_nodes):
            raise ValueError(f"the edges of incidence_index are not those of edge_index; {_REMEDY}")
        return graph
    if data.edge_index is None:
        raise ValueError("data has no edge_index, but the graph is read from there; convert adj_t to an edge_index")
    return from_edge_index(
        data.edge_index, data.get("edge_weight"), data.num_nodes, batch, num_graphs, symmetrize=symmetrize
    )


_REMEDY = "apply AddIncidence again after transforms that change the graph, or delete data.incidence_index"


def _same_pairs(index: Tensor, edge_index: Tensor, num_nodes: int) -> bool:
    """Whether two edge lists join the same pairs of nodes, whatever the direction, order and number of times."""
    keys = []
    for edges in (index, check_index(edge_index, num_nodes, "edge_index")[0]):
        low, high = torch.minimum(edges[0], edges[1]), torch.maximum(edges[0], edges[1])
        keys.append(torch.unique((low * num_nodes + high)[low != high]))
    return torch.equal(*keys)


def disjoint_union(graphs: Sequence[Incidence]) -> Incidence:
    """One block-diagonal operator of several plain operators, whose graphs stay apart.

    Args:
        graphs: operators without normalization, single graphs or batches, of one dtype and device; at least one.

    Returns:
        The operator of all their graphs, in order.

    Raises:
        ValueError: there are no graphs, or one of them is normalized.

    Example:
        >>> import torch
        >>> edge = from_edge_index(torch.tensor([[0, 1], [1, 0]]))
        >>> disjoint_union([edge, edge])
        Incidence(num_nodes=4, num_edges=2, num_graphs=2, dtype=torch.float32)
    """
    if not graphs:
        raise ValueError("a union needs at least one graph, but got none")
    if any(graph.scale is not None for graph in graphs):
        raise ValueError(
            "one of the graphs is normalized, but a union is of plain operators; normalize the union instead"
        )
    nodes = [0, *itertools.accumulate(graph.num_nodes for graph in graphs)]
    numbers = [0, *itertools.accumulate(graph.num_graphs for graph in graphs)]
    return Incidence(
        torch.cat([graph.index + start for graph, start in zip(graphs, nodes[:-1], strict=True)], dim=1),
        torch.cat([graph.weight for graph in graphs]),
        nodes[-1],
        torch.cat([graph.batch + start for graph, start in zip(graphs, numbers[:-1], strict=True)]),
        numbers[-1],
        validate=False,
    )
