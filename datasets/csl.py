"""Circular graphs with skip links, which message passing alone cannot tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset

from graphtf.datasets.molecules import Transform
from graphtf.validate import check_positive_int

SKIPS = (2, 3, 4, 5, 6, 9, 11, 12, 13, 16)


class CSL(InMemoryDataset):
    r"""The data set CSL, made on the spot: cycles with links of one length, in random orders of the nodes.

    Nodes `u` and `v` are joined if :math:`u - v \equiv \pm 1` or :math:`\pm s \pmod n`; the class of a graph is the
    place of its `s` in `skips`. All nodes of all graphs have the same degree, 4 in general: the test of Weisfeiler and
    Leman, and message passing without an encoding, sees no difference.

    Args:
        num_nodes: `n`.
        skips: the lengths `s`, one a class, from 2 to `n / 2`.
        num_copies: graphs of a class, the same one with its nodes in random orders.
        seed: of the orders.
        transform: applied to a graph at every access.

    Returns:
        `len(skips) * num_copies` graphs, by class, with `x`, `[n, 1]` int64 zeros; `edge_index`, both directions; `y`,
        `[1]` int64.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: it is out of its range.

    Example:
        >>> dataset = CSL()
        >>> len(dataset), dataset[0]
        (150, Data(x=[41, 1], edge_index=[2, 164], y=[1]))

    Source: Murphy et al., "Relational Pooling for Graph Representations", ICML 2019; the ten classes of Dwivedi et al.,
    "Benchmarking Graph Neural Networks", JMLR 2023.
    """

    def __init__(
        self,
        num_nodes: int = 41,
        skips: Sequence[int] = SKIPS,
        num_copies: int = 15,
        seed: int = 0,
        transform: Transform | None = None,
    ) -> None:
        check_positive_int("num_nodes", num_nodes, minimum=5)
        check_positive_int("num_copies", num_copies)
        check_positive_int("seed", seed, minimum=0)
        if not skips or any(not 2 <= check_positive_int("a skip", skip) <= num_nodes // 2 for skip in skips):
            raise ValueError(f"skips must be lengths from 2 to {num_nodes // 2} (half the nodes), but got {skips}")
        super().__init__(None, transform)
        generator = torch.Generator().manual_seed(seed)
        graphs = []
        for label, skip in enumerate(skips):
            edges = _circle(num_nodes, skip)
            for _ in range(num_copies):
                order = torch.randperm(num_nodes, generator=generator)
                graphs.append(
                    Data(
                        x=torch.zeros(num_nodes, 1, dtype=torch.long),
                        edge_index=order[edges],
                        y=torch.tensor([label]),
                    )
                )
        self._data, self.slices = self.collate(graphs)

    def folds(self, k: int = 5, seed: int = 0) -> list[dict[str, Tensor]]:
        """Indices of `train`, `val` and `test` for cross-validation, with as many graphs of every class in each fold.

        Args:
            k: number of folds; one is the test set, the next the validation set, the others the training set.
            seed: of the random order in which graphs are dealt out.

        Raises:
            ValueError: `k` is below 3.
        """
        check_positive_int("k", k, minimum=3)
        generator = torch.Generator().manual_seed(seed)
        labels = self._data.y
        fold = torch.empty_like(labels)
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            fold[members[torch.randperm(len(members), generator=generator)]] = torch.arange(len(members)) % k
        parts = [(fold == i).nonzero().flatten() for i in range(k)]
        return [
            {
                "train": torch.cat([parts[(i + j) % k] for j in range(2, k)]),
                "val": parts[(i + 1) % k],
                "test": parts[i],
            }
            for i in range(k)
        ]


def _circle(num_nodes: int, skip: int) -> Tensor:
    """Columns of `edge_index`, both directions and each once, of a cycle with links of length `skip`."""
    nodes = torch.arange(num_nodes)
    pairs = torch.cat([torch.stack([nodes, (nodes + step) % num_nodes]) for step in (1, -1, skip, -skip)], 1)
    return pairs.unique(dim=1)
