"""Normalisations of registers, by inner products that a layout takes graph by graph."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.layout import Layout


def rank_tolerance(dtype: torch.dtype) -> float:
    """Length below which what Gram-Schmidt leaves of a unit column is rounding, and is set to zero."""
    return 1e3 * torch.finfo(dtype).eps


def unit_or_zero(x: Tensor, length: Tensor, threshold: float) -> Tensor:
    """`x / length` where `length` exceeds `threshold`, else zero; safe for gradients."""
    keep = length > threshold
    return torch.where(keep, x / torch.where(keep, length, torch.ones_like(length)), torch.zeros_like(x))


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root, zero where `x` is not positive; safe for gradients."""
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), 0.0)


def unit_columns(layout: Layout, x: Tensor, threshold: float) -> Tensor:
    """Columns of unit length on every graph, zero where they are shorter than `threshold`."""
    return unit_or_zero(x, safe_sqrt(layout.inner(x, x)), threshold)


def gram_schmidt(layout: Layout, x: Tensor) -> Tensor:
    """Orthonormal columns of every register, from unit columns; two passes, so that rounding does not matter."""
    columns: list[Tensor] = []
    for column in x.unbind(-1):  # [*, p]
        rest = column.unsqueeze(-1)
        if columns:
            basis = torch.stack(columns, -1)  # [*, p, i]
            for _ in range(2):
                rest = rest - (basis * layout.inner(basis, rest.expand_as(basis))).sum(-1, keepdim=True)
        columns.append(unit_columns(layout, rest, rank_tolerance(x.dtype)).squeeze(-1))
    return torch.stack(columns, -1)
