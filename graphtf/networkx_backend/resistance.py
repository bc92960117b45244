"""Effective resistances with the signatures of NetworkX, whose weights are resistances unless `invert_weight=False`."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch

from graphtf.incidence import Incidence
from graphtf.networkx_backend.graph import BackendGraph, incidence, is_connected
from graphtf.networkx_backend.grounded import GroundedLaplacian
from graphtf.solvers.blocks import block_inverse, component_blocks


def resistance_distance(
    G: Any, nodeA: Any = None, nodeB: Any = None, weight: Any = None, invert_weight: bool = True
) -> Any:
    """Effective resistance of one pair of nodes, of one node and all others, or of all pairs."""
    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXError("Graph G must contain at least one node.")
    if not _connected(graph):
        raise nx.NetworkXError("Graph G must be strongly connected.")
    for name, node in (("A", nodeA), ("B", nodeB)):
        if node is not None and node not in graph:
            raise nx.NetworkXError(f"Node {name} is not in graph G.")
    B = graph.incidence(weight, invert=invert_weight)
    nodes = list(graph)
    if nodeA is not None and nodeB is not None:
        return _pair(B, nodes.index(nodeA), nodes.index(nodeB))
    inverse = _inverse(B)
    diagonal = inverse.diagonal()
    if nodeA is not None or nodeB is not None:
        i = nodes.index(nodeA if nodeA is not None else nodeB)
        row = diagonal[i] + diagonal - 2 * inverse[i]
        row[i] = 0.0
        return dict(zip(nodes, row.tolist(), strict=True))
    resistance = -2 * inverse
    resistance += diagonal[:, None]
    resistance += diagonal
    np.fill_diagonal(resistance, 0.0)
    return {node: dict(zip(nodes, row.tolist(), strict=True)) for node, row in zip(nodes, resistance, strict=True)}


def effective_graph_resistance(G: Any, weight: Any = None, invert_weight: bool = True) -> float:
    r"""Sum of the effective resistances of all pairs, `n tr L^+`; infinite if the graph is not connected."""
    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXError("Graph G must contain at least one node.")
    if not _connected(graph):
        return float("inf")
    inverse = _inverse(graph.incidence(weight, invert=invert_weight))
    return float(len(graph) * np.trace(inverse) - inverse.sum())


def kemeny_constant(G: Any, *, weight: Any = None) -> float:
    r"""Expected steps of a random walk to a node drawn from its stationary distribution.

    From the Laplacian `L`, the degrees `d` (a self-loop counts once) and `vol`, their sum:

    .. math:: K = \operatorname{tr}\big(D^{1/2} (L + d d^\top / \mathrm{vol})^{-1} D^{1/2}\big) - 1 .
    """
    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXError("Graph G must contain at least one node.")
    if not _connected(graph):
        raise nx.NetworkXError("Graph G must be connected.")
    if weight is not None and bool((np.asarray(graph.values(weight), dtype=float) < 0).any()):
        raise nx.NetworkXError("The weights of graph G must be nonnegative.")
    if len(graph) == 1:
        return 0.0
    ends, w = graph.ends(), graph.conductance(weight)
    loop = ends[0] == ends[1]
    B = incidence(ends[:, ~loop], w[~loop], len(graph))
    degree = B.degree.numpy() + np.bincount(ends[0, loop], weights=w[loop], minlength=len(graph))
    # Potentials do not depend on the generalized inverse; only their level does, which the stationary mean removes.
    inverse = _inverse(B)
    stationary = degree / degree.sum()
    return float(degree @ inverse.diagonal() - degree.sum() * (stationary @ inverse @ stationary))


def _connected(graph: BackendGraph) -> bool:
    ends = graph.ends()
    return is_connected(incidence(ends, np.ones(ends.shape[1]), len(graph)))


def _inverse(graph: Incidence) -> np.ndarray[Any, np.dtype[np.float64]]:
    (block,) = component_blocks(graph)
    with torch.no_grad():
        return np.asarray(block_inverse(graph.weight, block)[0].numpy())


def _pair(graph: Incidence, i: int, j: int) -> float:
    if i == j:
        return 0.0
    demand = np.zeros((graph.num_nodes, 1))
    demand[i], demand[j] = 1.0, -1.0
    potential = GroundedLaplacian(graph).solve(demand)[:, 0]
    return float(potential[i] - potential[j])
