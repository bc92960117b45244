"""The encoding by several networks on the same edges, with given or learned conductances."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.nn.heads import contiguous, head_entries, head_leverages
from graphtf.nn.repeated import repeat_rows
from graphtf.polynomial import stacked_coefficients
from graphtf.powers import power_entries
from graphtf.precision import full_precision
from graphtf.transformer import LinearTransformer

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
    mix: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Encode nodes and pairs of nodes by all heads of an encoder.

    Args:
        module: the encoder, with `init="basis"`.
        graph: plain operator; its weights multiply learned conductances.
        pairs: `[2, P]` pairs of nodes.
        listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
        x: node features.
        edge_attr: edge features.
        mix: `[H, k, k + 1]` what :func:`head_mixes` gives, if it is at hand.

    Returns:
        `[n, node_channels]` and `[P, edge_channels]`: heads one after the other, then the leverages (zero where a pair
        is no edge).

    Raises:
        ValueError: the operator is normalized, or features are missing or do not fit.
    """
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    with full_precision(graph.device.type):
        at = edge_at(graph, pairs)
        graph, weight = networks(module, graph, listed, x, edge_attr, at if pairs is listed else None)
        powers = head_entries(graph, weight, config.k)
        null = null_vectors(graph, weight) if config.centered else None
        mix = head_mixes(module, graph.dtype) if mix is None else mix.to(graph.dtype)
        node, edge = mix_entries(module, graph, weight, pairs, at, *powers, mix, null)
    return (node.to(parameter), edge.to(parameter)) if parameter in HALF else (node, edge)


def runs_in_loops(module: LinearTransformerPE, graph: Incidence) -> bool:
    """Whether the compiled loops, made for several networks and the edges of graphs, encode a single one too."""
    plain = module.config.init == "basis" and module.config.normalization == "sym" and graph.scale is None
    return plain and contiguous(graph) is not None


def mix_entries(
    module: LinearTransformerPE,
    graph: Incidence,
    weight: Tensor,
    pairs: Tensor,
    at: Tensor,
    node: Tensor,
    edge: Tensor,
    mix: Tensor,
    null: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The encoding from entries of the powers of the walks, and leverages.

    Args:
        module: the encoder.
        graph: the edges.
        weight: `[N, m]` conductances of the networks: of one that all heads share, or one a head.
        pairs: `[2, P]` pairs of nodes.
        at: `[P]` numbers of the edges that join them, -1 where there is none.
        node: `[N, n, k]` powers `1 ... k` on the diagonal.
        edge: `[N, m, k]` the same at the edges.
        mix: `[H, k, k + 1]` coefficients.
        null: `[n, N]` unit null vectors, where the registers start at demands.

    Returns:
        `[n, node_channels]` and `[P, edge_channels]`.
    """
    mix = on_networks(mix, weight)
    maps = mix.transpose(1, 2)
    node = torch.baddbmm(maps[:, :1], node, maps[:, 1:])  # [N, n, H k / N]
    edge = torch.bmm(edge, maps[:, 1:])
    if null is not None:  # the start is I - v v^T, and T v = v
        root, ones = null.t().unsqueeze(2), mix.sum(2).unsqueeze(1)
        node = node - root.square() * ones
        edge = edge - root[:, graph.index[0]] * root[:, graph.index[1]] * ones
    joined = len(at) > 0 and bool((at >= 0).all())
    if joined:
        columns = [*edge.unbind(0)]
    else:
        columns = [_of_pairs(graph, weight, pairs, at, node.transpose(0, 1), edge.transpose(0, 1), mix, null)]
    if module.config.leverage:
        found = head_leverages(graph, weight) if joined else leverages_of(graph, weight, at)
        columns.append(found.expand(-1, module.config.heads))
    edges = torch.cat(columns, 1)
    return torch.cat(node.unbind(0), 1), repeat_rows(edges, at) if joined else edges


def on_networks(mix: Tensor, weight: Tensor) -> Tensor:
    """`[N, H k / N, k + 1]` coefficients `[H, k, k + 1]` of the heads, network by network of the `[N, m]` conductances.

    Heads on one network are one head with the columns of all.
    """
    return mix.reshape(len(weight), -1, mix.shape[2])


def head_mixes(module: LinearTransformerPE, dtype: torch.dtype, head: int | None = None) -> Tensor:
    """`[H, k, k + 1]` coefficients of the heads, or `[1, k, k + 1]` of one."""
    heads = slice(None) if head is None else slice(head, head + 1)
    transformers = [cast(LinearTransformer, transformer) for transformer in module.transformers[heads]]
    identity = torch.zeros(len(transformers[0].registers), dtype=dtype, device=transformers[0].stack[0].value.device)
    identity[0] = 1.0
    states = stacked_coefficients(transformers, identity)
    return states[:, 1:] if module.memory is None else module.memory[heads].to(dtype) @ states


def networks(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor | None = None,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
    place: Tensor | None = None,
) -> tuple[Incidence, Tensor]:
    """The operator in the dtype to compute in, and conductances `[H, m]` of the heads, `[1, m]` where none are learned.

    Raises:
        ValueError: the operator is normalized, or features are missing or do not fit.
    """
    if graph.scale is not None:
        raise ValueError("heads normalize every network by themselves; pass the operator without normalization")
    parameter = module.transformer.stack[0].value.dtype
    dtype = torch.promote_types(torch.promote_types(graph.dtype, parameter), torch.float32)
    graph = graph if graph.dtype == dtype else graph.to(dtype)
    weight = graph.weight.unsqueeze(0)
    if module.conductances is not None:
        if x is not None and len(x) != graph.num_nodes:
            raise ValueError(f"x has {len(x)} row(s), but the graph has {graph.num_nodes} nodes")
        if place is None:
            place = edge_at(graph, graph.index if listed is None else listed)
        weight = weight * module.conductances(graph.index, place, x, edge_attr).to(dtype)
    return graph, weight


def null_vectors(graph: Incidence, weight: Tensor) -> Tensor:
    """`[n, N]` unit null vectors of the normalized networks, on every component."""
    labels = graph.components()
    return torch.stack([graph._replace(weight=w, components=labels).normalized("sym").null_vector() for w in weight], 1)


def leverages_of(graph: Incidence, weight: Tensor, at: Tensor) -> Tensor:
    """`[P, N]` leverages in every network of the edges with the numbers `at`, zero where that is -1."""
    if graph.num_edges == 0 or len(at) == 0:
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
    null: Tensor | None,
) -> Tensor:
    """`[P, H k]` rows of edges and nodes `[*, N, H k / N]`; pairs that are neither are computed on their own."""
    loop = pairs[0] == pairs[1]
    rows = torch.where(loop.view(-1, 1, 1), node[pairs[0]], edge[at.clamp(min=0)] if len(edge) else node[pairs[0]])
    other = ((at < 0) & ~loop).nonzero().squeeze(1)
    if len(other):
        few, labels = pairs[:, other], graph.components()
        parts = []
        for head, w in enumerate(weight):
            network = graph._replace(weight=w).normalized("sym")
            found = power_entries(network, mix.shape[2] - 1, few, mix[head])[1]
            if null is not None:
                both = null[few[0], head] * null[few[1], head] * (labels[few[0]] == labels[few[1]])
                found = found - both.unsqueeze(1) * mix[head].sum(1)
            parts.append(found)
        rows = rows.index_copy(0, other, torch.stack(parts, 1))
    return rows.flatten(1)
