"""Embeddings of categorical features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtf.validate import check_positive_int


class CategoricalEmbedding(nn.Module):
    """Sum of one embedding for every column of an integer feature matrix.

    Args:
        name: name of the feature, for messages.
        num_types: number of values, or one number for every column.
        channels: width.

    Example:
        >>> import torch
        >>> CategoricalEmbedding("x", (28, 4), 16)(torch.tensor([[27, 3], [0, 0]])).shape
        torch.Size([2, 16])
    """

    def __init__(self, name: str, num_types: int | Sequence[int], channels: int) -> None:
        super().__init__()
        sizes = [num_types] if isinstance(num_types, int) else num_types
        if not isinstance(sizes, Sequence) or not sizes:
            raise ValueError(f"the types of {name} must be a number, or one for every column, but got {num_types!r}")
        for size in sizes:
            check_positive_int(f"the number of types of {name}", size)
        self.name, self.sizes = name, tuple(sizes)
        self.tables = nn.ModuleList(nn.Embedding(size, channels) for size in sizes)

    def columns(self, feature: Tensor | None) -> tuple[Tensor, ...]:
        """The columns of `[N]` or `[N, columns]` integers, looked over.

        Raises:
            ValueError: the feature is missing, is no integer tensor, has another number of columns, or holds a value
                that is not below the number of types.
        """
        if feature is None or feature.is_floating_point() or feature.dtype == torch.bool:
            got = "nothing" if feature is None else str(feature.dtype)
            raise ValueError(f"data.{self.name} must be categories (an integer tensor), but got {got}")
        feature = feature.view(feature.shape[0], -1) if feature.numel() else feature.view(-1, len(self.sizes))
        if feature.shape[1] != len(self.sizes):
            raise ValueError(f"data.{self.name} must have {len(self.sizes)} column(s), but has {feature.shape[1]}")
        columns = feature.long().unbind(1)
        if not torch.compiler.is_compiling() and feature.device.type == "cpu":
            for column, size in zip(columns, self.sizes, strict=True):
                if column.numel() and not 0 <= int(column.min()) <= int(column.max()) < size:
                    raise ValueError(
                        f"data.{self.name} holds {int(column.min())} ... {int(column.max())}, but the model was made "
                        f"for {size} types (0 ... {size - 1}); give the model the number of types of the data"
                    )
        return columns

    def codes(self, feature: Tensor | None) -> Tensor:
        """`[N]` one number below the product of the sizes for every combination of categories; raises as `columns`.

        Example:
            >>> CategoricalEmbedding("x", (28, 4), 16).codes(torch.tensor([[27, 3], [0, 1]])).tolist()
            [111, 1]
        """
        columns = self.columns(feature)
        code = columns[0]
        for column, size in zip(columns[1:], self.sizes[1:], strict=True):
            code = code * size + column
        return code

    def forward(self, feature: Tensor | None) -> Tensor:
        """`[N]` or `[N, columns]` integers to `[N, channels]`; raises as `columns`."""
        columns = self.columns(feature)
        out: Tensor = self.tables[0](columns[0])
        for table, column in zip(self.tables[1:], columns[1:], strict=True):
            out = out + table(column)
        return out
