"""The encoding on one given network, by powers of its walk or from a table of slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.nn.head_encoding import HALF
from graphtf.nn.slots_encoding import encode_slots
from graphtf.powers import power_entries
from graphtf.precision import full_precision

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE


def encode_network(
    module: LinearTransformerPE, graph: Incidence, pairs: Tensor, mix: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Encode nodes and pairs of nodes by an encoder of one head that learns no conductances.

    Args:
        module: the encoder, with `init="basis"` or `"slots"`.
        graph: incidence operator; one that is normalized already is taken as it is.
        pairs: `[2, P]` pairs of nodes.
        mix: `[k, k + 1]` what `module.coefficients` gives, if it is at hand.

    Returns:
        `[n, k]` and `[P, k]`.

    Raises:
        ValueError: a component has more nodes than there are slots.
    """
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    dtype = torch.promote_types(graph.dtype, parameter)
    with full_precision(graph.device.type):
        graph = graph if graph.dtype == dtype else graph.to(dtype)
        if config.init == "slots" or config.normalization == "spectral":
            graph = graph.split_components()  # no component may change the encoding of another
        if graph.scale is None:
            graph = graph.normalized(config.normalization)  # type: ignore[arg-type]
        if config.init == "slots":
            node, edge = encode_slots(module, graph, pairs)
        else:
            node, edge = _powers(module, graph, pairs, mix)
    return (node.to(parameter), edge.to(parameter)) if parameter in HALF else (node, edge)


def _powers(module: LinearTransformerPE, graph: Incidence, pairs: Tensor, mix: Tensor | None) -> tuple[Tensor, Tensor]:
    mix = module.coefficients(graph.dtype) if mix is None else mix.to(graph.dtype)
    node, edge = power_entries(graph, module.config.k, pairs, mix)
    # Demands sum to zero on every component: the start is I - v v^T, and T v = v.
    if module.config.centered:
        v, labels = graph.null_vector(), graph.components()
        same = labels[pairs[0]] == labels[pairs[1]]
        node = node - v.square().unsqueeze(1) * mix.sum(1)
        edge = edge - (v[pairs[0]] * v[pairs[1]] * same).unsqueeze(1) * mix.sum(1)
    return node, edge
