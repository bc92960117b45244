"""Some graphs of a batch as a batch of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence


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
