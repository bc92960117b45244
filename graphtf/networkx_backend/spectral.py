"""Algebraic connectivity and what follows from the Fiedler vector, with the signatures of NetworkX.

Weights count by their absolute values, those of parallel edges add up, and edges with weight zero are none.
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import torch

from graphtf.incidence import Incidence
from graphtf.networkx_backend.graph import BackendGraph, incidence, is_connected
from graphtf.networkx_backend.grounded import DENSE_NODES, GroundedLaplacian, Solver

EIGH_NODES = 128  # up to here all eigenvectors cost less than an iteration

_METHODS: dict[str, Solver] = {  # solver for graphs beyond DENSE_NODES
    "tracemin": "cg",
    "tracemin_pcg": "cg",
    "tracemin_lu": "lu",
    "lanczos": "lu",
    "lobpcg": "cg",
}


def algebraic_connectivity(
    G: Any,
    weight: Any = "weight",
    normalized: bool = False,
    tol: float = 1e-8,
    method: str = "tracemin_pcg",
    seed: Any = None,
) -> float:
    """Second smallest eigenvalue of the Laplacian, or of the symmetric normalized one."""
    B = _prepare(BackendGraph.of(G), weight)
    if not is_connected(B):
        return 0.0
    if B.num_nodes == 2:
        return 2.0 if normalized else 2.0 * float(B.weight.sum())
    return _fiedler(B, normalized, _solver(B, method), seed)[0]


def fiedler_vector(
    G: Any,
    weight: Any = "weight",
    normalized: bool = False,
    tol: float = 1e-8,
    method: str = "tracemin_pcg",
    seed: Any = None,
) -> npt.NDArray[np.float64]:
    """Eigenvector of unit length for the second smallest eigenvalue of the Laplacian.

    Its first entry that is not zero is negative. Which vector it is if the eigenvalue is repeated depends on nothing
    but `seed`, from which the iteration starts.
    """
    B = _prepare(BackendGraph.of(G), weight)
    if not is_connected(B):
        raise nx.NetworkXError("graph is not connected.")
    if B.num_nodes == 2:
        return np.array([1.0, -1.0])
    return _fiedler(B, normalized, _solver(B, method), seed)[1]


def spectral_ordering(
    G: Any,
    weight: Any = "weight",
    normalized: bool = False,
    tol: float = 1e-8,
    method: str = "tracemin_pcg",
    seed: Any = None,
) -> list[Any]:
    """Nodes ordered by the Fiedler vector of their component, component by component."""
    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXError("graph is empty.")
    B = _operator(graph, weight)
    _solver(B, method)
    nodes, labels = list(graph), B.components().numpy()
    members = np.argsort(labels, kind="stable")
    order: list[Any] = []
    for part in np.split(members, np.cumsum(np.bincount(labels))[:-1]):
        if len(part) > 2:
            inner = _restrict(B, part)
            part = part[np.argsort(_fiedler(inner, normalized, _solver(inner, method), seed)[1], kind="stable")]
        order.extend(nodes[i] for i in part)
    return order


def _prepare(graph: BackendGraph, weight: Any) -> Incidence:
    if len(graph) < 2:
        raise nx.NetworkXError("graph has less than two nodes.")
    return _operator(graph, weight)


def _operator(graph: BackendGraph, weight: Any) -> Incidence:
    ends, values = graph.ends(), graph.values(weight).astype(np.float64)
    if not bool(np.isfinite(values).all()):
        raise NotImplementedError(f"the graphtf backend needs finite weights, but one of {weight!r} is not finite")
    keep = (ends[0] != ends[1]) & (values != 0)
    return incidence(ends[:, keep], np.abs(values[keep]), len(graph))


def _restrict(graph: Incidence, nodes: npt.NDArray[np.int64]) -> Incidence:
    """The subgraph of the nodes of a component."""
    position = np.full(graph.num_nodes, -1)
    position[nodes] = np.arange(len(nodes))
    ends = position[graph.index.numpy()]
    inside = ends[0] >= 0
    return incidence(ends[:, inside], graph.weight.numpy()[inside], len(nodes))


def _solver(graph: Incidence, method: str) -> Solver | None:
    if method not in _METHODS:
        raise nx.NetworkXError(f"unknown method {method!r}.")
    return _METHODS[method] if graph.num_nodes > DENSE_NODES else None


def _fiedler(
    graph: Incidence, normalized: bool, solver: Solver | None, seed: Any
) -> tuple[float, npt.NDArray[np.float64]]:
    """Second smallest eigenvalue, and an eigenvector of unit length found from a random vector."""
    n = graph.num_nodes
    root = graph.degree.sqrt().numpy() if normalized else np.ones(n)
    null = root / np.linalg.norm(root)
    start = seed.normal(size=n)
    start -= (null @ start) * null
    if n <= EIGH_NODES:
        matrix = graph.normalized("sym") if normalized else graph
        values, vectors = (t.numpy() for t in torch.linalg.eigh(matrix.laplacian_dense()))
        equal = vectors[:, 1:][:, values[1:] <= values[1] + 1e-10 * values[-1]]
        vector = equal @ (equal.T @ start)
        return float(values[1]), _oriented(vector / np.linalg.norm(vector))

    from scipy.sparse.linalg import LinearOperator, eigsh

    laplacian = GroundedLaplacian(graph, solver)

    def pseudo_inverse(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x = x.reshape(n)
        y = root * laplacian.solve((root * (x - (null @ x) * null))[:, None])[:, 0]
        return y - (null @ y) * null

    operator = LinearOperator((n, n), matvec=pseudo_inverse, dtype=np.float64)
    values, vectors = eigsh(operator, k=1, which="LA", v0=start)
    return float(1 / values[0]), _oriented(vectors[:, 0])


def _oriented(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The vector with its first entry that is not zero up to rounding negative, as NetworkX's default method has it."""
    size = np.abs(vector)
    first = vector[np.argmax(size > 1e-8 * size.max())]
    return -vector if first > 0 else vector
