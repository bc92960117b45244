"""The transform that stores how much heat stays at every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.convert import from_data
from graphtf.solvers import heat_kernel
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe
from graphtf.transforms._store import check_names, store_node


@functional_transform(unique_functional_name("add_heat_kernel_pe"))
class AddHeatKernelPE(BaseTransform):
    r"""Add the diagonal of the heat kernel at several times (functional name: :obj:`add_heat_kernel_pe`).

    .. math:: \mathrm{node}_{u t} = \bigl(e^{-t L}\bigr)_{uu}, \qquad L \in \{D^{-1/2} B B^\top D^{-1/2}, B B^\top\}

    All times come from one pass, for a whole `Batch` at once. No signs, no bases; exactly permutation equivariant.

    Args:
        times (sequence of float): `T` times, finite and not negative.
        normalization (str, optional): `"sym"`, `"rw"` (the same diagonal) or `None`.
        attr_name (str, optional): attribute that gets the node encoding `[n, T]`; `None` appends it to `data.x`.
        symmetrize (bool): accept a directed graph and use (A + A^T) / 2 in place of its adjacency matrix A. Without it,
            a graph that lists no edge in both directions is taken for undirected, with every edge listed once.

    Raises:
        TypeError: the graph is heterogeneous, an argument has the wrong type, or `x` to append to holds integers.
        ValueError: a time is negative or not finite, only some edges are listed both ways (a directed graph), or a
            weight is not positive.

    Example:
        >>> import torch
        >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> AddHeatKernelPE([0.0, 1.0])(edge).heat_kernel_pe  # (1 + exp(-2 t)) / 2
        tensor([[1.0000, 0.5677],
                [1.0000, 0.5677]])

    Reference: Sun, Ovsjanikov, Guibas, "A concise and provably informative multi-scale signature based on heat
    diffusion", 2009; as encoding Kreuzer et al., NeurIPS 2021.
    """

    def __init__(
        self,
        times: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        normalization: str | None = "sym",
        attr_name: str | None = "heat_kernel_pe",
        symmetrize: bool = False,
    ) -> None:
        check_names(attr_name=attr_name)
        if isinstance(times, int | float):
            times = [times]
        self.times = [float(t) for t in times]
        if not self.times or not all(0 <= t < float("inf") for t in self.times):
            raise ValueError(f"times must be finite and not negative, at least one, but got {self.times}")
        if normalization not in (None, "sym", "rw"):
            raise ValueError(f"normalization must be None, 'sym' or 'rw', but got {normalization!r}")
        self.normalization, self.attr_name, self.symmetrize = normalization, attr_name, symmetrize

    @torch.no_grad()
    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the attribute set."""
        graph = from_data(data, symmetrize=self.symmetrize)
        kernel = heat_kernel(graph.to(torch.float64), None, self.times, normalization=self.normalization, tol=1e-8)
        store_node(data, self.attr_name, kernel.value.to(graph.dtype))
        return data

    def __repr__(self) -> str:
        options = {"times": self.times, "normalization": self.normalization}
        return describe(self, **options, attr_name=self.attr_name, symmetrize=self.symmetrize)
