"""Normalisation layers that accept every number of rows."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import batch_norm


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that falls back on its running statistics where a batch has none.

    One row has no variance, and torch refuses it in training; a batch of a single atom, or one without edges, is such
    a case.

    Args:
        num_features: width.

    Shapes:
        `[N, num_features]` -> the same, for every `N`.

    Example:
        >>> import torch
        >>> BatchNorm(2)(torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the columns."""
        if input.shape[0] > 1 or not self.training:
            return super().forward(input)
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


NORMS = {"batch": BatchNorm, "layer": nn.LayerNorm}
