"""Transformers whose layers are polynomials in `L`, run from the identity at the cost of the powers alone.

Without attention between registers a layer maps registers by polynomials in `L`, whatever its weights. Started from the
identity of each graph, all layers, heads and registers then share the powers :math:`T^j = (I - L)^j`: the weights only
mix them, and the wanted entries of the powers are all that has to be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphtf.attention import StructuredAttention
from graphtf.differentiable import by_tensors, is_differentiated_again, stays_in_torch
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
    return stacked_coefficients([transformer], identity)[0]


def stacked_coefficients(transformers: Sequence[LinearTransformer], identity: Tensor) -> Tensor:
    """:func:`polynomial_coefficients` of several transformers with layers and registers alike, in one loop.

    Args:
        transformers: `H` transformers, such as the heads of an encoding.
        identity: `[p]` factor of the identity in every register at the start.

    Returns:
        `[H, num_layers + 1, num_layers + 1]`. Differentiable.

    Raises:
        ValueError: some layer is not polynomial.

    Example:
        >>> import torch
        >>> from graphtf import random_walk
        >>> stacked_coefficients([random_walk(1), random_walk(1)], torch.ones(1)).tolist()
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]
    """
    first, heads = transformers[0], len(transformers)
    if not all(transformer.is_polynomial for transformer in transformers):
        raise ValueError(
            "only layers without attention between registers, normalization or update are polynomials in L"
        )
    kept, moved = (
        t.to(identity.dtype).unflatten(0, (heads, -1))
        for t in _layer_maps([layer for transformer in transformers for layer in transformer.stack])
    )
    state = identity.new_zeros(heads, len(identity), first.num_layers + 1)  # [H, p, degree + 1]
    state[:, :, 0] = identity
    inputs = kept, -moved, state, first.loops
    states = torch.stack(_recurrence(*inputs), 1) if stays_in_torch(state) else _Recurrence.apply(*inputs)
    return states[:, :, first.registers.index(first.readout)]


def _recurrence(a: Any, c: Any, state: Any, loops: int) -> list[Any]:
    """States `x -> a x + c T x` after every layer, of tensors or arrays; `T` moves coefficients up by one."""
    degree = state.shape[2] - 1
    shift: Any = torch.ones(degree, dtype=torch.float64).diag(1)
    shift = shift.numpy().astype(state.dtype) if isinstance(state, np.ndarray) else shift.to(state)
    states = [state]
    for _ in range(loops):
        for layer in range(a.shape[1]):
            state = a[:, layer] @ state + c[:, layer] @ (state @ shift)
            states.append(state)
    return states


def _array(x: Tensor) -> Any:
    return x.detach().to("cpu", torch.promote_types(x.dtype, torch.float32)).numpy()  # NumPy has no bfloat16


class _Recurrence(torch.autograd.Function):
    """`[H, loops L + 1, p, degree + 1]` states from `[H, L, p, p]` maps, on NumPy arrays: these are tiny matrices."""

    @staticmethod
    def forward(a: Tensor, c: Tensor, state: Tensor, loops: int) -> Tensor:
        with np.errstate(all="ignore"):  # infinite weights give NaN without a warning, as in torch
            states = np.stack(_recurrence(_array(a), _array(c), _array(state), loops), 1)
        return torch.from_numpy(states).to(state)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.loops = inputs
        ctx.save_for_backward(*tensors, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, c, state, states = ctx.saved_tensors
        if is_differentiated_again(gradients[0]):
            again = by_tensors(
                lambda a, c, x: torch.stack(_recurrence(a, c, x, ctx.loops), 1), (a, c, state), gradients
            )
            return *again, None
        g, x = _array(gradients[0]), _array(states)
        A, C = (_array(t).swapaxes(-1, -2) for t in (a, c))
        of_a, of_c, layers = np.zeros(a.shape, x.dtype), np.zeros(a.shape, x.dtype), a.shape[1]
        of_state = g[:, -1]
        with np.errstate(all="ignore"):
            for step in range(x.shape[1] - 2, -1, -1):
                layer, before = step % layers, x[:, step].swapaxes(-1, -2)
                of_a[:, layer] += of_state @ before
                of_c[:, layer] += of_state[..., 1:] @ before[..., :-1, :]
                pulled = A[:, layer] @ of_state
                pulled[..., :-1] += C[:, layer] @ of_state[..., 1:]
                of_state = pulled + g[:, step]
        return *(torch.from_numpy(t).to(a) for t in (of_a, of_c, of_state)), None


def _layer_maps(stack: list[StructuredAttention]) -> tuple[Tensor, Tensor]:
    """`[layers, p, p]` maps `A` and `C` of the registers, so that a layer is `x -> A x - C T x`."""
    skip = torch.stack([layer.skip for layer in stack])[..., 0].transpose(1, 2)
    values: list[Tensor] = [layer.value for layer in stack]
    value = torch.cat(values)[..., 0].transpose(1, 2)  # [all heads, p, p]
    beta = torch.cat([layer.laplacian for layer in stack]).view(-1, 1, 1)
    moved = still = beta * value
    identities = [layer.identity for layer in stack]
    if any(gamma is not None for gamma in identities):
        zeros = [torch.zeros(len(v), dtype=beta.dtype, device=beta.device) for v in values]
        gamma = torch.cat([z if g is None else g for g, z in zip(identities, zeros, strict=True)]).view(-1, 1, 1)
        still = (beta + gamma) * value
    if len(value) > len(stack):  # layers with several heads
        of_layer = torch.tensor([i for i, v in enumerate(values) for _ in range(len(v))], device=beta.device)
        moved, still = (torch.zeros_like(skip).index_add(0, of_layer, x) for x in (moved, still))
    return torch.eye(skip.shape[1], dtype=skip.dtype, device=skip.device) + skip + still, moved
