"""Matrices and spectra of graphs, with the signatures of NetworkX; also of directed graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import torch

from graphtf.networkx_backend.graph import BackendGraph


def laplacian_matrix(G: Any, nodelist: Sequence[Any] | None = None, weight: Any = "weight") -> Any:
    """The Laplacian `D - A` as a SciPy sparse array; `D` holds out-degrees."""
    import scipy.sparse

    graph = BackendGraph.of(G)
    if len(graph) == 0:
        raise nx.NetworkXError("Graph has no nodes or edges")
    index = graph.index() if nodelist is None else _checked(graph, nodelist)
    n, values = len(index), graph.values(weight)
    row, col = graph.ends()
    if nodelist is not None:
        place = np.array([index.get(node, -1) for node in graph], dtype=np.int64)
        row, col = place[row], place[col]
        inside = (row >= 0) & (col >= 0)
        row, col, values = row[inside], col[inside], values[inside]
    if not graph.is_directed():
        both = row != col
        row, col, values = (
            np.concatenate([row, col[both]]),
            np.concatenate([col, row[both]]),
            np.concatenate([values, values[both]]),
        )
    A = scipy.sparse.coo_array((values, (row, col)), shape=(n, n)).tocsr()
    return scipy.sparse.dia_array((A.sum(axis=1)[None], [0]), shape=(n, n)).tocsr() - A


def laplacian_spectrum(G: Any, weight: Any = "weight") -> npt.NDArray[np.float64]:
    """Eigenvalues of the Laplacian in ascending order."""
    matrix = torch.from_numpy(laplacian_matrix(G, weight=weight).toarray().astype(np.float64))
    return np.asarray(torch.linalg.eigvalsh(matrix).numpy())


def incidence_matrix(
    G: Any,
    nodelist: Sequence[Any] | None = None,
    edgelist: Sequence[Any] | None = None,
    oriented: bool = False,
    weight: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Incidence matrix `[n, m]` as a SciPy sparse array, not scaled by square roots; self-loops are zero columns."""
    import scipy.sparse

    graph = BackendGraph.of(G)
    index = graph.index() if nodelist is None else {node: i for i, node in enumerate(nodelist)}
    if edgelist is None:
        edgelist = list(graph.graph.edges(keys=True) if graph.is_multigraph() else graph.graph.edges())
    rows, columns, values = [], [], []
    for column, edge in enumerate(edgelist):
        u, v = edge[:2]
        if u == v:
            continue
        if u not in index or v not in index:
            raise nx.NetworkXError(f"node {u} or {v} in edgelist but not in nodelist")
        rows += [index[u], index[v]]
        columns += [column, column]
        value = 1 if weight is None else _attributes(graph, edge).get(weight, 1)
        values += [-value if oriented else value, value]
    data = np.asarray(values, dtype=np.float64 if dtype is None else dtype)
    shape = (len(index) if nodelist is None else len(nodelist), len(edgelist))
    matrix = scipy.sparse.coo_array((data, (rows, columns)), shape=shape).tocsc()
    matrix.eliminate_zeros()
    return matrix


def _attributes(graph: BackendGraph, edge: Any) -> dict[Any, Any]:
    between: dict[Any, Any] = graph.graph[edge[0]][edge[1]]
    return between[edge[2]] if graph.is_multigraph() else between


def _checked(graph: BackendGraph, nodelist: Sequence[Any]) -> dict[Any, int]:
    if len(nodelist) == 0:
        raise nx.NetworkXError("nodelist has no nodes")
    for node in nodelist:
        if node not in graph:
            raise nx.NetworkXError(f"Node {node} in nodelist is not in G")
    index = {node: i for i, node in enumerate(nodelist)}
    if len(index) != len(nodelist):
        raise nx.NetworkXError("nodelist contains duplicates.")
    return index
