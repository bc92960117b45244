"""A zoo of small graphs and checks of the properties that graph functions must have, for tests of this kind of code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from graphtf.convert import disjoint_union as disjoint_union
from graphtf.incidence import Incidence

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def _graph(edges: list[tuple[int, int]], num_nodes: int, weights: Tensor | None = None) -> Incidence:
    index = torch.tensor(edges, dtype=torch.int64).view(-1, 2).t().contiguous()
    weight = torch.ones(len(edges), dtype=torch.float64) if weights is None else weights.double()
    return Incidence(index, weight, num_nodes)


def graph_zoo() -> dict[str, Incidence]:
    """Named small graphs in float64.

    Connected and not, weighted and not, with repeated eigenvalues, and degenerate ones.

    Example:
        >>> sorted(graph_zoo())[:3]
        ['barbell', 'complete', 'cycle']
    """
    generator = torch.Generator().manual_seed(0)
    cycle = [(i, (i + 1) % 6) for i in range(6)]
    clique = [(i, j) for i in range(5) for j in range(i)]
    grid = [(3 * i + j, 3 * i + j + 1) for i in range(4) for j in range(2)]
    grid += [(3 * i + j, 3 * i + j + 3) for i in range(3) for j in range(3)]
    skip = [(i, (i + s) % 10) for i in range(10) for s in (1, 3)]
    tree = [(i, (i - 1) // 2) for i in range(1, 11)]
    barbell = [*clique, *[(i + 5, j + 5) for i, j in clique], (0, 5)]
    return {
        "path": _graph([(i, i + 1) for i in range(6)], 7),
        "cycle": _graph(cycle, 6),
        "star": _graph([(0, i) for i in range(1, 6)], 6),
        "complete": _graph(clique, 5),
        "grid": _graph(grid, 12),
        "barbell": _graph(barbell, 10),
        "tree": _graph(tree, 11),
        "skip-links": _graph(skip, 10, torch.exp(2 * torch.rand(20, generator=generator) - 1)),
        "weighted": _graph(skip, 10, 10 ** (8 * torch.rand(20, generator=generator) - 4)),
        "two components": _graph([*cycle, (6, 7), (7, 8)], 10),
        "single edge": _graph([(0, 1)], 2),
        "single node": _graph([], 1),
        "no edges": _graph([], 3),
        "no nodes": _graph([], 0),
    }


def permuted(graph: Incidence, order: Tensor) -> Incidence:
    """The same graph with node `i` renamed `order[i]`."""
    batch = torch.empty_like(graph.batch)
    batch[order] = graph.batch
    return Incidence(order[graph.index], graph.weight, graph.num_nodes, batch, graph.num_graphs)


def flipped(graph: Incidence, flip: Tensor) -> Incidence:
    """The same graph with the orientation of the edges in the mask `flip` `[m]` turned round."""
    index = torch.where(flip, graph.index.flip(0), graph.index)
    return Incidence(index, graph.weight, graph.num_nodes, graph.batch, graph.num_graphs)


def assert_permutation_equivariant(
    function: Callable[[Incidence], Tensor], graph: Incidence, tolerance: float | None = None, seed: int = 0
) -> None:
    """Raise `AssertionError` unless renaming the nodes permutes the rows of `function(graph)` and does nothing else.

    Example:
        >>> assert_permutation_equivariant(lambda graph: graph.degree, graph_zoo()["grid"])
    """
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(seed))
    tolerance = TOLERANCE[graph.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(function(permuted(graph, order))[order], function(graph), rtol=tolerance, atol=tolerance)


def assert_orientation_invariant(
    function: Callable[[Incidence], Tensor], graph: Incidence, tolerance: float | None = None, seed: int = 0
) -> None:
    """Raise `AssertionError` unless `function(graph)` stays as it is when edges are turned round.

    Example:
        >>> assert_orientation_invariant(lambda graph: graph.laplacian_dense(), graph_zoo()["grid"])
    """
    flip = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(seed)) < 0.5
    tolerance = TOLERANCE[graph.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(function(flipped(graph, flip)), function(graph), rtol=tolerance, atol=tolerance)
