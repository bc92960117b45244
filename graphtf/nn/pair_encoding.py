"""The encoding of all pairs of nodes of every graph, for attention over all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.nn.head_encoding import networks, null_vectors
from graphtf.nn.heads import walk_entries
from graphtf.nn.pair_powers import NodePairs, node_pairs, pair_powers
from graphtf.nn.random_encoding import encode_random

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE


def encode_all_pairs(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor | None = None,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
    project: Tensor | None = None,
) -> Tensor:
    """Encode all pairs of nodes; see :meth:`graphtf.nn.LinearTransformerPE.all_pairs`.

    Args:
        module: the encoder.
        graph: operator of a graph or a batch.
        listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
        x: node features.
        edge_attr: edge features.
        project: `[C, node_channels]` linear map of the encoding; `None` is the identity.

    Returns:
        `[G, N, N, C]`, zero in the padding.

    Raises:
        ValueError: `project` has another shape, features are missing, or an operator for several heads is normalized.
    """
    channels = module.node_channels
    if project is not None and (project.dim() != 2 or project.shape[1] != channels):
        raise ValueError(
            f"project must be [C, {channels}], a map of the {channels} channels of the encoding, but has shape "
            f"{list(project.shape)}"
        )
    pairs = node_pairs(graph)
    if module.config.init == "basis":
        rows = _polynomials(module, graph, pairs, listed, x, edge_attr, project)
    else:
        both = torch.stack([pairs.tail, pairs.head])
        if module.config.init == "random":
            found = encode_random(module, graph, both, None, listed, x, edge_attr, leverage=False)[1]
        else:
            found = module.encode(graph, both)[1]
        rows = found.t() if project is None else project.to(found.dtype) @ found.t()
    G, N = graph.num_graphs, pairs.size
    out = rows.new_zeros(len(rows), G * N * N).index_copy_(1, pairs.place, rows)
    return out.view(len(rows), G, N, N).permute(1, 2, 3, 0)


def _polynomials(
    module: LinearTransformerPE,
    graph: Incidence,
    pairs: NodePairs,
    listed: Tensor | None,
    x: Tensor | None,
    edge_attr: Tensor | None,
    project: Tensor | None,
) -> Tensor:
    """`[C, S]` entries of all polynomials of all heads."""
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    with torch.autocast(graph.device.type, enabled=False):
        if module.many_heads or (graph.scale is None and config.normalization == "sym"):
            graph, weight = networks(module, graph, listed, x, edge_attr)
            off, diagonal = walk_entries(graph, weight)
            null = null_vectors(graph, weight).t() if config.centered else None
        else:
            graph = graph.to(torch.promote_types(graph.dtype, parameter))
            split = graph.split_components() if config.normalization == "spectral" else graph
            network = split.normalized("spectral") if graph.scale is None else split
            off, diagonal = (t.unsqueeze(0) for t in network._laplacian_entries()[2:])
            diagonal = 1 - diagonal
            null = network.null_vector().unsqueeze(0) if config.centered else None
        mix = torch.stack([module.coefficients(graph.dtype, head) for head in range(config.heads)])  # [H, k, k + 1]
        powers = pair_powers(graph, off, diagonal, config.k, pairs)  # [H, k, S]
        if project is None:
            rows = torch.bmm(mix[..., 1:], powers).flatten(0, 1)
            ones, total = mix[..., :1].flatten(0, 1), torch.block_diag(*mix.sum(2, keepdim=True))
        else:
            maps = project.to(graph.dtype).view(-1, config.heads, config.k)
            mix = torch.einsum("chl,hlj->chj", maps, mix)  # projected before it meets the many pairs
            rows = mix[..., 1:].flatten(1) @ powers.flatten(0, 1)
            ones, total = mix[..., 0].sum(1, keepdim=True), mix.sum(2)
        loop = (pairs.tail == pairs.head).nonzero().squeeze(1)
        rows = rows.index_add(1, loop, ones.expand(-1, len(loop)))
        if null is not None:  # the start is I - v v^T on every component, and T v = v
            labels = graph.components()
            same = labels[pairs.tail] == labels[pairs.head]
            rows = rows - total @ (null[:, pairs.tail] * null[:, pairs.head] * same)
    return rows.to(parameter) if parameter in (torch.float16, torch.bfloat16) else rows
