"""Linear layers for many rows, by the faster of the two libraries for matrix products that torch has on CPUs.

Under autocast the products are of half precision, and states stay as they were: sums, norms and attention of a model
are then of single precision.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphtf.compiled import is_traced
from graphtf.differentiable import is_differentiated_again
from graphtf.precision import is_autocast

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


@cache
def has_fast_bfloat16() -> bool:
    """Whether this is an x86 processor with instructions for bfloat16 (AVX-512), which oneDNN then uses.

    Example:
        >>> isinstance(has_fast_bfloat16(), bool)
        True
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""`torch.nn.functional.linear`, :math:`x W^\top + b`; under autocast the result has the type of `x` all the same.

    Args:
        x: `[rows, in]`.
        weight: `[out, in]`.
        bias: `[out]`.

    Example:
        >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[11.]])
    """
    suits = _suits(x, weight, bias)
    if not is_autocast(x.device.type):
        return _Linear.apply(x, weight, bias) if suits and prefers_onednn() else functional.linear(x, weight, bias)
    if suits and has_fast_bfloat16() and torch.get_autocast_dtype("cpu") == torch.bfloat16:
        return _HalfLinear.apply(x, weight, bias)
    return functional.linear(x, weight, bias).to(x.dtype)


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether these are many rows of single precision on the CPU; torch says what does not fit."""
    if is_traced() or x.dim() != 2 or weight.dim() != 2 or len(x) < FEWEST or not 0 < x.shape[1] == weight.shape[1]:
        return False
    given = [x, weight] if bias is None else [x, weight, bias]
    fits = bias is None or bias.shape == weight.shape[:1]
    return fits and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in given)


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
        if is_differentiated_again(grad):
            return _by_tensors(x, weight, grad, ctx.needs_input_grad)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = grad.contiguous()
        by_x = _product(grad, weight.t(), None) if of_x else None
        by_weight = _sum_of_products(grad, x) if of_weight else None
        return by_x, by_weight, grad.sum(0) if of_bias else None


class _HalfLinear(torch.autograd.Function):
    """Products of numbers rounded to bfloat16, with rows of zeros up to a multiple of `BLOCK`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        low, half = _half_rows(x), weight.to(torch.bfloat16)
        ctx.save_for_backward(x, weight, low, half)
        return _onednn(low, half, None if bias is None else bias.to(torch.bfloat16))[: len(x)].to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        full_x, full_weight, x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        if is_differentiated_again(grad):
            return _by_tensors(full_x, full_weight, grad, ctx.needs_input_grad)
        low = _half_rows(grad)
        by_x = _onednn(low, weight.t(), None)[: len(grad)].to(grad.dtype) if of_x else None
        by_weight = torch.mm(low.t(), x).to(grad.dtype) if of_weight else None
        return by_x, by_weight, grad.sum(0) if of_bias else None


def _by_tensors(
    x: Tensor, weight: Tensor, grad: Tensor, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    of_x, of_weight, of_bias = wanted
    by_x, by_weight = grad @ weight if of_x else None, grad.mT @ x if of_weight else None
    return by_x, by_weight, grad.sum(-2) if of_bias else None


def _half_rows(x: Tensor) -> Tensor:
    low = x.new_empty(-(-len(x) // BLOCK) * BLOCK, x.shape[1], dtype=torch.bfloat16)
    low[: len(x)] = x
    low[len(x) :] = 0
    return low


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
