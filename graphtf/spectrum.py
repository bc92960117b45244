"""What the incidence operator says about the spectrum of `L`: null vectors, bounds and normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.products import as_operand, per_row
from graphtf.validate import check_choice

if TYPE_CHECKING:
    from graphtf.incidence import Incidence

NORMALIZATIONS = ("sym", "spectral")


def null_vector(graph: Incidence) -> Tensor:
    """`[n]`, on every component the unit vector that `L` maps to zero; see :meth:`graphtf.Incidence.null_vector`."""
    labels = graph.components()
    v = torch.ones(graph.num_nodes, dtype=graph.dtype, device=graph.device)
    if graph.scale is not None:
        v = torch.where(graph.scale > 0, 1 / torch.where(graph.scale > 0, graph.scale, v), v)
    return v / v.new_zeros(_count(labels)).index_add(0, labels, v * v).sqrt()[labels]


def center(graph: Incidence, x: Tensor) -> Tensor:
    """Project node values on the range of `L`, component by component; see :meth:`graphtf.Incidence.center`."""
    x = as_operand(x, graph.num_nodes, graph.dtype)
    labels = graph.components()
    if graph.scale is None:  # the mean
        number = _count(labels)
        if number == 1:
            return x - x.mean(0)
        count = per_row(torch.bincount(labels).to(x), x)
        return x - (x.new_zeros(number, *x.shape[1:]).index_add(0, labels, x) / count)[labels]
    v = per_row(graph.null_vector(), x)
    inner = x.new_zeros(_count(labels), *x.shape[1:]).index_add(0, labels, v * x)
    return x - v * inner[labels]


def lambda_bound(graph: Incidence) -> Tensor:
    """`[num_graphs]` bounds of the largest eigenvalue; see :meth:`graphtf.Incidence.lambda_bound`."""
    u, v, w, diagonal = graph._laplacian_entries()
    bound = 2 * _largest_per_graph(graph, diagonal)  # L is at most twice its diagonal part
    if graph.scale is None:
        return bound
    return torch.minimum(bound, _largest_per_graph(graph, diagonal.index_add(0, u, w).index_add(0, v, w)))


def row_scale(graph: Incidence, kind: str) -> Tensor:
    """`[n]` factors of the rows of `B` for a normalization; see :meth:`graphtf.Incidence.normalized`."""
    check_choice("normalization", kind, NORMALIZATIONS)
    if graph.scale is not None:
        raise ValueError("this operator is already normalized; normalize the original one instead")
    square = graph.degree if kind == "sym" else graph.lambda_bound()[graph.batch]
    positive = square > 0
    # The inner `where` keeps the gradient of isolated nodes finite.
    return torch.where(positive, square, torch.ones_like(square)).rsqrt() * positive


def _count(labels: Tensor) -> int:
    return int(labels.max()) + 1 if labels.numel() else 0


def _largest_per_graph(graph: Incidence, x: Tensor) -> Tensor:
    return x.new_zeros(graph.num_graphs).scatter_reduce(0, graph.batch, x, "amax")
