"""Proximal steps on registers, between attention and norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphtf.validate import check_positive_int


def soft_threshold(x: Tensor, threshold: Tensor | float, bound: Tensor | None = None) -> Tensor:
    """`sign(x) max(|x| - threshold, 0)`, as a network of two layers; with `bound` then clipped to `[-bound, bound]`.

    Example:
        >>> soft_threshold(torch.tensor([-3.0, 0.5]), 1.0)
        tensor([-2., 0.])
        >>> soft_threshold(torch.tensor([-3.0, 0.5]), 1.0, torch.tensor([1.5, 1.5]))
        tensor([-1.5000,  0.0000])
    """
    shrunk = torch.relu(x - threshold) - torch.relu(-x - threshold)
    return shrunk if bound is None else shrunk.clamp(-bound, bound)


class SoftThreshold(nn.Module):
    r"""Shrink one register towards zero, the proximal step of a weighted l1 norm, and of a box where it has bounds.

    .. math:: \Phi_a \leftarrow \mathrm{sign}(\Phi_a) \max(|\Phi_a| - \theta\, \Phi_b, 0)
        = \mathrm{relu}(\Phi_a - \theta \Phi_b) - \mathrm{relu}(-\Phi_a - \theta \Phi_b)

    which is a feed-forward network of two layers on every token. With bounds :math:`\Phi_c` what comes out is clipped,

    .. math:: \arg\min_{|z| \le \Phi_c} \tfrac12 (z - \Phi_a)^2 + \theta\, \Phi_b |z| =
        \min(\max(S_{\theta \Phi_b}(\Phi_a), -\Phi_c), \Phi_c)

    (a function of one variable, so that the clipped optimum is the optimum in the box).

    Args:
        register: number `a` of the register.
        threshold: :math:`\theta` at the start, at least 0; what training makes negative counts as 0.
        weight: number `b` of a register with weights, at least 0 (lengths of edges, 1 where they do not differ and 0 on
            tokens that are not shrunk); `None`: ones.
        bound: number `c` of a register with bounds, at least 0 (capacities of edges); `None`: no bounds.

    Raises:
        TypeError, ValueError: a number is out of its range.

    Example:
        >>> SoftThreshold(0, 1.0)(torch.tensor([[[-3.0], [5.0]]])).flatten().tolist()
        [-2.0, 5.0]
        >>> SoftThreshold(0, 0.5, bound=1)(torch.tensor([[[-3.0], [2.0]]])).flatten().tolist()
        [-2.0, 2.0]
    """

    def __init__(self, register: int, threshold: float, weight: int | None = None, bound: int | None = None) -> None:
        super().__init__()
        self.register = check_positive_int("register", register, minimum=0)
        self.weight = None if weight is None else check_positive_int("weight", weight, minimum=0)
        self.bound = None if bound is None else check_positive_int("bound", bound, minimum=0)
        if not 0 <= threshold < float("inf"):
            raise ValueError(f"threshold must be at least 0 and finite, but got {threshold}")
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))

    def forward(self, registers: Tensor) -> Tensor:
        """Shrink `[*, p, k]` registers."""
        x = registers[..., self.register, :]
        theta: Tensor = self.threshold.clamp(min=0).to(x.dtype)
        if self.weight is not None:
            theta = theta * registers[..., self.weight, :]
        parts = list(registers.unbind(-2))
        parts[self.register] = soft_threshold(x, theta, None if self.bound is None else parts[self.bound])
        return torch.stack(parts, -2)

    def extra_repr(self) -> str:
        """Registers and threshold."""
        bound = "" if self.bound is None else f", bound={self.bound}"
        return f"register={self.register}, threshold={float(self.threshold.detach()):.4g}, weight={self.weight}{bound}"
