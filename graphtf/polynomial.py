"""Transformers whose layers are polynomials in `L`, run from the identity at the cost of the powers alone.

Without attention between registers a layer maps registers by polynomials in `L`, whatever its weights. Started from the
identity of each graph, all layers, heads and registers then share the powers :math:`T^j = (I - L)^j`: the weights only
mix them, and the wanted entries of the powers are all that has to be kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    kept, moved = (t.to(identity.dtype) for t in _layer_maps(transformer))
    depth = transformer.num_layers
    state = identity.new_zeros(len(identity), depth + 1)  # [p, degree + 1]
    state[:, 0] = identity
    shift = torch.ones(depth, dtype=state.dtype, device=state.device).diag(1)  # a product with T moves up by one
    readout = transformer.registers.index(transformer.readout)
    arrays: list[Any] = [kept, moved, state, shift]
    gradients = torch.is_grad_enabled() and (kept.requires_grad or identity.requires_grad)
    if not gradients:  # the same loop on NumPy arrays, which have less overhead on matrices this small
        arrays = [array.detach().cpu().numpy() for array in arrays]
    kept, moved, state, shift = arrays
    rows = [state[readout]]
    for _ in range(transformer.loops):
        for keep, move in zip(kept, moved, strict=True):
            state = keep @ state - move @ state @ shift
            rows.append(state[readout])
    return torch.stack(rows) if gradients else torch.from_numpy(np.stack(rows)).to(identity.device)


def _layer_maps(transformer: LinearTransformer) -> tuple[Tensor, Tensor]:
    """`[layers, p, p]` maps `A` and `C` of the registers, so that a layer is `x -> A x - C T x`."""
    stack = transformer.stack
    skip = torch.stack([layer.skip for layer in stack])[..., 0].transpose(1, 2)
    values: list[Tensor] = [layer.value for layer in stack]
    value = torch.cat(values)[..., 0].transpose(1, 2)  # [all heads, p, p]
    beta = torch.cat([layer.laplacian for layer in stack]).view(-1, 1, 1)
    identities = [layer.identity for layer in stack]
    zeros = [torch.zeros(len(v), dtype=beta.dtype, device=beta.device) for v in values]
    gamma = torch.cat([z if g is None else g for g, z in zip(identities, zeros, strict=True)]).view(-1, 1, 1)
    of_layer = torch.tensor([i for i, v in enumerate(values) for _ in range(len(v))], device=beta.device)
    moved = torch.zeros_like(skip).index_add(0, of_layer, beta * value)
    kept = torch.eye(skip.shape[1], dtype=skip.dtype, device=skip.device) + skip
    return kept.index_add(0, of_layer, (beta + gamma) * value), moved
