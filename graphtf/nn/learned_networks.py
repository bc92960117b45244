"""The conductances that an encoder has learned, to look at."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.layout import edge_at
from graphtf.nn.head_encoding import networks
from graphtf.nn.inputs import graph_parts
from graphtf.nn.linear_transformer_pe import LinearTransformerPE


def edge_conductances(
    encoder: LinearTransformerPE,
    data: Any,
    edge_weight: Tensor | None = None,
    batch: Tensor | None = None,
    num_nodes: int | None = None,
    *,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
) -> Tensor:
    r"""Conductances of the edges in the network of every head.

    .. math:: w_{eh} = w_e \, \mathrm{softplus}(\ldots)_h

    with the given :math:`w_e`, 1 by default, and what :class:`graphtf.nn.conductances.EdgeConductances` makes of the
    features. The encoding does not change if all conductances of a head are multiplied by one number: only their ratios
    mean something.

    Args:
        encoder: an encoder with learned conductances.
        data: the graphs; this and the others as in :meth:`graphtf.nn.LinearTransformerPE.forward`.
        edge_weight: with an `edge_index`: `[E]` conductances to multiply.
        batch: with an `edge_index`: `[n]` graph of every node.
        num_nodes: with an `edge_index`: number of nodes.
        x: with an `edge_index` or an `Incidence`: features of the nodes.
        edge_attr: the same of the columns of `edge_index`.

    Returns:
        `[E, heads]`, one row for every column of `edge_index` (for an `Incidence`: of its `index`). An edge that is
        listed several times is one edge, with the same value in all places; self-loops, which have no effect, get 0.
        Gradients reach the encoder and the weights.

    Raises:
        TypeError: `encoder` is no :class:`graphtf.nn.LinearTransformerPE`, or `data` no graph.
        ValueError: the encoder learns no conductances, or the graph or its features do not fit.

    Example:
        >>> encoder = LinearTransformerPE(k=4, heads=2, edge_types=4)
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> w = edge_conductances(encoder, path, edge_attr=torch.tensor([1, 1, 2, 2]))
        >>> w.shape, bool(w[0].equal(w[1]))  # both directions of an edge
        (torch.Size([4, 2]), True)
    """
    if not isinstance(encoder, LinearTransformerPE):
        raise TypeError(f"encoder must be a LinearTransformerPE, but got {type(encoder).__name__}")
    if encoder.conductances is None:
        raise ValueError(
            "the encoder learns no conductances: all its networks have the weights of the graph; make it with "
            "node_types, edge_types, node_dim or edge_dim"
        )
    graph, edge_index, x, edge_attr = graph_parts(data, edge_weight, batch, num_nodes, x, edge_attr)
    graph, weight = networks(encoder, graph, edge_index, x, edge_attr)
    at = edge_at(graph, edge_index)
    if graph.num_edges == 0:
        return weight.new_zeros(len(at), encoder.config.heads)
    found = weight.t().index_select(0, at.clamp(min=0))
    return torch.where((at >= 0).unsqueeze(1), found, 0.0)
