"""Shortest paths in context: random graphs with lengths, their exact flows, and paths read off flows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.incontext.random_graphs import TOPOLOGIES as TOPOLOGIES
from graphtf.incontext.random_graphs import RandomGraphs, check_spread, log_uniform, random_ends
from graphtf.layout import edge_at


class PathProblem(NamedTuple):
    """A batch of graphs, and in each of them a shortest path from a source to a target.

    `length` `[m]` of the edges, `demand` `[n]` (1 at sources, -1 at targets), `flow` `[m]` (exact: 1 along the path, -1
    against the orientation of an edge, else 0), `source` and `target` `[P]` nodes of the batch.
    """

    graph: Incidence
    length: Tensor
    demand: Tensor
    flow: Tensor
    source: Tensor
    target: Tensor


class ShortestPathPrompt:
    r"""Random graphs with lengths :math:`\exp(U[-a, a])`, and two nodes in one component of each.

    Args:
        n, topology, num_edges: of the graphs, see :class:`graphtf.incontext.random_graphs.RandomGraphs`.
        spread: `a`.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> problem = ShortestPathPrompt(n=12, num_edges=22).sample(3, torch.Generator().manual_seed(0))
        >>> problem.graph
        Incidence(num_nodes=36, num_edges=66, num_graphs=3, dtype=torch.float32)
        >>> torch.equal(problem.graph @ problem.flow, problem.demand)
        True
    """

    def __init__(
        self, n: int = 12, topology: str = "random", num_edges: int | None = None, spread: float = 1.0
    ) -> None:
        self.graphs, self.spread = RandomGraphs(n, topology, num_edges), check_spread(spread)
        self.n, self.topology = self.graphs.n, self.graphs.topology

    def sample(self, num_graphs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> PathProblem:
        """Draw problems, one a graph.

        Raises:
            ImportError: SciPy, whose Dijkstra's algorithm finds the paths, is not installed.
        """
        graph = self.graphs.sample(num_graphs, generator, dtype)
        length = log_uniform(self.spread, graph.num_edges, generator, dtype)
        source, target = random_ends(graph.components().view(num_graphs, self.n), generator)
        demand = length.new_zeros(graph.num_nodes)
        demand[source], demand[target] = 1.0, -1.0
        return PathProblem(graph, length, demand, exact_flow(graph, length, source, target), source, target)


def exact_flow(graph: Incidence, length: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The flow of one unit along a shortest path in every graph, by Dijkstra's algorithm (SciPy).

    Args:
        graph: plain operator of a batch, without parallel edges.
        length: `[m]` positive lengths.
        source: `[P]` nodes, at most one a graph.
        target: `[P]` nodes of the same graphs.

    Returns:
        `[m]` flows in -1, 0, 1; zero in graphs where no path leads to the target.

    Raises:
        ImportError: SciPy is not installed.

    Example:
        >>> B = Incidence(torch.tensor([[0, 1, 0], [1, 2, 2]]))
        >>> exact_flow(B, torch.tensor([1.0, 1.0, 4.0]), torch.tensor([2]), torch.tensor([0]))
        tensor([-1., -1., 0.])
    """
    try:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import dijkstra
    except ImportError as error:
        raise ImportError("exact shortest paths need SciPy; install it with: pip install scipy") from error
    n, (u, v) = graph.num_nodes, graph.index.cpu().numpy()
    matrix = coo_array((length.detach().cpu().double().numpy(), (u, v)), shape=(n, n)).tocsr()
    # graphs do not touch, so the trees of all sources come from one call
    _, before, _ = dijkstra(
        matrix, directed=False, indices=source.cpu().numpy(), return_predecessors=True, min_only=True
    )
    previous = torch.from_numpy(before).to(graph.index.device, torch.int64)
    pointer = torch.where(previous < 0, torch.arange(n, device=previous.device), previous)
    tails, heads = _walk(graph, pointer, target, source)
    return _along(graph, heads, tails).to(length.dtype)


