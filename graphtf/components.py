"""Connected components with tensor operations only."""

from __future__ import annotations

import torch
from torch import Tensor


def connected_components(index: Tensor, num_nodes: int) -> Tensor:
    """Label the connected components of an undirected graph.

    Roots hook onto their smallest neighbouring root, then paths are halved until every node points at its root.
    Every two rounds at least halve the number of roots that still have an edge to another one: a root that no other
    hooks onto sees, a round later, a smaller one in the place of each of its neighbours.

    Args:
        index: `[2, m]` end points, each edge in either or both directions.
        num_nodes: number of nodes `n`.

    Returns:
        `[n]` labels `0 ... c - 1` in the order of the first node of every component.

    Example:
        >>> import torch
        >>> connected_components(torch.tensor([[0, 3], [2, 4]]), 5)
        tensor([0, 1, 0, 2, 2])

    Reference: Shiloach, Vishkin, "An O(log n) parallel connectivity algorithm", J. Algorithms 1982.
    """
    label = torch.arange(num_nodes, device=index.device)
    while index.numel():
        low, high = label[index].aminmax(dim=0)
        hooked = label.scatter_reduce(0, high, low, "amin")
        while not torch.equal(jumped := hooked[hooked], hooked):
            hooked = jumped
        if torch.equal(hooked, label):
            break
        label = hooked
    return torch.unique(label, return_inverse=True)[1]
