"""Where the heads of all nodes of a batch lie in padded matrices, found once for all layers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

GROUPS = 4  # graphs of about one size are padded together
SMALLEST = 16  # graphs that are worth a group


class Group(NamedTuple):
    """Graphs that are padded to a common number `N` of nodes."""

    mask: Tensor  # [G, N] whether a place holds a node
    first: int  # where its rows start among those of all groups


class DenseLayout:
    r"""Places of queries, keys and values `[n, 3 H d]` in matrices `[3, G, H, N, d]` for `G` graphs and `H` heads.

    Padding and transposition are one copy of rows, and so is its gradient. Graphs may be put together by size, for
    less padding; the matrices of one group after the other are then `[3, S, d]` with :math:`S = \sum G H N`.

    Args:
        batch: `[n]` graph of every node, in any order.
        num_nodes: `n`.
        num_graphs: `G`.
        heads: `H`.
        num_groups: groups of graphs of about one size; one keeps the graphs in order.

    Attributes:
        groups: masks of the groups, and where they start.
        source: `[3 S]` row of `[n 3 H, d]` that goes to a place; in the padding, any.
        target: `[n 3 H]` place of that row.
        merged: `[n H]` place of a node's head in `[S, d]`.

    Example:
        >>> import torch
        >>> layout = DenseLayout(torch.tensor([0, 1, 0]), num_nodes=3, num_graphs=2, heads=1)
        >>> layout.groups[0].mask.tolist(), layout.merged.tolist()
        ([[True, True], [True, False]], [0, 2, 1])
    """

    def __init__(self, batch: Tensor, num_nodes: int, num_graphs: int, heads: int, num_groups: int = 1) -> None:
        nodes = torch.arange(num_nodes, device=batch.device)
        count = torch.bincount(batch, minlength=num_graphs)
        order = batch.argsort(stable=True)
        local = torch.empty_like(nodes).index_copy_(0, order, nodes - (count.cumsum(0) - count)[batch[order]])
        bounds = [num_graphs * i // num_groups for i in range(num_groups + 1)]
        by_size = count.argsort(stable=True) if num_groups > 1 else torch.arange(num_graphs, device=batch.device)
        start, size_of = torch.empty_like(count), torch.empty_like(count)  # of every graph: its first row, its N
        self.heads, self.groups, first = heads, [], 0
        for a, b in pairwise(bounds):
            graphs = by_size[a:b]
            size = int(count[graphs].max()) if b > a else 0
            self.groups.append(Group(torch.arange(size, device=batch.device) < count[graphs].unsqueeze(1), first))
            start[graphs] = first + torch.arange(b - a, device=batch.device) * (heads * size)
            size_of[graphs] = size
            first += (b - a) * heads * size
        head = torch.arange(heads, device=batch.device)
        place = (start[batch] + local).unsqueeze(1) + head * size_of[batch].unsqueeze(1)  # [n, H]
        part = torch.arange(3, device=batch.device).unsqueeze(1)
        row = (nodes.unsqueeze(1) * (3 * heads) + head).flatten()  # of queries
        source = row.new_zeros(first).index_copy_(0, place.flatten(), row)
        self.merged = place.flatten()
        self.source = (source + part * heads).flatten()
        self.target = (place.unsqueeze(1) + part * first).flatten()  # [n, 3, H]
        self._masks: dict[torch.dtype, list[Tensor]] = {}

    @classmethod
    def for_attention(cls, batch: Tensor, num_nodes: int, num_graphs: int, heads: int) -> DenseLayout:
        """The layout for attention without a bias, in groups where matrices are multiplied one by one."""
        groups = min(GROUPS, num_graphs // SMALLEST) if batch.device.type == "cpu" else 1
        return cls(batch, num_nodes, num_graphs, heads, max(groups, 1))

    def logits_masks(self, dtype: torch.dtype) -> list[Tensor]:
        """`[G, 1, 1, N]` of every group to add to logits: in the padding of the keys the least finite number, else 0.

        Example:
            >>> layout = DenseLayout(torch.tensor([0, 1, 0]), num_nodes=3, num_graphs=2, heads=1)
            >>> layout.logits_masks(torch.float32)[0].flatten().tolist()
            [0.0, 0.0, 0.0, -3.4028234663852886e+38]
        """
        # Not -inf: a graph without nodes would have nothing but NaN, which reaches the gradient of a shared bias.
        if dtype not in self._masks:
            lowest = torch.finfo(dtype).min
            self._masks[dtype] = [
                torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, lowest)[:, None, None]
                for mask, _ in self.groups
            ]
        return self._masks[dtype]
