"""Random graphs of several topologies, as batches: what prompts of graphs are drawn on."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.validate import check_choice, check_positive_int

TOPOLOGIES = ("random", "grid", "ring", "preferential")


class RandomGraphs:
    r"""Batches of random graphs with the same numbers of nodes and edges.

    Args:
        n: nodes of a graph.
        topology: `"random"`: any set of `num_edges` pairs, equally likely; `"ring"`: a ring, and random skip links up
            to `num_edges`; `"grid"`: `r` rows, the largest divisor of `n` with :math:`r^2 \le n`; `"preferential"`:
            every new node joins two others, with probabilities by their degrees (Barabasi and Albert).
        num_edges: for `"random"` and `"ring"`; `None`: 11 edges for 6 nodes.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> RandomGraphs(n=12, topology="grid").sample(2, torch.Generator().manual_seed(0))
        Incidence(num_nodes=24, num_edges=34, num_graphs=2, dtype=torch.float32)
    """

    def __init__(self, n: int = 12, topology: str = "random", num_edges: int | None = None) -> None:
        self.n, self.topology = check_positive_int("n", n, minimum=3), check_choice("topology", topology, TOPOLOGIES)
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

    def sample(self, num_graphs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Incidence:
        """Draw a batch, all weights 1; graph `i` has the nodes from `i n` on."""
        P, n = check_positive_int("num_graphs", num_graphs), self.n
        pairs = self._pairs(P, generator)  # [2, P, edges of a graph]
        index = (pairs + n * torch.arange(P).unsqueeze(1)).flatten(1)
        batch = torch.arange(P).repeat_interleave(n)
        return Incidence(index, torch.ones(index.shape[1], dtype=dtype), P * n, batch, P, validate=False)

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


def check_spread(spread: float) -> float:
    """Return `spread` if it is at least 0 and finite, else raise `ValueError`."""
    if not 0 <= spread < float("inf"):
        raise ValueError(f"spread must be at least 0 and finite, but got {spread}")
    return spread


def log_uniform(spread: float, count: int, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    r"""`[count]` numbers :math:`\exp(U[-a, a])`, `a` the spread."""
    return torch.exp(spread * (2 * torch.rand(count, generator=generator, dtype=dtype) - 1))


def random_ends(component: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A source and another node of its component in every graph, all such pairs equally likely.

    Args:
        component: `[P, n]` labels of the components, row by row; every graph has an edge.
        generator: source of randomness.

    Returns:
        `[P]` sources and `[P]` targets, numbered through the batch.
    """
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
