"""Gradients of an adaptive solver by implicit differentiation: one adjoint solve instead of an unrolled graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Solve = Callable[[Tensor], Tensor]


class ImplicitSolve(torch.autograd.Function):
    r"""`x = L^+ psi` by any solver, differentiable (twice and more) in the demands and the conductances.

    .. math::
        y = L^+ \bar{x}, \qquad \bar\psi = y, \qquad
        \bar{w}_e = -\sum_k (x_{uk} - x_{vk}) (y_{uk} - y_{vk}) \quad\text{for } e = (u, v)

    No eigenvectors are involved, so that graphs with symmetries have finite gradients.

    Example:
        >>> import torch
        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> psi = torch.tensor([[1.0], [-1.0]])
        >>> x = ImplicitSolve.apply(w, psi, torch.tensor([[0], [1]]), lambda psi: psi / 4, lambda x: x - x.mean())
        >>> x[0].backward(); w.grad  # x_0 = 1 / (2 w)
        tensor([-0.1250])

    Source: implicit function theorem; see Griewank, Walther, "Evaluating derivatives", 2008, chapter 15.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, psi: Tensor, index: Tensor, solve: Solve, center: Solve) -> Tensor:
        """Solve; `psi` `[n, k]` is centered already, `center` projects what is not."""
        x = solve(psi.detach())
        ctx.save_for_backward(weight, x, index)
        ctx.solve, ctx.center = solve, center
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """One solve with the gradient as demands."""
        weight, x, index = ctx.saved_tensors
        y = ImplicitSolve.apply(weight, ctx.center(gradients[0]), index, ctx.solve, ctx.center)
        of_weight = None
        if ctx.needs_input_grad[0]:
            u, v = index
            of_weight = -((x[u] - x[v]) * (y[u] - y[v])).sum(1)
        return of_weight, y if ctx.needs_input_grad[1] else None, None, None, None
