"""The encodings that can be compared on one backbone: a transform that prepares the data, a module that reads it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE, AddRandomWalkPE, BaseTransform

from graphtf.models import StoredEncoding
from graphtf.nn import LinearTransformerPE

Transform = Callable[[Any], Any]


def build_encoding(pe: str, dim: int, seed: int = 0) -> nn.Module | None:
    """The module that reads or computes an encoding inside the model.

    Args:
        pe: `none`, `laplacian`, `random-walk` or `linear-transformer`.
        dim: number of columns.
        seed: of random weights.

    Returns:
        A module for :class:`graphtf.models.GraphTransformer`, or `None`.

    Example:
        >>> build_encoding("random-walk", 16)
        StoredEncoding('random_walk_pe', 16, random_sign=False)
    """
    if pe == "none":
        return None
    if pe == "laplacian":
        return StoredEncoding("laplacian_eigenvector_pe", dim, random_sign=True)
    if pe == "random-walk":
        return StoredEncoding("random_walk_pe", dim)
    if pe == "conductances":
        return LinearTransformerPE(k=dim, heads=4, leverage=True, node_types=28, edge_types=4, seed=seed)
    return LinearTransformerPE(k=dim, seed=seed)


def build_transform(pe: str, dim: int) -> Transform | None:
    """The transform that prepares the data of an encoding, or `None` if it needs none.

    Args:
        pe: `none`, `laplacian`, `random-walk` or `linear-transformer`.
        dim: number of columns.

    Example:
        >>> build_transform("laplacian", 8)
        LaplacianPE(k=8)
    """
    if pe == "laplacian":
        return LaplacianPE(dim)
    if pe == "random-walk":
        return AddRandomWalkPE(walk_length=dim)
    return None


class LaplacianPE(BaseTransform):
    """PyG's Laplacian eigenvectors, zero where a graph has fewer than `k`, with a sign that does not change.

    PyG draws signs from the global generator and fails for `k >= n`. Here the entry of largest magnitude is positive
    (the first of them, up to rounding), so that evaluation is deterministic; training flips signs at random.

    Args:
        k: number of non-trivial eigenvectors.

    Example:
        >>> import torch
        >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> LaplacianPE(k=3)(edge).laplacian_eigenvector_pe.round(decimals=4)
        tensor([[ 0.7071,  0.0000,  0.0000],
                [-0.7071,  0.0000,  0.0000]])
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def forward(self, data: Any) -> Data:
        """Set `laplacian_eigenvector_pe` `[n, k]`."""
        n = int(data.num_nodes)
        pe = torch.zeros(n, self.k)
        if n > 1:
            columns = min(self.k, n - 1)
            with warnings.catch_warnings():  # PyG builds a CSR matrix to compute them
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
                computed = AddLaplacianEigenvectorPE(columns, attr_name="pe", is_undirected=True)(data).pe
            pe[:, :columns] = computed * _canonical_sign(computed)
        data.laplacian_eigenvector_pe = pe
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k})"


def _canonical_sign(vectors: Tensor) -> Tensor:
    """`[k]` signs that make the first entry of (almost) largest magnitude positive."""
    magnitude = vectors.abs()
    first = (magnitude >= magnitude.amax(0) * (1 - 1e-4)).int().argmax(0)
    sign = vectors.gather(0, first.unsqueeze(0)).squeeze(0).sign()
    return torch.where(sign == 0, 1.0, sign)
