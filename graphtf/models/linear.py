"""Linear layers for many rows, by the faster of the two libraries for matrix products that torch has on CPUs."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphtf.compiled import is_traced

FEWEST = 1024  # rows that are worth it
BLOCK = 256  # oneDNN compiles a program for every number of rows, and keeps it: it gets multiples of this many alone


@cache
def prefers_onednn() -> bool:
    """Whether products of single precision go by oneDNN: on x86 processors that AMD or Hygon made.

    MKL, torch's own choice, leaves half of what these can do unused. Elsewhere that choice stands.

    Example:
        >>> isinstance(prefers_onednn(), bool)
        True
    """
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkl.is_available():
        return False
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    source = Path("/proc/cpuinfo")
    maker = source.read_text(encoding="utf-8", errors="replace") if source.is_file() else platform.processor()
    return "AuthenticAMD" in maker or "HygonGenuine" in maker


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""`torch.nn.functional.linear`, :math:`x W^\top + b`.

    Args:
        x: `[rows, in]`.
        weight: `[out, in]`.
        bias: `[out]`.

    Example:
        >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """
    suits = x.dim() == 2 and len(x) >= FEWEST and x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    if not suits or not prefers_onednn() or not 0 < x.shape[1] == weight.shape[1]:  # torch says what does not fit
        return functional.linear(x, weight, bias)
    if is_traced() or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight, bias)
    return _Linear.apply(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear` that computes by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Map `[rows, in_features]`."""
        return linear(input, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if torch.is_grad_enabled():  # of a derivative that is to be differentiated again
            by_x, by_weight = grad @ weight if of_x else None, grad.t() @ x if of_weight else None
        else:
            grad = grad.contiguous()
            by_x = _product(grad, weight.t(), None) if of_x else None
            by_weight = _sum_of_products(grad, x) if of_weight else None
        return by_x, by_weight, grad.sum(0) if of_bias else None


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x W^T + b`, the last rows by MKL."""
    most = len(x) // BLOCK * BLOCK
    found = _onednn(x[:most], weight, bias)
    return found if most == len(x) else torch.cat([found, functional.linear(x[most:], weight, bias)])


def _sum_of_products(x: Tensor, y: Tensor) -> Tensor:
    """`x^T y`, the last rows by MKL."""
    most = len(x) // BLOCK * BLOCK
    found = _onednn(x[:most].t(), y[:most].t(), None)
    return found if most == len(x) else found.addmm_(x[most:].t(), y[most:])
