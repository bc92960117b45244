"""The encoding that starts at a table of slots, as in the paper's release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.transformer import make_layout

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE


def encode_slots(module: LinearTransformerPE, graph: Incidence, pairs: Tensor) -> tuple[Tensor, Tensor]:
    r"""Encode nodes by what the layers make of their slots, and pairs by :math:`\Phi[u] \odot \Phi[v]`.

    Args:
        module: the encoder, with `init="slots"`.
        graph: normalized operator, every component a graph of its own.
        pairs: `[2, P]` pairs of nodes.

    Returns:
        `[n, k]` and `[P, k]`, zero for pairs of different components.

    Raises:
        ValueError: a component has more nodes than there are slots.
    """
    table, transformer, config = module.table, module.transformer, module.config
    assert table is not None  # made with init="slots"
    phi = table.to(graph.dtype)[_slot_of_node(module, graph)]
    if config.start == "eigenvectors":
        phi = torch.cat([graph.null_vector().unsqueeze(1), phi], dim=1)
    elif config.centered:
        phi = graph.center(phi)
    state = phi.new_zeros(graph.num_nodes, len(transformer.registers), phi.shape[1])
    state[:, 0] = phi
    layout = make_layout(graph, transformer.choose_layout(graph, "auto", phi.shape[1]))
    final = layout.unpack(transformer.run(layout, layout.pack(state))[-1])
    phi = final[:, transformer.registers.index(transformer.readout)]
    if config.start == "eigenvectors":
        phi = phi[:, 1:]
    if module.readout is not None:
        phi = phi @ module.readout.weight.to(phi.dtype).t()
    same = (graph.batch[pairs[0]] == graph.batch[pairs[1]]).unsqueeze(1)
    return phi, torch.where(same, phi[pairs[0]] * phi[pairs[1]], 0.0)


def _slot_of_node(module: LinearTransformerPE, graph: Incidence) -> Tensor:
    """`[n]` a slot for every node, different ones within a component: drawn in training, fixed at evaluation."""
    order, num_slots = module.slot_order, module.config.num_slots
    assert order is not None
    local, largest = local_index(graph)
    if largest > num_slots:
        raise ValueError(
            f"a graph has a component of {largest} nodes, but the table has num_slots={num_slots}; use a larger one"
        )
    if not module.training:
        return order[local]
    drawn = torch.rand(graph.num_graphs, num_slots, device=graph.device).argsort(dim=1)
    return drawn[graph.batch, local]
