"""Derivatives of derivatives, where compiled loops compute the first ones, and derivatives in forward mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphtf.compiled import is_traced


def stays_in_torch(x: Tensor) -> bool:
    """Whether torch traces or transforms what is computed, or `x` is many tensors at once: no array holds it then.

    Example:
        >>> stays_in_torch(torch.ones(2))
        False
    """
    batched: bool = torch._C._functorch.is_legacy_batchedtensor(x)
    return batched or is_traced()


def is_differentiated_again(*gradients: Tensor) -> bool:
    """Whether a `backward` must keep to tensor operations: its results are differentiated again, or a gradient is many.

    Example:
        >>> with torch.no_grad():
        ...     is_differentiated_again(torch.ones(2))
        False
    """
    return torch.is_grad_enabled() or any(map(stays_in_torch, gradients))


def by_tensors(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Sequence[Tensor], gradients: Sequence[Tensor | None]
) -> list[Tensor | None]:
    r"""Products of `gradients` and the Jacobian of a function of tensor operations, to be differentiated again.

    .. math:: \Bigl(\sum_o g_o \frac{\partial f_o}{\partial x_i}\Bigr)_i

    Args:
        function: of `inputs`.
        inputs: tensors; those that require no gradient get `None`.
        gradients: one for every result.

    Returns:
        A gradient for every input.

    Example:
        >>> x = torch.tensor([3.0], requires_grad=True)
        >>> by_tensors(torch.square, [x], [torch.ones(1)])[0]
        tensor([6.], grad_fn=<MulBackward0>)
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [x.view_as(x) for x in inputs]  # one may come from another, and partial derivatives are wanted
        found = function(*inputs)
        results = [found] if isinstance(found, Tensor) else list(found)
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if g is not None and r.requires_grad]
        wanted = [x for x in inputs if x.requires_grad]
        each: Any = iter([None] * len(wanted))
        if pairs:
            outputs, weights = zip(*pairs, strict=True)
            each = iter(torch.autograd.grad(outputs, wanted, weights, create_graph=again, allow_unused=True))
    return [next(each) if x.requires_grad else None for x in inputs]


def cholesky_inverse(factor: Tensor) -> Tensor:
    """`torch.cholesky_inverse` of `[*, n, n]` lower factors, with the right derivative in forward mode as well.

    That of torch (2.13) has wrong values.

    Example:
        >>> factor = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
        >>> tangent = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
        >>> torch.func.jvp(cholesky_inverse, (factor,), (tangent,))[1]  # of [[0.5, -0.5], [-0.5, 1.0]]
        tensor([[-0.5000,  0.2500],
                [ 0.2500,  0.0000]])
    """
    if not is_traced():
        return torch.cholesky_inverse(factor)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(factor.shape[-1]).to(factor), upper=False)
    return inverse.mT @ inverse
