"""What every construction needs: checks of its arguments, and the weights of a layer from a few numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graphtf.attention import Layer, Norm, StructuredAttention
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_positive_int

Entries = Mapping[tuple[str, str], float]


def check_steps(num_layers: int, **positive: float) -> None:
    """Raise unless the depth is a positive integer and every other number positive and finite."""
    check_positive_int("num_layers", num_layers)
    for name, value in positive.items():
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be positive and finite, but got {value}")


def check_interval(lambda_min: float, lambda_max: float) -> None:
    """Raise unless `0 < lambda_min <= lambda_max` and both are finite."""
    if not 0 < lambda_min <= lambda_max < float("inf"):
        raise ValueError(
            "the positive eigenvalues must lie between two bounds, 0 < lambda_min <= lambda_max, but got "
            f"lambda_min={lambda_min} and lambda_max={lambda_max}"
        )


def register_map(names: tuple[str, ...], entries: Entries, dtype: torch.dtype) -> Tensor:
    """`[p, p, 1]` map of the registers with the given entries (from, to)."""
    out = torch.zeros(len(names), len(names), 1, dtype=dtype)
    for (a, b), value in entries.items():
        out[names.index(a), names.index(b)] = value
    return out


def attention(
    names: tuple[str, ...],
    value: Entries,
    skip: Entries,
    dtype: torch.dtype,
    *,
    score: Entries | None = None,
    norm: Norm = "none",
) -> StructuredAttention:
    """A layer with one head, whose score is `L`, or that between registers if `score` is given."""
    return StructuredAttention(
        laplacian=torch.tensor([1.0 if score is None else 0.0], dtype=dtype),
        value=register_map(names, value, dtype).unsqueeze(0),
        skip=register_map(names, skip, dtype),
        score=None if score is None else register_map(names, score, dtype).unsqueeze(0),
        norm=norm,
    )


def frozen(layers: list[Layer], names: tuple[str, ...], readout: str) -> LinearTransformer:
    """A transformer whose weights do not ask for gradients."""
    return LinearTransformer(layers, registers=names, readout=readout).requires_grad_(False)
