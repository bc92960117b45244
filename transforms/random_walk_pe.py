"""The transform that stores return probabilities of random walks."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.nn.heads import contiguous, head_entries
from graphtf.nn.inputs import read_data
from graphtf.powers import power_entries
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe
from graphtf.transforms._store import check_names, store_node
from graphtf.validate import check_positive_int


@functional_transform(unique_functional_name("add_weighted_random_walk_pe"))
class AddRandomWalkPE(BaseTransform):
    r"""Add return probabilities of random walks (functional name: :obj:`add_weighted_random_walk_pe`).

    .. math:: \mathrm{node}_{u l} = (P^l)_{uu}, \qquad P = D^{-1} A, \qquad l = 1 \dots k

    Equal to PyG's `AddRandomWalkPE` on graphs without weights and self-loops that list every edge in both directions;
    where no edge is listed so, PyG's walks follow the directions, and these do not. With `edge_weight` a step goes
    along an edge with a probability proportional to its weight (PyG divides by the number of neighbors, so that its
    rows do not sum to one). A node without edges gets zeros. A whole `Batch` is done in one call.

    Args:
        walk_length (int): number of steps `k`.
        attr_name (str, optional): attribute that gets the encoding `[n, k]`; `None` appends it to `data.x`.
        symmetrize (bool): accept a directed graph and use (A + A^T) / 2 in place of its adjacency matrix A. Without it,
            a graph that lists no edge in both directions is taken for undirected, with every edge listed once.

    Raises:
        TypeError: the graph is heterogeneous, an argument has the wrong type, or `x` to append to holds integers.
        ValueError: `walk_length` is not positive, only some edges are listed both ways (a directed graph), or a weight
            is not finite and positive.

    Example:
        >>> import torch
        >>> triangle = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), num_nodes=3)
        >>> AddRandomWalkPE(4)(triangle).random_walk_pe[0].round(decimals=4)
        tensor([0.0000, 0.5000, 0.2500, 0.3750])

    Reference: Dwivedi et al., "Graph neural networks with learnable structural and positional representations", 2022.
    """

    def __init__(self, walk_length: int, attr_name: str | None = "random_walk_pe", symmetrize: bool = False) -> None:
        self.walk_length = check_positive_int("walk_length", walk_length)
        check_names(attr_name=attr_name)
        self.attr_name, self.symmetrize = attr_name, symmetrize

    @torch.no_grad()
    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the attribute set."""
        graph = read_data(data, self.symmetrize)
        if contiguous(graph) is None:
            node = power_entries(graph.normalized("sym"), self.walk_length, graph.index[:, :0])[0][:, 1:]
        else:
            node = head_entries(graph, graph.weight.unsqueeze(0), self.walk_length)[0][0]
        pe = torch.where((graph.degree > 0).unsqueeze(1), node, 0.0)
        store_node(data, self.attr_name, pe)
        return data

    def __repr__(self) -> str:
        return describe(self, walk_length=self.walk_length, attr_name=self.attr_name, symmetrize=self.symmetrize)
