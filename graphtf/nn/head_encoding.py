"""The encoding by several networks on the same edges, with given or learned conductances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.nn.heads import head_entries, head_leverages
from graphtf.powers import power_entries

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE


HALF = (torch.float16, torch.bfloat16)


def encode_heads(
    module: LinearTransformerPE,
    graph: Incidence,
    pairs: Tensor,
    listed: Tensor | None = None,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Encode nodes and pairs of nodes by all heads of an encoder.

    Args:
        module: the encoder, with `init="basis"`.
        graph: plain operator; its weights multiply learned conductances.
        pairs: `[2, P]` pairs of nodes.
        listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
        x: node features.
        edge_attr: edge features.

    Returns:
        `[n, node_channels]` and `[P, edge_channels]`: heads one after the other, then the leverages (zero where a pair
        is no edge).

    Raises:
        ValueError: the operator is normalized, or features are missing.
    """
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    with torch.autocast(graph.device.type, enabled=False):
        graph, weight = networks(module, graph, listed, x, edge_attr)
        powers = head_entries(graph, weight, config.k)
        null = null_vectors(graph, weight) if config.centered else None
        node, edge = mix_entries(module, graph, weight, pairs, *powers, head_mixes(module, graph.dtype), null)
    return (node.to(parameter), edge.to(parameter)) if parameter in HALF else (node, edge)


def mix_entries(
    module: LinearTransformerPE,
    graph: Incidence,
    weight: Tensor,
    pairs: Tensor,
    node: Tensor,
    edge: Tensor,
    mix: Tensor,
    null: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The encoding from entries of the powers of the walks, and leverages.

    Args:
        module: the encoder.
        graph: the edges.
        weight: `[H, m]` conductances of the heads.
        pairs: `[2, P]` pairs of nodes.
        node: `[n, H, k]` powers `1 ... k` on the diagonal.
        edge: `[m, H, k]` the same at the edges.
        mix: `[H, k, k + 1]` coefficients.
        null: `[n, H]` unit null vectors, where the registers start at demands.

    Returns:
        `[n, node_channels]` and `[P, edge_channels]`.
    """
    node = torch.einsum("nhj,hlj->nhl", node, mix[..., 1:]) + mix[..., 0]
    edge = torch.einsum("mhj,hlj->mhl", edge, mix[..., 1:])
    root = None
    if null is not None:  # the start is I - v v^T, and T v = v
        root = null.unsqueeze(2)
        node = node - root.square() * mix.sum(2)
        edge = edge - root[graph.index[0]] * root[graph.index[1]] * mix.sum(2)
    at = edge_at(graph, pairs)
    columns = [_of_pairs(graph, weight, pairs, at, node, edge, mix, root)]
    if module.config.leverage:
        columns.append(leverages_of(graph, weight, at))
    return node.flatten(1), torch.cat(columns, 1)


def head_mixes(module: LinearTransformerPE, dtype: torch.dtype) -> Tensor:
    """`[H, k, k + 1]` coefficients of the heads."""
    return torch.stack([module.coefficients(dtype, head) for head in range(module.config.heads)])


def networks(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor | None = None,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
) -> tuple[Incidence, Tensor]:
    """The operator in the dtype to compute in, and the conductances `[H, m]` of the heads; see :func:`encode_heads`.

    Raises:
        ValueError: the operator is normalized, or features are missing.
    """
    if graph.scale is not None:
        raise ValueError("heads normalize every network by themselves; pass the operator without normalization")
    parameter = module.transformer.stack[0].value.dtype
    dtype = torch.promote_types(torch.promote_types(graph.dtype, parameter), torch.float32)
    graph = graph if graph.dtype == dtype else graph.to(dtype)
    weight = graph.weight.expand(module.config.heads, -1)
    if module.conductances is not None:
        place = edge_at(graph, graph.index if listed is None else listed)
        weight = weight * module.conductances(graph.index, place, x, edge_attr).to(dtype)
    return graph, weight


def null_vectors(graph: Incidence, weight: Tensor) -> Tensor:
    """`[n, H]` unit null vectors of the normalized networks, on every component."""
    labels = graph.components()
    return torch.stack([graph._replace(weight=w, components=labels).normalized("sym").null_vector() for w in weight], 1)


def leverages_of(graph: Incidence, weight: Tensor, at: Tensor) -> Tensor:
    """`[P, H]` leverages in every network of the edges with the numbers `at`, zero where that is -1."""
    if graph.num_edges == 0:
        return weight.new_zeros(len(at), len(weight))
    found = head_leverages(graph, weight).index_select(0, at.clamp(min=0))
    return torch.where((at >= 0).unsqueeze(1), found, 0.0)


def _of_pairs(
    graph: Incidence,
    weight: Tensor,
    pairs: Tensor,
    at: Tensor,
    node: Tensor,
    edge: Tensor,
    mix: Tensor,
    root: Tensor | None,
) -> Tensor:
    """`[P, H k]` rows of edges and nodes; pairs that are neither are computed on their own."""
    if bool((at >= 0).all()):
        return edge.index_select(0, at).flatten(1)
    loop = pairs[0] == pairs[1]
    rows = torch.where(loop.view(-1, 1, 1), node[pairs[0]], edge[at.clamp(min=0)] if len(edge) else node[pairs[0]])
    other = ((at < 0) & ~loop).nonzero().squeeze(1)
    if len(other):
        few, labels = pairs[:, other], graph.components()
        parts = []
        for head, w in enumerate(weight):
            network = graph._replace(weight=w).normalized("sym")
            found = power_entries(network, mix.shape[1], few, mix[head])[1]
            if root is not None:
                same = (labels[few[0]] == labels[few[1]]).unsqueeze(1)
                found = found - root[few[0], head] * root[few[1], head] * same * mix[head].sum(1)
            parts.append(found)
        rows = rows.index_copy(0, other, torch.stack(parts, 1))
    return rows.flatten(1)
