"""Where transforms put the encoding of the nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def check_names(**names: str | None) -> None:
    """Raise `TypeError` unless every attribute name is a string or `None`, `ValueError` if two are the same."""
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str or None, but got {value!r}")
    given = [value for value in names.values() if value is not None]
    if len(set(given)) < len(given):
        raise ValueError(f"{' and '.join(names)} must differ, but are both {given[0]!r}; one would overwrite the other")


def store_node(data: Any, name: str | None, encoding: Tensor) -> None:
    """Set the attribute `name`, or append the columns to `data.x` for `None`.

    Raises:
        TypeError: `x` holds integers.

    Example:
        >>> from torch_geometric.data import Data
        >>> data = Data(x=torch.zeros(3, 2))
        >>> store_node(data, None, torch.ones(3, 4))
        >>> data.x.shape
        torch.Size([3, 6])
    """
    if name is not None:
        data[name] = encoding
    elif data.get("x") is None:
        data.x = encoding
    else:
        x = data.x.view(-1, 1) if data.x.dim() == 1 else data.x
        if not x.is_floating_point():
            raise TypeError(
                f"x holds integers ({x.dtype}), which cannot hold the encoding; give attr_name to store it apart, or "
                "convert x with .float() first"
            )
        data.x = torch.cat([x, encoding.to(x.device, x.dtype)], dim=-1)
