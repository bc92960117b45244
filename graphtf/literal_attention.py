r"""The literal layer of a linear transformer, on one matrix of tokens with explicit Q, K, V and R."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtf.activation import Activation, check_activations, masked_scores
from graphtf.norms import safe_sqrt, unit_or_zero


class LinearAttention(nn.Module):
    r"""Literal linear attention layer on a token matrix, one token a node.

    .. math:: Z \leftarrow \mathrm{norm}\Bigl(Z + \sum_h \mathrm{act}_h(Z Q_h K_h^\top Z^\top) (Z V_h) + Z R\Bigr)

    Tokens of different graphs do not see each other: `batch` masks the score. In a prompt only demonstrations are
    `keys`, of which the scores are the mean; the query attends and is not attended to.

    Args:
        query, key: `[H, d, r]` maps of the `H` heads, `d` the token width.
        value: `[H, d, d]` maps.
        skip: `[d, d]` linear skip `R`.
        unit: `[d]` booleans, the columns that are divided by their Euclidean length, graph by graph.
        threshold: a column shorter than this becomes zero instead.
        unit_block: the first so many columns are divided by their common Frobenius norm, graph by graph.
        act: activation of every head's score, see :func:`graphtf.activation.masked_scores`; `None`: none.

    Shapes:
        tokens `[n, d]`, batch `[n]` or `None`, keys `[n]` or `None` -> tokens `[n, d]`.

    Example:
        >>> import torch
        >>> B = torch.tensor([[1.0], [-1.0]])  # one edge
        >>> layer = LinearAttention(  # with Q K^T = diag(1, 0) the score is the Laplacian
        ...     query=torch.tensor([[[1.0], [0.0]]]), key=torch.tensor([[[1.0], [0.0]]]),
        ...     value=torch.tensor([[[0.0, 0.0], [0.0, -0.5]]]), skip=torch.zeros(2, 2))
        >>> layer(torch.cat([B, torch.tensor([[1.0], [0.0]])], dim=1))[:, 1].tolist()
        [0.5, 0.5]

    Reference: Cheng, Carin, Sra, ICLR 2025, equation (1).
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        skip: Tensor,
        unit: Tensor | None = None,
        threshold: float = 0.0,
        unit_block: int = 0,
        act: Sequence[Activation] | None = None,
    ) -> None:
        super().__init__()
        width = skip.shape[0]
        if skip.shape != (width, width) or value.shape[1:] != (width, width):
            raise ValueError(
                f"skip and every value map must be [d, d], but have shapes {list(skip.shape)} and {list(value.shape)}"
            )
        if query.shape != key.shape or query.shape[:2] != value.shape[:2]:
            raise ValueError(
                f"query and key must both be [H, d, r] with the H and d of value {list(value.shape)}, but have shapes "
                f"{list(query.shape)} and {list(key.shape)}"
            )
        self.query, self.key, self.value = nn.Parameter(query), nn.Parameter(key), nn.Parameter(value)
        self.skip = nn.Parameter(skip)
        self.register_buffer("unit", torch.zeros(width, dtype=torch.bool) if unit is None else unit)
        self.unit: Tensor
        self.threshold, self.unit_block = threshold, unit_block
        self.act = check_activations(act, value.shape[0])

    def forward(self, tokens: Tensor, batch: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """Apply the layer to `[n, d]` tokens; `batch` `[n]` keeps graphs apart, `keys` `[n]` are attended to (all)."""
        if tokens.dim() != 2 or tokens.shape[1] != self.skip.shape[0]:
            raise ValueError(f"tokens must have shape [n, {self.skip.shape[0]}], but have {list(tokens.shape)}")
        batch = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if batch is None else batch
        same = (batch[:, None] == batch[None, :]).to(tokens.dtype)  # [n, n]
        out = tokens + tokens @ self.skip.to(tokens.dtype)
        allowed, scale = same > 0, torch.ones_like(same[:, :1])
        if keys is not None:
            allowed = allowed & keys
            scale = 1 / allowed.sum(1, keepdim=True).clamp(min=1).to(tokens.dtype)
        for act, query, key, value in zip(self.act, self.query, self.key, self.value, strict=True):
            score = (tokens @ query.to(tokens.dtype)) @ (tokens @ key.to(tokens.dtype)).t()
            out = out + masked_scores(score, allowed, act, scale) @ (tokens @ value.to(tokens.dtype))
        if bool(self.unit.any()):
            length = safe_sqrt(same @ out.square())
            out = torch.where(self.unit, unit_or_zero(out, length, self.threshold), out)
        if self.unit_block:
            block = out[:, : self.unit_block]
            length = safe_sqrt(same @ block.square().sum(1, keepdim=True))
            out = torch.cat([unit_or_zero(block, length, 0.0), out[:, self.unit_block :]], dim=1)
        return out

    def extra_repr(self) -> str:
        """Heads and width."""
        return f"heads={self.value.shape[0]}, width={self.skip.shape[0]}"
