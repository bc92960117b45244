"""The transform that stores Laplacian eigenvectors and eigenvalues."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.incidence import Incidence
from graphtf.nn.inputs import read_data
from graphtf.solvers import laplacian_eigenvectors
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe
from graphtf.transforms._store import check_names, store_node
from graphtf.validate import check_positive_int


@functional_transform(unique_functional_name("add_spectral_pe"))
class AddSpectralPE(BaseTransform):
    r"""Add the first Laplacian eigenvectors without the trivial ones (functional name: :obj:`add_spectral_pe`).

    Takes the place of PyG's `AddLaplacianEigenvectorPE`: the same attribute and shape, but `k` may exceed the number of
    nodes (columns that do not exist are zero), every component's trivial vector is left out, edge weights count, the
    answer is deterministic, eigenvalues are stored beside the vectors, and a whole `Batch` is done in one call.

    Eigenvectors are unique up to the sign only, those of a repeated eigenvalue up to a rotation. The sign here makes
    the sum of third powers positive, or, where that vanishes by symmetry, the first entry of largest magnitude; flip
    signs at random in training, or use an encoding without that ambiguity.

    Args:
        k (int): number of non-trivial eigenvectors.
        attr_name (str, optional): attribute that gets the eigenvectors `[n, k]`; `None` appends them to `data.x`.
        is_undirected (bool, optional): for PyG's signature: `False` accepts a directed graph and uses (A + A^T) / 2.
            With `True`, one that lists no edge in both directions is taken for undirected, every edge listed once.
        normalization (str, optional): `"sym"` (as PyG), `"rw"` or `None`.
        eigenvalues_name (str, optional): attribute that gets the eigenvalues `[n, k]`, repeated for every node of a
            graph so that PyG batches them, zero where there is no vector.

    Raises:
        TypeError: the graph is heterogeneous, an argument has the wrong type, or `x` to append to holds integers.
        ValueError: `k` is not positive, only some edges are listed both ways (a directed graph), or a weight is not
            finite and positive.

    Example:
        >>> import torch
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> data = AddSpectralPE(k=4, eigenvalues_name="eigenvalues")(path)
        >>> data.laplacian_eigenvector_pe.abs().round(decimals=4), data.eigenvalues[0]
        (tensor([[0.7071, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.7071, 0.0000, 0.0000],
                [0.7071, 0.5000, 0.0000, 0.0000]]), tensor([1., 2., 0., 0.]))

    Reference: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023.
    """

    def __init__(
        self,
        k: int,
        attr_name: str | None = "laplacian_eigenvector_pe",
        is_undirected: bool = True,
        normalization: str | None = "sym",
        eigenvalues_name: str | None = None,
    ) -> None:
        self.k = check_positive_int("k", k)
        check_names(attr_name=attr_name, eigenvalues_name=eigenvalues_name)
        if normalization not in (None, "sym", "rw"):
            raise ValueError(f"normalization must be None, 'sym' or 'rw', but got {normalization!r}")
        self.attr_name, self.is_undirected = attr_name, is_undirected
        self.normalization, self.eigenvalues_name = normalization, eigenvalues_name

    @torch.no_grad()
    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the attributes set."""
        graph = read_data(data, not self.is_undirected)
        options: Any = {"normalization": self.normalization, "trivial": False}
        found = laplacian_eigenvectors(graph, self.k, **options)
        pe = found.value * _sign(graph, found.value)
        if self.eigenvalues_name is not None:
            values = found.eigenvalues if found.eigenvalues.dim() == 2 else found.eigenvalues.unsqueeze(0)
            data[self.eigenvalues_name] = values[graph.batch].contiguous()
        store_node(data, self.attr_name, pe)
        return data

    def __repr__(self) -> str:
        names = ("k", "attr_name", "is_undirected", "normalization", "eigenvalues_name")
        return describe(self, **{name: getattr(self, name) for name in names})


def _sign(graph: Incidence, vectors: Tensor) -> Tensor:
    """`[n, k]` signs, equal within a graph: of the sum of third powers, else of the first entry of most weight."""
    G, k = graph.num_graphs, vectors.shape[1]
    skew = vectors.new_zeros(G, k).index_add(0, graph.batch, vectors**3)
    size = vectors.new_zeros(G, k).index_add(0, graph.batch, vectors.abs() ** 3)
    largest = vectors.new_zeros(G, k).scatter_reduce(0, graph.batch.unsqueeze(1).expand(-1, k), vectors.abs(), "amax")
    n = len(vectors)
    there = vectors.abs() >= largest[graph.batch] * (1 - 1e-4)
    place = torch.where(there, torch.arange(n, device=vectors.device).unsqueeze(1), n)
    first = torch.full((G, k), n, device=vectors.device)
    first = first.scatter_reduce(0, graph.batch.unsqueeze(1).expand(-1, k), place, "amin").clamp(max=max(n - 1, 0))
    sign = torch.where(skew.abs() > 1e-4 * size, skew, vectors.gather(0, first) if n else skew).sign()
    return torch.where(sign == 0, 1.0, sign)[graph.batch]
