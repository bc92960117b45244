# mypy: disable-error-code="untyped-decorator"
"""Reading a sorted list of edges; imported only where numba is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def read(edge_index: Any, batch: Any, index: Any, place: Any, node_first: Any, edge_first: Any) -> bool:
    """Whether every edge is listed both ways, in ascending order, inside of one graph; the rest is filled in then.

    Args:
        edge_index: `[2, E]`.
        batch: `[n]` ascending graph of every node.
        index: `[2, E / 2]` becomes the edges from the smaller to the larger node.
        place: `[E]` becomes the number among these of every edge that is listed.
        node_first: `[G + 1]` zeros; becomes where the nodes of every graph start.
        edge_first: `[G + 1]` zeros; becomes where its edges start.
    """
    n, edges, graphs = len(batch), edge_index.shape[1], len(node_first) - 1
    graph = 0
    for i in range(n):
        if batch[i] < graph or batch[i] >= graphs:
            return False
        for g in range(graph, batch[i]):
            node_first[g + 1] = i
        graph = batch[i]
    for g in range(graph, graphs):
        node_first[g + 1] = n
    waiting = np.full(n, -1, np.int64)  # of every node the next edge to a larger one that has no way back yet
    m, before, after = 0, -1, -1
    for e in range(edges):
        u, v = edge_index[0, e], edge_index[1, e]
        ascending = u > before or (u == before and v > after)
        if not (ascending and u < n and 0 <= v < n) or u == v or batch[u] != batch[v]:
            return False
        if u < v:
            if m == index.shape[1]:
                return False
            index[0, m], index[1, m], place[e] = u, v, m
            if waiting[u] < 0:
                waiting[u] = m
            edge_first[batch[u] + 1] += 1
            m += 1
        else:
            j = waiting[v]
            if j < 0 or j >= m or index[0, j] != v or index[1, j] != u:
                return False
            place[e] = j
            waiting[v] = j + 1
        before, after = u, v
    for g in range(graphs):
        edge_first[g + 1] += edge_first[g]
    return 2 * m == edges
