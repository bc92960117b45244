"""Current-flow centralities with the signatures of NetworkX; weights are conductances.

Self-loops carry no current, and parallel edges act as one with the sum of their conductances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.networkx_backend.graph import BackendGraph, is_connected
from graphtf.networkx_backend.grounded import GroundedLaplacian
from graphtf.solvers.centrality import current_flow_closeness, node_betweenness
from graphtf.solvers.throughput import edge_throughput, pair_sum

MAX_ENTRIES = 1 << 22  # of potential differences at a time


def current_flow_betweenness_centrality(
    G: Any, normalized: bool = True, weight: Any = None, dtype: Any = float, solver: str = "full"
) -> dict[Any, float]:
    """Share of the current between two other nodes that passes a node, averaged over pairs of nodes."""
    graph, B = _prepare(G, weight, dtype, solver)
    value = node_betweenness(B, edge_throughput(B)[0])
    return dict(zip(graph, (value * (2 / _pairs(len(graph), normalized))).tolist(), strict=True))


def edge_current_flow_betweenness_centrality(
    G: Any, normalized: bool = True, weight: Any = None, dtype: Any = float, solver: str = "full"
) -> dict[tuple[Any, Any], float]:
    """Current through an edge, averaged over pairs of nodes."""
    graph, B = _prepare(G, weight, dtype, solver)
    return _by_edge(graph, B, edge_throughput(B)[0], normalized)


def current_flow_betweenness_centrality_subset(
    G: Any,
    sources: Iterable[Any],
    targets: Iterable[Any],
    normalized: bool = True,
    weight: Any = None,
    dtype: Any = float,
    solver: str = "lu",
) -> dict[Any, float]:
    """Current that passes a node from given sources to given targets."""
    graph, B = _prepare(G, weight, dtype, solver)
    u, v = B.index
    through = edge_throughput(B, _between(graph, sources, targets))[0]
    value = through.new_zeros(len(graph)).index_add(0, u, through).index_add(0, v, through)
    value = value * (0.5 / _pairs(len(graph), normalized)) + 1.0 / (2 - len(graph))
    return dict(zip(graph, value.tolist(), strict=True))


def edge_current_flow_betweenness_centrality_subset(
    G: Any,
    sources: Iterable[Any],
    targets: Iterable[Any],
    normalized: bool = True,
    weight: Any = None,
    dtype: Any = float,
    solver: str = "lu",
) -> dict[tuple[Any, Any], float]:
    """Current through an edge from given sources to given targets."""
    graph, B = _prepare(G, weight, dtype, solver)
    through = edge_throughput(B, _between(graph, sources, targets))[0]
    return _by_edge(graph, B, through / 2, normalized)


def current_flow_closeness_centrality(
    G: Any, weight: Any = None, dtype: Any = float, solver: str = "lu"
) -> dict[Any, float]:
    """Reciprocal of the sum of the effective resistances to all other nodes."""
    graph, B = _prepare(G, weight, dtype, solver)
    if len(graph) == 1:
        raise ZeroDivisionError("the resistances of a single node to all others have the sum zero")
    return dict(zip(graph, current_flow_closeness(B).value.tolist(), strict=True))


def approximate_current_flow_betweenness_centrality(
    G: Any,
    normalized: bool = True,
    weight: Any = None,
    dtype: Any = float,
    solver: str = "full",
    epsilon: float = 0.5,
    kmax: int = 10000,
    seed: Any = None,
    *,
    sample_weight: float = 1,
) -> dict[Any, float]:
    """Current-flow betweenness from a sample of pairs, within `epsilon` with high probability."""
    graph, B = _prepare(G, weight, dtype, solver)
    n = len(graph)
    if n < 3:
        return dict.fromkeys(graph, 0.0)
    if epsilon <= 0:
        raise nx.NetworkXError(f"Epsilon must be positive. Got {epsilon=}.")
    if sample_weight <= 0:
        raise nx.NetworkXError(f"Sample weight must be positive. Got {sample_weight=}.")
    scale = n / (n - 2)
    k = int(sample_weight * np.ceil((scale / epsilon) ** 2 * np.log(n)))
    if k > kmax:
        raise nx.NetworkXError(f"Number random pairs k>kmax ({k}>{kmax}) ", "Increase kmax or epsilon")
    position = _reverse_cuthill_mckee(graph)  # pairs are drawn in this order of the nodes
    pairs = np.argsort(position)[np.array([seed.sample(range(n), 2) for _ in range(k)])]
    laplacian = GroundedLaplacian(B, solver)  # type: ignore[arg-type]  # checked
    (u, v), w = B.index.numpy(), B.weight.numpy()[:, None]
    total = np.zeros(n)
    step = max(1, MAX_ENTRIES // max(n, B.num_edges))
    for part in np.split(pairs, range(step, k, step)):
        columns = np.arange(len(part))
        demand = np.zeros((n, len(part)), dtype=w.dtype)
        demand[part[:, 0], columns], demand[part[:, 1], columns] = 1, -1
        x = laplacian.solve(demand)
        current = np.abs(w * (x[u] - x[v])).sum(1)
        total += np.bincount(u, current, n) + np.bincount(v, current, n)
        # A source or sink passes nothing on in its own pair: there the current at the node is one.
        total -= np.bincount(part.ravel(), minlength=n)
    value = total * (scale / (2 * k)) * (1.0 if normalized else (n - 1.0) * (n - 2.0) / 2.0)
    return dict(zip(graph, value.tolist(), strict=True))


def _prepare(G: Any, weight: Any, dtype: Any, solver: str) -> tuple[BackendGraph, Incidence]:
    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXPointlessConcept("Connectivity is undefined for the null graph.")
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise NotImplementedError(f"dtype must be float32 or float64, but is {dtype!r}; use backend='networkx'")
    B = graph.incidence(weight, dtype=dtype)
    if not is_connected(B):
        raise nx.NetworkXError("Graph not connected.")
    if solver not in ("full", "lu", "cg"):
        raise KeyError(f"solver must be 'full', 'lu' or 'cg', but got {solver!r}")
    return graph, B


def _pairs(n: int, normalized: bool) -> float:
    pairs = (n - 1.0) * (n - 2.0) if normalized else 2.0
    if pairs == 0:
        raise ZeroDivisionError(f"normalized by (n - 1)(n - 2), which is zero for {n} node(s); pass normalized=False")
    return pairs


def _between(graph: BackendGraph, sources: Iterable[Any], targets: Iterable[Any]) -> Callable[[Tensor], Tensor]:
    """Sum of the distances between entries of a row that belong to sources and those that belong to targets."""
    index = graph.index()
    s, t = (torch.tensor([index[node] for node in nodes], dtype=torch.int64) for nodes in (sources, targets))

    def reduce(flow: Tensor) -> Tensor:
        both = torch.cat([s, t])
        return pair_sum(flow[:, both]) - pair_sum(flow[:, s]) - pair_sum(flow[:, t])

    return reduce


def _by_edge(graph: BackendGraph, B: Incidence, through: Tensor, normalized: bool) -> dict[tuple[Any, Any], float]:
    """Values keyed as NetworkX does: the end point that is first in reverse Cuthill-McKee order comes first."""
    ends = graph.ends()
    loops = ends[0, ends[0] == ends[1]].tolist()
    if B.num_edges == 0:
        if loops:
            raise ZeroDivisionError("a single node has no pairs to average over, and its self-loop no value")
        return {}
    nodes, position = list(graph), _reverse_cuthill_mckee(graph)
    values = (through / _pairs(len(graph), normalized)).tolist()
    result: dict[tuple[Any, Any], float] = {(nodes[u], nodes[u]): 0.0 for u in loops}
    for u, v, value in zip(*B.index.tolist(), values, strict=True):
        key = (nodes[u], nodes[v]) if position[u] < position[v] else (nodes[v], nodes[u])
        result[key] = result.get(key, 0.0) + value
    return result


def _reverse_cuthill_mckee(graph: BackendGraph) -> list[int]:
    """Position of every node in NetworkX's own ordering, which decides on keys and samples."""
    from networkx.utils import reverse_cuthill_mckee_ordering

    index = graph.index()
    position = [0] * len(index)
    for place, node in enumerate(reverse_cuthill_mckee_ordering(graph.graph)):
        position[index[node]] = place
    return position
