"""Incidence operators from the graphs people have: edge lists, PyG data, NetworkX graphs, SciPy matrices."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.validate import check_batch, check_choice, check_index, check_weight

DIRECTIONS = ("auto", "once", "both")


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
        num_nodes: number of nodes `n`; `None` means one more than the largest index.
        batch: `[n]` graph of every node; `None` means a single graph.
        num_graphs: number of graphs; `None` means one more than the largest entry of `batch`.
        directions: `"both"`: every edge is listed as (u, v) and as (v, u) with the same weight; `"once"`: every column
            is an edge of its own, so that (u, v) and (v, u) are parallel and add up; `"auto"` decides graph by graph:
            `"both"` if every pair has both directions, `"once"` if none has.
        symmetrize: `True` accepts a directed graph and uses (A + A^T) / 2 in place of its adjacency matrix A.

    Returns:
        The operator, with `m` columns.

    Raises:
        TypeError: a tensor has the wrong type.
        ValueError: shapes, indices or weights are wrong, or the list is that of a directed graph.

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
    edge_index, num_nodes = check_index(edge_index, num_nodes, "edge_index")
    batch, num_graphs = check_batch(batch, num_graphs, num_nodes, edge_index)
    weight = check_weight(edge_weight, edge_index.shape[1], edge_index.device, "edge_weight")
    if weight is None:
        weight = torch.ones(edge_index.shape[1], dtype=torch.get_default_dtype(), device=edge_index.device)

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
            f"pairs in both directions, but the pair ({u}, {v}) in one: a directed graph. List every edge both "
            "ways, or pass directions='once' if every column is an edge of its own, or symmetrize=True for (A + A^T) / 2"
        )
    tolerance = 1e-4 if a.dtype in (torch.float16, torch.bfloat16, torch.float32) else 1e-9
    unequal = both & ((a - b).abs() > tolerance * torch.maximum(a, b))
    if bool(unequal.any()):
        where = int(unequal.nonzero()[0])
        u, v = index[:, where].tolist()
        raise ValueError(
            f"edge ({u}, {v}) has weight {float(a[where])} one way and {float(b[where])} the other: a directed graph. "
            "Give both directions the same weight, or pass symmetrize=True for (A + A^T) / 2"
        )
    return both


def from_data(data: Any, *, symmetrize: bool = False) -> Incidence:
    """Incidence operator of a PyG `Data` or `Batch`.

    Reads `incidence_index` and `incidence_weight` where :class:`graphtf.transforms.AddIncidence` has stored them, else
    `edge_index` and, if present, `edge_weight`.

    Args:
        data: a homogeneous `Data` or a `Batch` of them (one block-diagonal operator).
        symmetrize: accept a directed graph, see :func:`from_edge_index`.

    Returns:
        The operator; its `batch` is that of `data`.

    Raises:
        TypeError: `data` is heterogeneous, or no PyG data.
        ValueError: it has no edges stored, or they are not those of an undirected graph.

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
    if data.get("incidence_index") is not None:
        return Incidence(
            data.incidence_index, data.get("incidence_weight"), data.num_nodes, batch, num_graphs, validate=False
        )
    if data.edge_index is None:
        raise ValueError("data has no edge_index, but the graph is read from there; convert adj_t to an edge_index")
    return from_edge_index(
        data.edge_index, data.get("edge_weight"), data.num_nodes, batch, num_graphs, symmetrize=symmetrize
    )


def from_networkx(graph: Any, weight: str | None = "weight", *, symmetrize: bool = False) -> Incidence:
    """Incidence operator of a NetworkX graph, nodes in the order of `graph.nodes`.

    Args:
        graph: a `networkx.Graph` or `MultiGraph` (parallel edges add up).
        weight: edge attribute that holds the conductance, 1 where it is missing; `None` means one for every edge.
            Note that `networkx.resistance_distance` reads its weight as a RESISTANCE unless `invert_weight=False`.
        symmetrize: accept a directed graph and use (A + A^T) / 2.

    Returns:
        The operator, in float64.

    Raises:
        TypeError: `graph` is no NetworkX graph.
        ValueError: it is directed and `symmetrize` is false, or a weight is not finite and positive.

    Example:
        >>> import networkx as nx
        >>> from_networkx(nx.cycle_graph(5))
        Incidence(num_nodes=5, num_edges=5, num_graphs=1, dtype=torch.float64)
    """
    if not (hasattr(graph, "is_directed") and hasattr(graph, "edges")):
        raise TypeError(f"expected a networkx graph, but got {type(graph).__name__}")
    if graph.is_directed() and not symmetrize:
        raise ValueError(
            "the graph is directed, but an incidence operator is that of an undirected graph; pass "
            "graph.to_undirected(), or symmetrize=True for (A + A^T) / 2"
        )
    position = {node: i for i, node in enumerate(graph.nodes)}
    ends = [(position[u], position[v]) for u, v in graph.edges()]
    values = [1.0 if weight is None else float(d.get(weight, 1.0)) for _, _, d in graph.edges(data=True)]
    return from_edge_index(
        torch.tensor(ends, dtype=torch.int64).view(-1, 2).t(),
        torch.tensor(values, dtype=torch.float64),
        len(position),
        directions="once",
        symmetrize=graph.is_directed(),
    )


def from_scipy(adjacency: Any, *, symmetrize: bool = False) -> Incidence:
    """Incidence operator of the graph with a given SciPy sparse adjacency matrix.

    Args:
        adjacency: `[n, n]` symmetric sparse matrix of conductances; stored zeros mean no edge, the diagonal is ignored.
        symmetrize: accept an unsymmetric matrix and use (A + A^T) / 2.

    Returns:
        The operator, in the dtype of the matrix (float64 for integers).

    Raises:
        TypeError: `adjacency` is no SciPy sparse matrix.
        ValueError: it is not square or not symmetric, or an entry is not finite and positive.

    Example:
        >>> import scipy.sparse as sp
        >>> from_scipy(sp.csr_array([[0, 2.0], [2.0, 0]])).weight
        tensor([2.], dtype=torch.float64)
    """
    if not (hasattr(adjacency, "tocoo") and hasattr(adjacency, "shape")):
        raise TypeError(f"expected a SciPy sparse matrix, but got {type(adjacency).__name__}; wrap it in csr_array")
    if len(adjacency.shape) != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"an adjacency matrix is square, but this one has shape {tuple(adjacency.shape)}")
    matrix = adjacency.tocoo()
    values = torch.from_numpy(matrix.data.copy())
    stored = values != 0
    if not values.is_floating_point():
        values = values.double()
    index = torch.stack([torch.from_numpy(matrix.row.astype("int64")), torch.from_numpy(matrix.col.astype("int64"))])
    return from_edge_index(index[:, stored], values[stored], matrix.shape[0], directions="both", symmetrize=symmetrize)
