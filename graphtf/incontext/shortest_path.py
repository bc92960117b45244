"""Shortest paths in context: random graphs with lengths, their exact flows, and paths read off flows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.components import connected_components
from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.validate import check_choice, check_positive_int

TOPOLOGIES = ("random", "grid", "ring", "preferential")


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
        n: nodes of a graph.
        topology: `"random"`: any set of `num_edges` pairs, equally likely; `"ring"`: a ring, and random skip links up
            to `num_edges`; `"grid"`: `r` rows, the largest divisor of `n` with :math:`r^2 \le n`; `"preferential"`:
            every new node joins two others, with probabilities by their degrees (Barabasi and Albert).
        num_edges: for `"random"` and `"ring"`; `None`: 11 edges for 6 nodes.
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
        self.n, self.topology = check_positive_int("n", n, minimum=3), check_choice("topology", topology, TOPOLOGIES)
        if not 0 <= spread < float("inf"):
            raise ValueError(f"spread must be at least 0 and finite, but got {spread}")
        self.spread = spread
        most, least = n * (n - 1) // 2, n if topology == "ring" else 1
        if topology in ("random", "ring"):
            default = max(least, min(most, round(n * 11 / 6)))
            self.num_edges = default if num_edges is None else check_positive_int("num_edges", num_edges)
            if not least <= self.num_edges <= most:
                raise ValueError(
                    f"{n} nodes have {least} to {most} edges as {topology!r}, but got num_edges={num_edges}"
                )
        elif num_edges is not None:
            raise ValueError(f"num_edges follows from n with topology={topology!r}, but got {num_edges}; leave it out")

    def sample(self, num_graphs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> PathProblem:
        """Draw problems, one a graph.

        Raises:
            ImportError: SciPy, whose Dijkstra's algorithm finds the paths, is not installed.
        """
        P, n = check_positive_int("num_graphs", num_graphs), self.n
        pairs = self._pairs(P, generator)  # [2, P, edges of a graph]
        index = (pairs + n * torch.arange(P).unsqueeze(1)).flatten(1)
        batch = torch.arange(P).repeat_interleave(n)
        graph = Incidence(index, torch.ones(index.shape[1], dtype=dtype), P * n, batch, P, validate=False)
        length = torch.exp(self.spread * (2 * torch.rand(graph.num_edges, generator=generator, dtype=dtype) - 1))
        source, target = _ends(connected_components(index, P * n).view(P, n), generator)
        demand = length.new_zeros(P * n)
        demand[source], demand[target] = 1.0, -1.0
        return PathProblem(graph, length, demand, exact_flow(graph, length, source, target), source, target)

    def _pairs(self, P: int, generator: torch.Generator) -> Tensor:
        n = self.n
        if self.topology == "grid":
            rows = next(r for r in range(int(n**0.5), 0, -1) if n % r == 0)
            at = torch.arange(n).view(rows, -1)
            across = torch.stack([at[:, :-1].flatten(), at[:, 1:].flatten()])
            down = torch.stack([at[:-1].flatten(), at[1:].flatten()])
            return torch.cat([across, down], 1).unsqueeze(1).expand(2, P, -1)
        if self.topology == "preferential":
            return _preferential(P, n, generator)
        pairs = torch.triu_indices(n, n, 1)
        rank = torch.rand(P, pairs.shape[1], generator=generator)
        if self.topology == "ring":
            rank[:, (pairs[1] - pairs[0] == 1) | (pairs[1] - pairs[0] == n - 1)] = 2.0  # before all others
        return pairs[:, rank.topk(self.num_edges).indices]


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


def _ends(component: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A source and another node of its component in every graph, all such pairs equally likely."""
    P, n = component.shape
    together = component.unsqueeze(2) == component.unsqueeze(1)
    source = torch.multinomial(together.sum(2) - 1.0, 1, generator=generator)
    others = together.gather(1, source.unsqueeze(2).expand(P, 1, n)).squeeze(1).float().scatter(1, source, 0.0)
    target = torch.multinomial(others, 1, generator=generator)
    start = n * torch.arange(P)
    return start + source.squeeze(1), start + target.squeeze(1)


def _preferential(P: int, n: int, generator: torch.Generator) -> Tensor:
    """`[2, P, 2 n - 3]` edges: the first two nodes are joined, then every node joins two earlier ones."""
    degree = torch.zeros(P, n)
    degree[:, :2] = 1.0
    old, new = [torch.zeros(P, 1, dtype=torch.int64)], [torch.ones(P, 1, dtype=torch.int64)]
    for node in range(2, n):
        chosen = torch.multinomial(degree[:, :node], 2, generator=generator)
        degree.scatter_add_(1, chosen, torch.ones(P, 2))
        degree[:, node] = 2.0
        old.append(chosen)
        new.append(torch.full((P, 2), node))
    return torch.stack([torch.cat(old, 1), torch.cat(new, 1)])
