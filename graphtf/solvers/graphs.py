"""The graphs that solvers take, as incidence operators, with the pairs of nodes that are their edges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence


def as_incidence(
    graph: Any,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[Incidence, Tensor]:
    """The incidence operator of whatever a user calls a graph.

    Args:
        graph: an `Incidence`, a PyG `Data` or `Batch`, an `edge_index` `[2, E]`, a NetworkX graph (attribute `weight`)
            or a SciPy sparse adjacency matrix. Weights are conductances.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        dtype: floating type to compute in; `None` keeps that of the weights.

    Returns:
        The operator, and `[2, P]` the end points of every edge as the user lists them: the columns of `edge_index`, the
        edges of the NetworkX graph in its order, else the columns of the operator.

    Raises:
        TypeError: `graph` is none of these, or `dtype` is no floating type.
        ValueError: the graph is not an undirected one with positive weights, or its parts are given twice.

    Example:
        >>> import torch
        >>> B, edges = as_incidence(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> B.num_edges, edges.shape
        (2, torch.Size([2, 4]))
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating type such as torch.float64, but got {dtype!r}")
    if not isinstance(graph, Tensor) and any(x is not None for x in (edge_weight, num_nodes, batch)):
        raise ValueError(
            f"edge_weight, num_nodes and batch go with an edge_index, but the graph is a {type(graph).__name__}, which "
            "holds its own; leave them out"
        )
    if isinstance(graph, Incidence):
        B, edges = graph, graph.index
    elif isinstance(graph, Tensor):
        B, edges = Incidence.from_edge_index(graph, edge_weight, num_nodes, batch), graph.to(torch.int64)
    elif hasattr(graph, "is_directed") and hasattr(graph, "edges") and hasattr(graph, "nodes"):
        B = Incidence.from_networkx(graph)
        position = {node: i for i, node in enumerate(graph.nodes)}
        ends = [(position[u], position[v]) for u, v in graph.edges()]
        edges = torch.tensor(ends, dtype=torch.int64).view(-1, 2).t()
    elif hasattr(graph, "tocoo"):
        B = Incidence.from_scipy(graph)
        edges = B.index
    else:
        _check_data(graph)
        B = Incidence.from_data(graph)
        edges = graph.edge_index.to(torch.int64) if graph.edge_index is not None else B.index
    if B.scale is not None:
        raise ValueError("the operator is normalized, but solvers take the graph itself; pass the original one")
    return B if dtype is None or B.dtype == dtype else B.to(dtype), edges


def _check_data(graph: Any) -> None:
    from torch_geometric.data import Data, HeteroData

    if not isinstance(graph, Data | HeteroData):  # the latter is refused with a remedy where it is read
        raise TypeError(
            "expected a torch_geometric Data or Batch, a graphtf.Incidence, an edge_index tensor [2, E], a NetworkX "
            f"graph or a SciPy sparse matrix, but got {type(graph).__name__}; wrap a NumPy edge_index in "
            "torch.from_numpy, a dense adjacency matrix in scipy.sparse.csr_array"
        )