def read_path(graph: Incidence, flow: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """The path that follows the largest flow out of every node, from sources to targets.

    Args:
        graph: a plain operator, a graph or a batch without parallel edges.
        flow: `[m]`, its sign along `graph.index`.
        source: `[P]` nodes, at most one a graph.
        target: `[P]` nodes of the same graphs.

    Returns:
        `[m]` 1 along the path, -1 against the orientation of an edge, else 0. Zero in graphs where the walk does not
        arrive: a node has no flow out of it, or is met twice.

    Raises:
        ValueError: shapes do not fit.

    Example:
        >>> B = Incidence(torch.tensor([[0, 1, 0], [1, 2, 2]]))
        >>> read_path(B, torch.tensor([0.7, 0.6, 0.3]), torch.tensor([0]), torch.tensor([2]))
        tensor([1., 1., 0.])
    """
    if flow.shape != (graph.num_edges,) or source.shape != target.shape or source.dim() != 1:
        raise ValueError(
            f"flow must be [{graph.num_edges}] and source and target [P], but have shapes {list(flow.shape)}, "
            f"{list(source.shape)} and {list(target.shape)}"
        )
    u, v = graph.index
    tail, head, out = torch.cat([u, v]), torch.cat([v, u]), torch.cat([flow, -flow])
    best = torch.zeros(graph.num_nodes, dtype=flow.dtype, device=flow.device).scatter_reduce(0, tail, out, "amax")
    first = (out > 0) & (out == best[tail])
    pointer = torch.arange(graph.num_nodes, device=flow.device)
    pointer[tail[first]] = head[first]  # a node that nothing flows out of points to itself
    tails, heads = _walk(graph, pointer, source, target)
    return _along(graph, tails, heads).to(flow.dtype)


def path_rate(problem: PathProblem, flow: Tensor) -> float:
    """Part of the graphs where :func:`read_path` gives a shortest path: one as long as the exact path.

    Args:
        problem: with the exact flows.
        flow: `[m]`.

    Example:
        >>> problem = ShortestPathPrompt().sample(5, torch.Generator().manual_seed(0))
        >>> path_rate(problem, 0.1 * problem.flow), path_rate(problem, -problem.flow)
        (1.0, 0.0)
    """
    read = read_path(problem.graph, flow, problem.source, problem.target)
    exact, found = (_lengths(problem, f) for f in (problem.flow, read))
    return float(((found > 0) & (found <= exact * (1 + 1e-5))).double().mean())


def support_rate(problem: PathProblem, flow: Tensor) -> float:
    """Part of the graphs where the edges with a flow of more than 1/2 are those of the exact path.

    A harder test than :func:`path_rate`, and without meaning where several paths are shortest.

    Example:
        >>> problem = ShortestPathPrompt().sample(5, torch.Generator().manual_seed(0))
        >>> support_rate(problem, 0.6 * problem.flow), support_rate(problem, 0.1 * problem.flow)
        (1.0, 0.0)
    """
    wrong = (flow.abs() > 0.5) != (problem.flow.abs() > 0.5)
    graph_of = problem.graph.batch[problem.graph.index[0]]
    return float((torch.bincount(graph_of[wrong], minlength=problem.graph.num_graphs) == 0).double().mean())


def _lengths(problem: PathProblem, flow: Tensor) -> Tensor:
    """`[P]` length of the paths."""
    graph = problem.graph
    total = torch.zeros(graph.num_graphs, dtype=torch.float64, device=flow.device)
    return total.index_add(0, graph.batch[graph.index[0]], (flow.abs() * problem.length).double())


def _walk(graph: Incidence, pointer: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and successors on the ways from `start` to `end` along `pointer` `[n]`, of the ways that arrive."""
    way = [start]
    for _ in range(int(torch.bincount(graph.batch).max())):
        way.append(torch.where(way[-1] == end, end, pointer[way[-1]]))
        if torch.equal(way[-1], way[-2]):
            break
    walked = torch.stack(way)  # [steps + 1, P]
    on = (walked[:-1] != walked[1:]) & (walked[-1] == end)
    return walked[:-1][on], walked[1:][on]


def _along(graph: Incidence, tails: Tensor, heads: Tensor) -> Tensor:
    """`[m]` 1 on edges from a tail to its head, -1 on edges the other way round."""
    at = edge_at(graph, torch.stack([tails, heads]))
    out = torch.zeros(graph.num_edges, device=graph.index.device)
    out[at] = torch.where(graph.index[0, at] == tails, 1.0, -1.0)
    return out
