"""Exponentials of the adjacency matrix with zeros and ones, with the signatures of NetworkX; weights do not count."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from graphtf.networkx_backend.graph import BackendGraph


def communicability_exp(G: Any) -> dict[Any, dict[Any, float]]:
    r"""Sum of all walks between two nodes, those of length `l` with weight `1 / l!`: the entries of `exp(A)`."""
    nodes = list(BackendGraph.of(G))
    matrix = torch.matrix_exp(_adjacency(G)) if nodes else torch.zeros(0, 0)
    return {node: dict(zip(nodes, row.tolist(), strict=True)) for node, row in zip(nodes, matrix, strict=True)}


communicability = communicability_exp


def subgraph_centrality_exp(G: Any, *, normalized: bool = False) -> dict[Any, float]:
    r"""Sum of all closed walks from a node, `exp(A)_uu`; normalized, divided by `exp(lambda_max)`.

    From the rows of `exp(A / 2)`, whose squared length it is, which saves a product.
    """
    nodes = list(BackendGraph.of(G))
    if not nodes:
        return {}
    A = _adjacency(G)
    if normalized:
        A = A - torch.linalg.eigvalsh(A)[-1] * torch.eye(len(nodes), dtype=A.dtype)
    return dict(zip(nodes, torch.matrix_exp(A / 2).square().sum(1).tolist(), strict=True))


subgraph_centrality = subgraph_centrality_exp


def estrada_index(G: Any) -> float:
    r"""Sum of the exponentials of the eigenvalues of `A`, the trace of `exp(A)`."""
    if len(BackendGraph.of(G)) == 0:
        return 0
    return float(torch.linalg.eigvalsh(_adjacency(G)).exp().sum())


def _adjacency(G: Any) -> Tensor:
    graph = BackendGraph.of(G)
    for refused, kind in ((graph.is_directed(), "directed"), (graph.is_multigraph(), "multigraph")):
        if refused:
            raise nx.NetworkXNotImplemented(f"not implemented for {kind} type")
    row, col = graph.ends()
    # An edge of weight zero is none, as in NetworkX.
    there = np.asarray(graph.values("weight") != 0)
    A = torch.zeros(len(graph), len(graph), dtype=torch.float64)
    A[row[there], col[there]] = A[col[there], row[there]] = 1
    return A
