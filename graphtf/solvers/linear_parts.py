"""Some graphs of a batch as a batch of their own, and what rounding allows on a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence

SPREAD = 1e6  # largest over smallest weight from which on rounding in float64 is put down to it


def selected(graph: Incidence, wanted: Tensor) -> tuple[Incidence, Tensor]:
    """The graphs in the mask `wanted` as a batch of their own, and its nodes in the old one."""
    nodes = wanted[graph.batch].nonzero().squeeze(1)
    edges = wanted[graph.batch[graph.index[0]]]
    place = torch.zeros(graph.num_nodes, dtype=torch.int64, device=graph.device)
    place[nodes] = torch.arange(len(nodes), device=graph.device)
    number = wanted.cumsum(0) - 1
    part = Incidence(
        place[graph.index[:, edges]],
        graph.weight[edges],
        len(nodes),
        number[graph.batch[nodes]],
        int(wanted.sum()),
        validate=False,
    )
    return part, nodes


def limit_of_rounding(graph: Incidence) -> str:
    """Why float64 potentials do not come closer, as a part of a message."""
    weight = graph.weight.detach()
    far = weight.numel() > 0 and float(weight.max()) > SPREAD * float(weight.min())
    where = "this graph, whose weights spread too far" if far else "this graph"
    return f"float64 potentials cannot come closer on {where}; loosen tol"
