"""Directional smoothness: the curvature of the loss along an update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.diagnostics.objective import Loss, Objective


@dataclass(frozen=True)
class Smoothness:
    """Curvature along a direction, beside the length of the gradient at the same place.

    Args:
        curvature: second derivative of the loss along the unit direction.
        gradient_norm: Euclidean norm of the gradient.
    """

    curvature: float
    gradient_norm: float


def directional_smoothness(
    model: nn.Module, loss: Loss, batch: Any, direction: Tensor | Sequence[Tensor] | None = None
) -> Smoothness:
    r"""Curvature :math:`v^\top H v` of the loss along a unit vector, by one product with the Hessian.

    Where the curvature grows with the norm of the gradient, the loss is not smooth but
    :math:`(L_0, L_1)`-smooth, :math:`\lVert H \rVert \le L_0 + L_1 \lVert \nabla f \rVert`, which favours clipping and
    adaptive steps.

    Args:
        model: any module, `N` trained numbers.
        loss: a scalar, from the model and a batch.
        batch: the batch.
        direction: the update of an optimizer, of any length: `[N]`, or one tensor a trained parameter; `None`: the
            gradient.

    Raises:
        TypeError, ValueError: see :class:`graphtf.diagnostics.Objective`; or the direction has another shape or is 0.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> loss = lambda model, x: 0.5 * model(x).square().sum()
        >>> directional_smoothness(model, loss, torch.tensor([[1.0, 3.0]]), torch.tensor([0.0, 5.0])).curvature
        9.0

    Reference: Zhang, He, Sra, Jadbabaie, "Why gradient clipping accelerates training", ICLR 2020; Pan, Li, "Toward
    understanding why Adam converges faster than SGD for transformers", 2023.
    """
    objective = Objective(model, loss)
    gradient = objective.gradient(batch)
    if direction is None:
        v = gradient
    elif isinstance(direction, Tensor):
        v = direction.detach().to(gradient)
    else:
        v = objective.flatten(direction)
    if v.shape != gradient.shape:
        raise ValueError(f"direction must be [{len(gradient)}], a number a trained number, but is {list(v.shape)}")
    length = v.norm()
    if not bool(torch.isfinite(length)) or float(length) == 0:
        raise ValueError(f"direction must have a positive length, but it is {float(length)}")
    v = v / length
    curvature = objective.hessian_products(batch)(v.unsqueeze(0))[0] @ v
    return Smoothness(float(curvature), float(gradient.norm()))
