"""Products with the incidence operator: two passes over the edges, no matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class LinearMap:
    """A linear map given by its product, for `map @ x`.

    Args:
        shape: rows and columns of the map.
        product: the function `x -> map @ x`.

    Example:
        >>> import torch
        >>> LinearMap((2, 2), lambda x: 3 * x) @ torch.ones(2)
        tensor([3., 3.])
    """

    def __init__(self, shape: tuple[int, int], product: Callable[[Tensor], Tensor]) -> None:
        self.shape = shape
        self._product = product

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._product(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"


def as_operand(x: Tensor, rows: int, dtype: torch.dtype) -> Tensor:
    """Return `x` in the dtype of an operator with so many columns; refuse what would not fit or lose digits.

    Raises:
        TypeError: `x` is no real tensor, or is float64 while the operator is float32.
        ValueError: it has another number of rows.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"the operator multiplies a torch.Tensor, but got {type(x).__name__}")
    if x.dim() == 0 or x.shape[0] != rows:
        raise ValueError(f"operand must have {rows} rows, but has shape {list(x.shape)}")
    if x.is_complex():
        raise TypeError(f"operand must be real, but has dtype {x.dtype}; multiply its real and imaginary part")
    if x.dtype == torch.float64 and dtype != torch.float64:
        raise TypeError(
            f"operand is float64, but the operator is {dtype}: the product would lose digits; cast the operator with "
            ".to(torch.float64), or the operand with .float()"
        )
    return x.to(dtype)


def per_row(vector: Tensor, x: Tensor) -> Tensor:
    """`vector` `[n]` as a factor of the rows of `x` `[n, ...]`."""
    return vector.view(-1, *[1] * (x.dim() - 1))


def incidence_product(index: Tensor, weight: Tensor, scale: Tensor | None, num_nodes: int, x: Tensor) -> Tensor:
    """`diag(scale) B x`: `[m, ...]` edge values to `[n, ...]` node values."""
    x = x * per_row(weight.sqrt(), x)
    u, v = index
    out = x.new_zeros(num_nodes, *x.shape[1:]).index_add(0, u, x).index_add(0, v, -x)
    return out if scale is None else out * per_row(scale, out)


def transposed_product(index: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> Tensor:
    """`B^T diag(scale) x`: `[n, ...]` node values to `[m, ...]` edge values."""
    x = x if scale is None else x * per_row(scale, x)
    u, v = index
    difference = x.index_select(0, u) - x.index_select(0, v)
    return difference * per_row(weight.sqrt(), difference)


def laplacian_product(index: Tensor, weight: Tensor, scale: Tensor | None, x: Tensor) -> Tensor:
    """`diag(scale) B B^T diag(scale) x`, without the roots of the weights."""
    y = x if scale is None else x * per_row(scale, x)
    u, v = index
    flow = y.index_select(0, u) - y.index_select(0, v)
    flow = flow * per_row(weight, flow)
    out = torch.zeros_like(y).index_add(0, u, flow).index_add(0, v, -flow)
    return out if scale is None else out * per_row(scale, out)
