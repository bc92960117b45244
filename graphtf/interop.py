"""Incidence operators from NetworkX graphs and SciPy matrices, neither of which is imported here."""

from __future__ import annotations

from typing import Any, Literal

import torch

from graphtf.convert import from_edge_index
from graphtf.incidence import Incidence


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
        TypeError: `graph` is no NetworkX graph, or a weight is no number.
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
    values = [1.0 if weight is None else _conductance(u, v, d, weight) for u, v, d in graph.edges(data=True)]
    return from_edge_index(
        torch.tensor(ends, dtype=torch.int64).view(-1, 2).t(),
        torch.tensor(values, dtype=torch.float64),
        len(position),
        directions="auto" if graph.is_directed() else "once",
        symmetrize=graph.is_directed(),
    )


def _conductance(u: Any, v: Any, attributes: dict[str, Any], name: str) -> float:
    value = attributes.get(name, 1.0)
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"edge ({u!r}, {v!r}) has {name}={value!r} ({type(value).__name__}), but a conductance is a number; set it "
            "to one, or delete the attribute for 1"
        ) from None


def from_scipy(adjacency: Any, *, symmetrize: bool = False) -> Incidence:
    """Incidence operator of the graph with a given SciPy sparse adjacency matrix.

    Args:
        adjacency: `[n, n]` symmetric sparse matrix of conductances; stored zeros mean no edge, the diagonal is ignored.
        symmetrize: accept an unsymmetric matrix and use (A + A^T) / 2.

    Returns:
        The operator, in the dtype of the matrix (float64 for integers).

    Raises:
        TypeError: `adjacency` is no SciPy sparse matrix, or a complex one.
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
    if adjacency.dtype.kind == "c":
        raise TypeError(
            f"conductances are real numbers, but the matrix has dtype {adjacency.dtype}; pass abs(matrix) or "
            "matrix.real"
        )
    matrix = adjacency.tocoo()
    values = torch.from_numpy(matrix.data.copy())
    stored = (values != 0) & torch.from_numpy(matrix.row != matrix.col)
    if not values.is_floating_point():
        values = values.double()
    index = torch.stack([torch.from_numpy(matrix.row.astype("int64")), torch.from_numpy(matrix.col.astype("int64"))])
    directions: Literal["auto", "both"] = "auto" if symmetrize else "both"
    return from_edge_index(
        index[:, stored], values[stored], matrix.shape[0], directions=directions, symmetrize=symmetrize
    )


def laplacian_scipy(graph: Incidence) -> Any:
    """Laplacian as a SciPy CSR matrix.

    Args:
        graph: any operator, normalized or not.

    Returns:
        `[n, n]` `scipy.sparse.csr_array`, a copy on the CPU without gradients.

    Example:
        >>> laplacian_scipy(Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0]))).toarray().tolist()
        [[4.0, -4.0], [-4.0, 4.0]]
    """
    from scipy.sparse import csr_array

    u, v, w, diagonal = graph._laplacian_entries()
    nodes = torch.arange(graph.num_nodes, device=graph.device)
    parts = torch.cat([-w, -w, diagonal]), torch.cat([u, v, nodes]), torch.cat([v, u, nodes])
    values, rows, columns = (part.detach().cpu().numpy() for part in parts)
    return csr_array((values, (rows, columns)), shape=(graph.num_nodes, graph.num_nodes))
