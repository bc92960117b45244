"""What an encoding reads of the graph that it is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.convert import from_data, from_edge_index
from graphtf.incidence import Incidence
from graphtf.nn.listed_graph import listed_graph


def graph_parts(
    data: Any,
    edge_weight: Tensor | None,
    batch: Tensor | None,
    num_nodes: int | None,
    x: Tensor | None,
    edge_attr: Tensor | None,
) -> tuple[Incidence, Tensor, Tensor | None, Tensor | None]:
    """Operator, `edge_index`, and the features of the nodes and edges, of whatever the user calls a graph.

    Args:
        data: a PyG `Data` or `Batch`, an `Incidence`, or an `edge_index` `[2, E]`.
        edge_weight: with an `edge_index`: `[E]` conductances.
        batch: with an `edge_index`: `[n]` graph of every node.
        num_nodes: with an `edge_index`: number of nodes.
        x: features of the nodes in place of those of `data`.
        edge_attr: features of the edges in place of those of `data`.

    Returns:
        The operator, the edges as they are listed, `x` and `edge_attr`.

    Raises:
        TypeError: a HeteroData, or something else that is no graph.
        ValueError: the graph is not an undirected one with positive weights, or its parts are given twice.

    Example:
        >>> import torch
        >>> graph_parts(torch.tensor([[0, 1], [1, 0]]), None, None, 3, None, None)[0]
        Incidence(num_nodes=3, num_edges=1, num_graphs=1, dtype=torch.float32)
    """
    if not isinstance(data, Tensor) and any(x is not None for x in (edge_weight, batch, num_nodes)):
        raise ValueError(
            f"edge_weight, batch and num_nodes go with an edge_index, but the graph is a {type(data).__name__}, "
            "which holds its own; leave them out"
        )
    if isinstance(data, Incidence):
        graph, edge_index = data, data.index
    elif isinstance(data, Tensor):
        found = listed_graph(data, num_nodes, None, None) if edge_weight is None and batch is None else None
        graph = from_edge_index(data, edge_weight, num_nodes, batch) if found is None else found
        edge_index = data.to(torch.int64)
    else:
        graph = read_data(data)
        edge_index = data.edge_index.to(torch.int64) if data.edge_index is not None else graph.index
        x = data.get("x") if x is None else x
        edge_attr = data.get("edge_attr") if edge_attr is None else edge_attr
    return graph, edge_index, x, edge_attr


def read_data(data: Any, symmetrize: bool = False) -> Incidence:
    """What :func:`graphtf.convert.from_data` gives, by :func:`listed_graph` where that can read the edges.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> read_data(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3))
        Incidence(num_nodes=3, num_edges=1, num_graphs=1, dtype=torch.float32)
    """
    found = _listed(data)
    return from_data(data, symmetrize=symmetrize) if found is None else found


def _listed(data: Any) -> Incidence | None:
    from torch_geometric.data import Data

    if not isinstance(data, Data) or not isinstance(data.edge_index, Tensor):
        return None
    if data.get("edge_weight") is not None or data.get("incidence_index") is not None:
        return None
    batch = data.get("batch")
    return listed_graph(data.edge_index, data.num_nodes, batch, getattr(data, "num_graphs", None))
