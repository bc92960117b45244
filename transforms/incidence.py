"""The transform that stores a graph's incidence matrix."""

from __future__ import annotations

from typing import Any

from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.convert import from_data
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe


@functional_transform(unique_functional_name("add_incidence"))
class AddIncidence(BaseTransform):
    r"""Store the oriented incidence matrix, every undirected edge once (functional name: :obj:`add_incidence`).

    Adds `incidence_index` `[2, m]`, the end points of every edge from the smaller to the larger node, and
    `incidence_weight` `[m]`, its conductance, so that :math:`B_{u e} = \sqrt{w_e}`, :math:`B_{v e} = -\sqrt{w_e}`.
    Self-loops are left out and parallel edges added up. PyG batches both by its own rules (the key holds `index`).

    Args:
        symmetrize (bool): accept a directed graph and use (A + A^T) / 2 in place of its adjacency matrix A. Without it,
            a graph that lists no edge in both directions is taken for undirected, with every edge listed once.

    Raises:
        TypeError: the graph is heterogeneous.
        ValueError: only some edges are listed both ways (a directed graph) and `symmetrize` is false, or a weight
            is not finite and positive.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> AddIncidence()(path).incidence_index
        tensor([[0, 1],
                [1, 2]])
    """

    def __init__(self, symmetrize: bool = False) -> None:
        self.symmetrize = symmetrize

    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the two attributes set."""
        graph = from_data(data, symmetrize=self.symmetrize, stored=False)
        data.incidence_index = graph.index
        data.incidence_weight = graph.weight
        return data

    def __repr__(self) -> str:
        return describe(self, symmetrize=self.symmetrize)
