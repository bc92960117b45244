"""The encoding of all pairs of nodes of every graph, alone or with that of nodes and edges, for attention over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.nn.head_encoding import HALF, head_mixes, mix_entries, networks, null_vectors, on_networks
from graphtf.nn.heads import walk_entries
from graphtf.nn.pair_powers import NodePairs, node_pairs, pair_polynomials
from graphtf.nn.random_encoding import encode_random
from graphtf.precision import full_precision

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE


def encode_all_pairs(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
    project: Tensor | None = None,
    only_pairs: bool = False,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Encode nodes, edges and all pairs of nodes; see :meth:`graphtf.nn.LinearTransformerPE.encode_with_pairs`.

    Args:
        module: the encoder.
        graph: operator of a graph or a batch.
        listed: `[2, E]` edges that `edge_attr` belongs to.
        x: node features.
        edge_attr: edge features.
        project: `[C, node_channels]` linear map of the encoding of the pairs; `None` is the identity.
        only_pairs: leave the first two out.

    Returns:
        `[n, node_channels]`, `[E, edge_channels]` (or twice `None`), and `[G, N, N, C]`, zero in the padding.

    Raises:
        ValueError: `project` has another shape, features are missing, or an operator for several heads is normalized.
    """
    channels = module.node_channels
    if project is not None and (project.dim() != 2 or project.shape[1] != channels):
        raise ValueError(
            f"project must be [C, {channels}], a map of the {channels} channels of the encoding, but has shape "
            f"{list(project.shape)}"
        )
    if module.config.init == "basis":
        return _by_powers(module, graph, listed, x, edge_attr, project, only_pairs)
    return _pair_by_pair(module, graph, listed, x, edge_attr, project, only_pairs)


def _pair_by_pair(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor,
    x: Tensor | None,
    edge_attr: Tensor | None,
    project: Tensor | None,
    only_pairs: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Edges and all pairs as one list, so that random columns or slots are drawn once."""
    pairs, edges = node_pairs(graph), 0 if only_pairs else listed.shape[1]
    every = torch.cat([listed[:, :edges], torch.stack([pairs.tail, pairs.head])], 1)
    if module.config.init == "random":
        node, found = encode_random(module, graph, every, None, listed, x, edge_attr, leverage=not only_pairs)
    else:
        node, found = module.encode(graph, every)
    rows = found[edges:, : module.node_channels].t()
    rows = rows if project is None else project.to(rows.dtype) @ rows
    out = _padded(rows, graph.num_graphs, pairs).permute(1, 2, 3, 0)
    return (None, None, out) if only_pairs else (node, found[:edges], out)


def _by_powers(
    module: LinearTransformerPE,
    graph: Incidence,
    listed: Tensor,
    x: Tensor | None,
    edge_attr: Tensor | None,
    project: Tensor | None,
    only_pairs: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """All from the same powers, whose entries on the diagonal and at the edges are among those of all pairs."""
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    node: Tensor | None
    edge: Tensor | None
    with full_precision(graph.device.type):
        at = edge_at(graph, listed)
        if module.many_heads or (graph.scale is None and config.normalization == "sym"):
            graph, weight = networks(module, graph, listed, x, edge_attr, at)
            off, diagonal = walk_entries(weight, graph.index[0], graph.index[1], graph.num_nodes)
            null = null_vectors(graph, weight) if config.centered else None
        else:
            graph = graph.to(torch.promote_types(graph.dtype, parameter))
            weight = graph.weight.unsqueeze(0)
            split = graph.split_components() if config.normalization == "spectral" else graph
            network = split.normalized("spectral") if graph.scale is None else split
            off, diagonal = (t.unsqueeze(0) for t in network._laplacian_entries()[2:])
            diagonal = 1 - diagonal
            null = network.null_vector().unsqueeze(1) if config.centered else None
        mix = head_mixes(module, graph.dtype)
        maps = on_networks(mix, weight)
        if project is not None:  # before it meets the many pairs
            shape = (-1, *maps.shape[:2])
            maps = torch.einsum("cnl,nlj->ncj", project.to(graph.dtype).view(shape), maps)
        out, node, edge = pair_polynomials(graph, off, diagonal, maps, apart=project is None)
        if null is not None:
            out = out - _demands(graph, null, maps, apart=project is None)
        if only_pairs:
            node = edge = None
        else:
            node, edge = mix_entries(module, graph, weight, listed, at, node, edge, mix, null)
    out = out.permute(0, 2, 3, 1)
    if parameter in HALF:
        node, edge = (None if t is None else t.to(parameter) for t in (node, edge))
        out = out.to(parameter)
    return node, edge, out


def _demands(graph: Incidence, null: Tensor, maps: Tensor, apart: bool) -> Tensor:
    """What `v v^T` contributes on every component, since the registers start at `I - v v^T` and `T v = v`."""
    pairs, labels = node_pairs(graph), graph.components()
    both = (null[pairs.tail] * null[pairs.head] * (labels[pairs.tail] == labels[pairs.head]).unsqueeze(1)).t()
    total = maps.sum(2)  # [N, C]
    rows = (total.unsqueeze(2) * both.unsqueeze(1)).flatten(0, 1) if apart else total.t() @ both
    return _padded(rows, graph.num_graphs, pairs).transpose(0, 1)


def _padded(rows: Tensor, graphs: int, pairs: NodePairs) -> Tensor:
    """`[C, S]` numbers of the pairs as `[C, G, N, N]`."""
    shape = (len(rows), graphs, pairs.size, pairs.size)
    out = rows.new_zeros(len(rows), graphs * pairs.size**2).index_copy(1, pairs.place, rows)
    return out.view(shape)
