"""Centralities of nodes in an electric network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.solution import Solution
from graphtf.solvers.star_mesh import generalized_diagonal
from graphtf.solvers.throughput import edge_throughput


def current_flow_betweenness(
    graph: Any,
    normalized: bool = True,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Solution:
    r"""Share of the current between two other nodes that passes a node, averaged over all pairs of nodes.

    .. math:: c(v) = \frac{2}{(n - 1)(n - 2)} \sum_{s < t} \tau_{st}(v), \qquad
              \tau_{st}(v) = \tfrac12 \Big(\sum_{e \ni v} |f_e(s, t)| - [v \in \{s, t\}]\Big),

    where `f(s, t)` is the electric flow of one unit of current from `s` to `t`. This is random-walk betweenness, and
    NetworkX's `current_flow_betweenness_centrality` with weights as conductances.

    Args:
        graph: an `Incidence`, PyG `Data` or `Batch`, `edge_index`, NetworkX graph or SciPy adjacency matrix, with
            conductances for weights; see :func:`graphtf.solvers.graphs.as_incidence`.
        normalized: `False` leaves the factor `2 / ((n - 1)(n - 2))` out.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        dtype: floating type of the answer, which is computed in float64; `None` keeps that of the weights.

    Returns:
        `[n]`, every graph of a batch for itself. Pairs of nodes in different components have no current between them
        and add nothing; graphs with fewer than three nodes have zeros. Gradients reach the weights; where two nodes
        have the same potential, the absolute value has a corner and the symmetric subgradient is taken. `residual` is
        the relative error of the sum of all leverages, see :func:`graphtf.solvers.throughput.edge_throughput`. Rounding
        errors grow with the ratio of the largest to the smallest conductance, to about that ratio times the precision
        of float64 at worst.

    Raises:
        TypeError: `graph` is no graph, or `dtype` no floating type.
        ValueError: it is not an undirected graph with positive weights, or these are too far apart for float64.

    Example:
        >>> current_flow_betweenness(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])).value  # a cycle of four nodes
        tensor([0.3333, 0.3333, 0.3333, 0.3333])

    Source: Newman, "A measure of betweenness centrality based on random walks", Social Networks 2005; Brandes,
    Fleischer, "Centrality measures based on current flow", STACS 2005.
    """
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    kind, B = B.dtype, B.to(torch.float64)
    through, residual = edge_throughput(B)
    value = node_betweenness(B, through)
    if normalized:
        count = torch.bincount(B.batch, minlength=B.num_graphs)[B.batch].to(B.dtype)
        value = value * (2 / ((count - 1) * (count - 2)).clamp(min=1))
    return Solution.of(value.to(kind), residual.to(kind), 0, "dense")


def node_betweenness(graph: Incidence, throughput: Tensor) -> Tensor:
    """Current that passes every node, summed over all pairs, from that through the edges.

    Args:
        graph: incidence operator.
        throughput: `[m]` from :func:`graphtf.solvers.throughput.edge_throughput`.

    Returns:
        `[n]`; half the current at the node, without what starts or ends there.
    """
    u, v = graph.index
    at_node = throughput.new_zeros(graph.num_nodes).index_add(0, u, throughput).index_add(0, v, throughput)
    return (at_node - (_component_size(graph) - 1).to(graph.dtype)) / 2


def current_flow_closeness(
    graph: Any,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Solution:
    r"""Reciprocal of the sum of the effective resistances from a node to all others.

    .. math:: c(v) = \Big(\sum_u R(u, v)\Big)^{-1}
                   = \big(n\, L^+_{vv} + \operatorname{tr} L^+\big)^{-1}.

    Also known as information centrality; NetworkX's `current_flow_closeness_centrality` with weights as conductances.

    Args:
        graph: an `Incidence`, PyG `Data` or `Batch`, `edge_index`, NetworkX graph or SciPy adjacency matrix, with
            conductances for weights; see :func:`graphtf.solvers.graphs.as_incidence`.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        dtype: floating type of the answer, which is computed in float64; `None` keeps that of the weights.

    Returns:
        `[n]` in units of conductance, every graph of a batch for itself. In a graph with several components every node
        has infinite resistance to some other one, so zero; also zero for the node of a graph with a single node, as is
        the convention for closeness. Gradients reach the weights. `residual` is the relative error of the sum of all
        leverages, see :func:`graphtf.solvers.throughput.edge_throughput`. Rounding errors are those of
        :func:`current_flow_betweenness`.

    Raises:
        TypeError: `graph` is no graph, or `dtype` no floating type.
        ValueError: it is not an undirected graph with positive weights, or these are too far apart for float64.

    Example:
        >>> current_flow_closeness(torch.tensor([[0, 1], [1, 2]])).value  # a path of three nodes
        tensor([0.3333, 0.5000, 0.3333])

    Source: Stephenson, Zelen, "Rethinking centrality: methods and examples", Social Networks 1989; Brandes, Fleischer,
    "Centrality measures based on current flow", STACS 2005.
    """
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    kind, B = B.dtype, B.to(torch.float64)
    connected = _component_size(B) == torch.bincount(B.batch, minlength=B.num_graphs)[B.batch]
    diagonal, row_sum, residual = generalized_diagonal(B)
    labels = B.components()
    size = torch.bincount(labels).to(B.dtype)
    trace = torch.zeros_like(size).index_add(0, labels, diagonal)
    total = size[labels] * diagonal + trace[labels] - 2 * row_sum
    value = torch.where(connected & (total > 0), 1 / torch.where(total > 0, total, 1.0), 0.0)
    return Solution.of(value.to(kind), residual.to(kind), 0, "dense")


def _component_size(graph: Incidence) -> Tensor:
    labels = graph.components()
    return torch.bincount(labels)[labels]
