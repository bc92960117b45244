"""Synthetic problems: random small graphs with fresh weights, demands, and the exact answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout
from graphtf.validate import check_positive_int

Task = Literal["electric", "resistive", "heat", "eigenvectors"]
Topology = Literal["skip-links", "random", "tree", "grid"]
TASKS: tuple[Task, ...] = ("electric", "resistive", "heat", "eigenvectors")
TOPOLOGIES: tuple[Topology, ...] = ("skip-links", "random", "tree", "grid")
NUM_NODES = 10
MAX_EDGES = 20
HEAT_TIME = 0.5


@dataclass(frozen=True)
class Problem:
    """A batch of graphs with demands and answers.

    Args:
        graph: `G` graphs of ten nodes as one operator.
        psi: `[G, 10, k]` demands, or for eigenvectors the start, the identity.
        target: `[G, 10, k]` answers.
    """

    graph: Incidence
    psi: Tensor
    target: Tensor


def _skip_links(count: int, generator: torch.Generator) -> Tensor:
    i = torch.arange(NUM_NODES)
    skip = torch.where(torch.arange(count) % 2 == 0, 2, 4)[:, None]  # 6 and 8 are 4 and 2 walked backwards
    ring = torch.stack([i, (i + 1) % NUM_NODES]).expand(count, 2, -1)
    chord = torch.stack([i.expand(count, -1), (i + skip) % NUM_NODES], dim=1)
    return torch.cat([ring, chord], dim=2)


def _tree(count: int, generator: torch.Generator) -> Tensor:
    child = torch.arange(1, NUM_NODES).expand(count, -1)
    parent = (torch.rand(count, NUM_NODES - 1, generator=generator) * child).long()
    return torch.stack([child, parent], dim=1)


def _random(count: int, generator: torch.Generator) -> Tensor:
    """A random tree, which connects the graph, and six more edges."""
    u, v = torch.tril_indices(NUM_NODES, NUM_NODES, -1)
    child, parent = _tree(count, generator).unbind(1)
    key = torch.rand(count, len(u), generator=generator)
    key.scatter_(1, child * (child - 1) // 2 + parent, -1.0)  # row-major position below the diagonal
    chosen = key.argsort(1)[:, :15]
    return torch.stack([u[chosen], v[chosen]], dim=1)


def _grid(count: int, generator: torch.Generator) -> Tensor:
    right = [(5 * r + c, 5 * r + c + 1) for r in range(2) for c in range(4)]
    edges = torch.tensor(right + [(c, c + 5) for c in range(5)])
    return edges.t().expand(count, 2, -1)


_EDGES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "skip-links": _skip_links,
    "random": _random,
    "tree": _tree,
    "grid": _grid,
}


def sample_graphs(
    topology: Topology, count: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Incidence:
    r"""Draw connected graphs of ten nodes with conductances :math:`w = r^2, r = e^u, u \sim U[-1, 1]`.

    Nodes are renamed, edges reordered and turned round at random in every graph, so that nothing but the graph can be
    learned.

    Args:
        topology: `"skip-links"`, a ring with chords to the second or fourth neighbour, 20 edges; `"random"`, a random
            tree and six more edges; `"tree"`, a random recursive tree; `"grid"`, 2 x 5.
        count: number of graphs `G`.
        generator: source of randomness.
        dtype: floating type of the conductances.

    Returns:
        The graphs as one operator, nodes and edges graph by graph.

    Raises:
        ValueError: the topology is unknown or the count not positive.

    Example:
        >>> import torch
        >>> sample_graphs("grid", 3, torch.Generator().manual_seed(0))
        Incidence(num_nodes=30, num_edges=39, num_graphs=3, dtype=torch.float32)

    Source: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025, section 4.
    """
    if topology not in _EDGES:
        raise ValueError(f"topology must be one of {', '.join(map(repr, TOPOLOGIES))}, but got {topology!r}")
    check_positive_int("count", count)
    edges = _EDGES[topology](count, generator)  # [G, 2, m]
    m = edges.shape[2]
    name = torch.rand(count, NUM_NODES, generator=generator).argsort(1)
    edges = name.gather(1, edges.flatten(1)).view_as(edges)
    order = torch.rand(count, m, generator=generator).argsort(1)
    edges = edges.gather(2, order[:, None].expand_as(edges))
    turned = torch.rand(count, 1, m, generator=generator) < 0.5
    edges = torch.where(turned, edges.flip(1), edges)
    edges = edges + NUM_NODES * torch.arange(count)[:, None, None]
    weight = torch.exp(4 * torch.rand(count * m, generator=generator, dtype=dtype) - 2)
    batch = torch.arange(count).repeat_interleave(NUM_NODES)
    return Incidence(edges.transpose(0, 1).flatten(1), weight, count * NUM_NODES, batch, count, validate=False)


def exact_answer(task: Task, laplacian: Tensor, psi: Tensor) -> Tensor:
    """The answer by dense eigendecomposition in float64: `[G, n, n], [G, n, k] -> [G, n, k]`.

    Args:
        task: which answer; eigenvectors come in descending order of the eigenvalue and do not depend on `psi`.
        laplacian: `[G, n, n]` Laplacians of connected graphs.
        psi: `[G, n, k]` demands, every column summing to zero.

    Returns:
        `[G, n, k]` in the dtype of `psi`.

    Example:
        >>> import torch
        >>> L = torch.tensor([[[4.0, -4.0], [-4.0, 4.0]]])  # one edge of resistance 1/4
        >>> exact_answer("electric", L, torch.tensor([[[1.0], [-1.0]]])).flatten().tolist()
        [0.125, -0.125]
    """
    eigenvalue, vector = torch.linalg.eigh(laplacian.double())
    if task == "eigenvectors":
        return vector.flip(2).to(psi.dtype)
    if task == "heat":
        factor = torch.exp(-HEAT_TIME * eigenvalue)
    else:
        power = -1.0 if task == "electric" else -0.5
        factor = torch.cat([torch.zeros_like(eigenvalue[:, :1]), eigenvalue[:, 1:] ** power], dim=1)
    return (vector @ (factor[..., None] * (vector.transpose(1, 2) @ psi.double()))).to(psi.dtype)


def sample_problem(
    task: Task,
    topology: Topology,
    count: int,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    """Draw graphs, ten Gaussian demands a graph with zero sum, and the answers.

    Args:
        task: `"electric"` for :math:`L^+ psi`, `"resistive"` for its square root, `"heat"` for
            :math:`exp(-L / 2) psi`, `"eigenvectors"` for all ten.
        topology: see :func:`sample_graphs`.
        count: number of graphs.
        generator: source of randomness.
        dtype: floating type.

    Returns:
        The problem; demands have unit Frobenius norm in every graph, which changes no loss, since that has no scale.

    Raises:
        ValueError: task or topology is unknown, or the count not positive.

    Example:
        >>> import torch
        >>> sample_problem("electric", "tree", 4, torch.Generator().manual_seed(0)).target.shape
        torch.Size([4, 10, 10])
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(map(repr, TASKS))}, but got {task!r}")
    graph = sample_graphs(topology, count, generator, dtype)
    if task == "eigenvectors":
        psi = torch.eye(NUM_NODES, dtype=dtype).expand(count, -1, -1)
    else:
        psi = torch.randn(count, NUM_NODES, NUM_NODES, generator=generator, dtype=dtype)
        psi = psi - psi.mean(1, keepdim=True)
        psi = psi / psi.norm(dim=(1, 2), keepdim=True)
    return Problem(graph, psi, exact_answer(task, PaddedLayout(graph).laplacian_blocks, psi))
