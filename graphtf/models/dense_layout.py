"""Where the heads of all nodes of a batch lie in matrices padded to the largest graph, found once for all layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class DenseLayout(NamedTuple):
    r"""Places of queries, keys and values `[n, 3 H d]` in matrices `[3, G, H, N, d]` for `G` graphs and `H` heads.

    Padding and transposition are one copy of rows, and so is its gradient.

    Example:
        >>> import torch
        >>> layout = DenseLayout.from_batch(torch.tensor([0, 1, 0]), num_nodes=3, num_graphs=2, heads=1)
        >>> layout.mask.tolist(), layout.merged.tolist()
        ([[True, True], [True, False]], [0, 2, 1])
    """

    mask: Tensor  # [G, N] whether a place holds a node
    heads: int
    source: Tensor  # [3 G H N] row of [n 3 H, d] that goes to a place; in the padding, any
    target: Tensor  # [n 3 H] place of that row
    merged: Tensor  # [n H] place of a node's head in [G H N, d]

    @classmethod
    def from_batch(cls, batch: Tensor, num_nodes: int, num_graphs: int, heads: int) -> DenseLayout:
        """Find the places.

        Args:
            batch: `[n]` graph of every node, in any order.
            num_nodes: `n`.
            num_graphs: `G`.
            heads: `H`.
        """
        nodes = torch.arange(num_nodes, device=batch.device)
        count = torch.bincount(batch, minlength=num_graphs)
        size = int(count.max()) if num_graphs else 0
        order = batch.argsort(stable=True)
        local = torch.empty_like(nodes).index_copy_(0, order, nodes - (count.cumsum(0) - count)[batch[order]])
        row = nodes.new_zeros(num_graphs * size).index_copy_(0, batch * size + local, nodes).view(1, -1, 1, size)
        part = torch.arange(3, device=batch.device).view(3, 1, 1, 1)
        head = torch.arange(heads, device=batch.device).view(heads, 1)
        source = (row * 3 + part) * heads + head  # [3, G, H, N]
        merged = (batch * heads).unsqueeze(1) * size + local.unsqueeze(1) + head.view(1, heads) * size  # [n, H]
        target = merged.unsqueeze(1) + part.view(1, 3, 1) * (num_graphs * heads * size)  # [n, 3, H]
        mask = torch.arange(size, device=batch.device) < count.unsqueeze(1)
        return cls(mask, heads, source.flatten(), target.flatten(), merged.flatten())

    def logits_mask(self, dtype: torch.dtype) -> Tensor:
        """`[G, 1, 1, N]` to add to logits: zero, and in the padding of the keys the least finite number."""
        # Not -inf: a graph without nodes would have nothing but NaN, which reaches the gradient of a shared bias.
        lowest = torch.finfo(dtype).min
        return torch.zeros_like(self.mask, dtype=dtype).masked_fill_(~self.mask, lowest)[:, None, None]
