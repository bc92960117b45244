"""The operator of a batch whose edges are listed as PyG lists them, in one compiled pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.compiled import has_numba, is_traced
from graphtf.incidence import Incidence


def listed_graph(edge_index: Tensor, num_nodes: Any, batch: Tensor | None, num_graphs: Any) -> Incidence | None:
    """What :func:`graphtf.convert.from_edge_index` makes of a sorted list that has every edge both ways, once.

    The operator remembers where each listed edge is among its columns (:func:`graphtf.layout.edge_at`), and where the
    nodes and edges of each graph start (:func:`graphtf.nn.heads.contiguous`).

    Args:
        edge_index: `[2, E]`.
        num_nodes: number of nodes `n`.
        batch: `[n]` graph of every node, ascending; `None` means a single graph.
        num_graphs: number of graphs.

    Returns:
        The operator with unit weights; `None` if the list is another one, wrong ones included, or there is no numba.

    Example:
        >>> import torch
        >>> listed_graph(torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), 3, None, None).index
        tensor([[0, 1],
                [1, 2]])
        >>> listed_graph(torch.tensor([[0, 1], [1, 2]]), 3, None, None) is None
        True
    """
    numbers = [num_nodes] if batch is None else [num_nodes, num_graphs]
    whole = [edge_index] if batch is None else [edge_index, batch]
    if not all(type(number) is int and number >= 0 for number in numbers):
        return None
    if not all(isinstance(t, Tensor) and t.device.type == "cpu" and t.dtype == torch.int64 for t in whole):
        return None
    if not has_numba() or is_traced() or edge_index.dim() != 2 or len(edge_index) != 2 or edge_index.shape[1] % 2:
        return None
    if batch is None:
        batch, num_graphs = edge_index.new_zeros(num_nodes), 1
    if batch.shape != (num_nodes,):
        return None
    from graphtf.nn import listed_graph_numba

    edges = edge_index.shape[1]
    index, place = edge_index.new_empty(2, edges // 2), edge_index.new_empty(edges)
    nodes, first = edge_index.new_zeros(num_graphs + 1), edge_index.new_zeros(num_graphs + 1)
    arrays = [t.numpy() for t in (edge_index.contiguous(), batch.contiguous(), index, place, nodes, first)]
    if not listed_graph_numba.read(*arrays):
        return None
    graph = Incidence(index, None, num_nodes, batch, num_graphs, validate=False)
    graph._starts = nodes, first
    if not edge_index.is_inference():  # there nobody counts changes in place
        graph._listed = edge_index, edge_index._version, place
    return graph
