"""Transformers whose layers are polynomials in `L`, run from the identity at the cost of the powers alone.

Without attention between registers a layer maps registers by polynomials in `L`, whatever its weights. Started from the
identity of each graph, all layers, heads and registers then share the powers :math:`T^j = (I - L)^j`: the weights only
mix them, and the wanted entries of the powers are all that has to be kept.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout, SparseLayout, local_index
from graphtf.transformer import LinearTransformer


def polynomial_coefficients(transformer: LinearTransformer, identity: Tensor) -> Tensor:
    r"""Coefficients of every layer's readout in the powers of :math:`T = I - L`.

    Args:
        transformer: its layers must be polynomial (`transformer.is_polynomial`).
        identity: `[p]` factor of the identity in every register at the start.

    Returns:
        `[num_layers + 1, num_layers + 1]`: readout after layer `l` is :math:`\sum_j c_{lj} T^j`. Differentiable.

    Raises:
        ValueError: some layer is not polynomial.

    Example:
        >>> import torch
        >>> from graphtf import random_walk
        >>> polynomial_coefficients(random_walk(2), torch.ones(1)).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if not transformer.is_polynomial:
        raise ValueError(
            "only layers without attention between registers, normalization or update are polynomials in L"
        )
    depth = transformer.num_layers
    state = identity.new_zeros(len(transformer.registers), depth + 1)  # [p, degree + 1]
    state[:, 0] = identity
    readout = transformer.registers.index(transformer.readout)
    rows = [state[readout]]
    for _ in range(transformer.loops):
        for layer in transformer.stack:
            out = state + layer.skip[..., 0].to(state.dtype).t() @ state
            for h, value in enumerate(layer.value[..., 0].to(state.dtype)):
                v = value.t() @ state
                shifted = torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], dim=1)  # T v
                out = out + layer.laplacian[h].to(state.dtype) * (v - shifted)
                if layer.identity is not None:
                    out = out + layer.identity[h].to(state.dtype) * v
            state = out
            rows.append(state[readout])
    return torch.stack(rows)


def power_entries(graph: Incidence, degree: int, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    r"""Diagonals, and entries (u, v), of the powers :math:`T^j`, `j = 0 ... degree`, with :math:`T = I - L`.

    Args:
        graph: incidence operator, a batch or a single graph. Gradients reach its weights.
        degree: the largest power.
        edge_index: `[2, P]` pairs of nodes of the same graph.

    Returns:
        `[n, degree + 1]` and `[P, degree + 1]`.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]])).normalized("sym")
        >>> power_entries(edge, 2, torch.tensor([[0], [1]]))
        (tensor([[1., 0., 1.],
                 [1., 0., 1.]]), tensor([[0., 1., 0.]]))
    """
    if graph.weight.requires_grad and torch.is_grad_enabled():
        return _dense_entries(graph, degree, edge_index)
    local, _ = local_index(graph)
    nodes = torch.arange(graph.num_nodes, device=graph.device)
    tail, head = edge_index[0], local[edge_index[1]]
    walk, power = walk_matrix(graph), SparseLayout(graph).identity()
    diagonal, entries = [], []
    for j in range(degree + 1):
        power = walk @ power if j else power
        diagonal.append(power[nodes, local])
        entries.append(power[tail, head])
    return torch.stack(diagonal, 1), torch.stack(entries, 1)


def _dense_entries(graph: Incidence, degree: int, edge_index: Tensor) -> tuple[Tensor, Tensor]:
    layout = PaddedLayout(graph)
    power = layout.identity()
    walk = power - layout.laplacian_blocks
    block, tail, head = graph.batch[edge_index[0]], layout.local[edge_index[0]], layout.local[edge_index[1]]
    diagonal, entries = [], []
    for j in range(degree + 1):
        power = torch.bmm(walk, power) if j else power
        diagonal.append(power[graph.batch, layout.local, layout.local])
        entries.append(power[block, tail, head])
    return torch.stack(diagonal, 1), torch.stack(entries, 1)


def walk_matrix(graph: Incidence) -> Tensor:
    """`I - L` as a sparse CSR tensor, without gradients: the fastest product on many columns."""
    with torch.no_grad():
        u, v, w, diagonal = graph._laplacian_entries()
        nodes = torch.arange(graph.num_nodes, device=graph.device)
        index = torch.stack([torch.cat([u, v, nodes]), torch.cat([v, u, nodes])])
        values = torch.cat([w, w, 1 - diagonal])
        size = (graph.num_nodes, graph.num_nodes)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
            return torch.sparse_coo_tensor(index, values, size, check_invariants=False).to_sparse_csr()
