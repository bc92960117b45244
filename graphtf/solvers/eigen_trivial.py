"""The eigenvectors of eigenvalue zero, known beforehand, and what belongs to them."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence


def components_of(B: Incidence) -> tuple[Tensor, Tensor]:
    """`[n]` position of the component of every node among those of its graph, and `[G]` how many a graph has."""
    labels = B.components()
    number = int(labels.max()) + 1 if labels.numel() else 0
    graph = B.batch.new_zeros(number).index_copy(0, labels, B.batch) if number else B.batch
    count = torch.bincount(graph, minlength=B.num_graphs)
    order = graph.argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(number, device=order.device) - (count.cumsum(0) - count)[graph[order]]
    return position[labels], count


def columns(x: Tensor, components: Tensor, space: Tensor, largest: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`[G, k]` numbers of the columns with zeros for the null vectors, which columns those are, and the sources."""
    column = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    first = space.unsqueeze(1) if largest else torch.zeros_like(space).unsqueeze(1)
    null = (column >= first) & (column < first + components.unsqueeze(1))
    source = column if largest else (column - components.unsqueeze(1)).clamp(min=0)
    return torch.where(null, 0.0, x.gather(1, source)), null, source


def with_trivial(
    S: Incidence,
    values: Tensor,
    vectors: Tensor,
    residual: Tensor,
    rank: Tensor,
    components: Tensor,
    space: Tensor,
    largest: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Put the null vectors before the others, or behind them if the largest are wanted."""
    values, null, source = columns(values, components, space, largest)
    residual, _, _ = columns(residual, components, space, largest)
    first = space.unsqueeze(1) if largest else torch.zeros_like(space).unsqueeze(1)
    column = torch.arange(values.shape[1], device=values.device).expand(len(values), -1)
    own = column[S.batch] == (rank + first[S.batch, 0]).unsqueeze(1)
    constant = torch.where(own, S.null_vector().unsqueeze(1), 0.0)
    vectors = torch.where(null[S.batch], constant, vectors.gather(1, source[S.batch]))
    return values, vectors, residual


def rw_scale(B: Incidence) -> Tensor:
    """`[n]` square roots of the mean degree over the degree, one for nodes without edges."""
    degree = B.degree
    nodes = torch.bincount(B.batch, minlength=B.num_graphs)
    alone = degree == 0
    linked = nodes - torch.bincount(B.batch[alone], minlength=B.num_graphs)
    total = degree.new_zeros(B.num_graphs).index_add(0, B.batch, degree)
    mean = torch.where(linked > 0, total / linked.clamp(min=1), 1.0)[B.batch]
    return torch.where(alone, 1.0, mean / torch.where(alone, 1.0, degree)).sqrt()
