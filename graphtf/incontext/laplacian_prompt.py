"""Laplacian systems in context: random electrical networks, demands, and their exact potentials."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence, Normalization
from graphtf.incontext.random_graphs import RandomGraphs, check_spread, log_uniform
from graphtf.layout import PaddedLayout
from graphtf.validate import check_positive_int


class LaplacianSystem(NamedTuple):
    """Systems `L x = psi` of a batch of graphs: the operator, demands and solutions `[n, k]`."""

    graph: Incidence
    psi: Tensor
    x: Tensor


class LaplacianPrompt:
    r"""Random graphs with conductances :math:`\exp(U[-a, a])` and normal demands, centred on every component.

    .. math:: L x = \psi, \qquad x = L^+ \psi

    Args:
        n, topology, num_edges: of the graphs, see :class:`graphtf.incontext.random_graphs.RandomGraphs`.
        spread: `a`.
        columns: `k`, demands of a graph.
        normalization: of the operator, see :meth:`graphtf.Incidence.normalized`; `"spectral"` is what a
            :class:`GraphMemformer` is meant for, and `None` leaves the operator as it is.

    Raises:
        TypeError, ValueError: an option is out of its range.

    Example:
        >>> prompt = LaplacianPrompt(n=12, columns=2, normalization="spectral")
        >>> system = prompt.sample(3, torch.Generator().manual_seed(0), torch.float64)
        >>> torch.allclose(system.graph.laplacian @ system.x, system.psi)
        True
        >>> from graphtf.incontext import GraphMemformer
        >>> x = GraphMemformer.from_spectrum(60, lambda_min=0.01)(system.graph, psi=system.psi)
        >>> torch.allclose(x, system.x, atol=1e-3)
        True

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025.
    """

    def __init__(
        self,
        n: int = 12,
        topology: str = "random",
        num_edges: int | None = None,
        spread: float = 1.0,
        columns: int = 1,
        normalization: Normalization | None = None,
    ) -> None:
        self.graphs, self.spread = RandomGraphs(n, topology, num_edges), check_spread(spread)
        self.columns = check_positive_int("columns", columns)
        if normalization not in (None, "sym", "spectral"):
            raise ValueError(f"normalization must be None, 'sym' or 'spectral', but got {normalization!r}")
        self.normalization = normalization

    def sample(
        self, num_graphs: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> LaplacianSystem:
        """Draw systems, one a graph, and solve them in float64."""
        plain = self.graphs.sample(num_graphs, generator, torch.float64)
        weight = log_uniform(self.spread, plain.num_edges, generator, torch.float64)
        graph = Incidence(plain.index, weight, plain.num_nodes, plain.batch, plain.num_graphs)
        graph = graph if self.normalization is None else graph.normalized(self.normalization)
        psi = torch.randn(graph.num_nodes, self.columns, generator=generator, dtype=torch.float64)
        psi = graph.center(psi)
        return LaplacianSystem(graph.to(dtype), psi.to(dtype), exact_potential(graph, psi).to(dtype))


def exact_potential(graph: Incidence, psi: Tensor) -> Tensor:
    r"""The solutions of least norm, :math:`x = (L + \Pi)^{-1} \psi`, by Cholesky's method on every graph.

    :math:`\Pi` projects on what `L` maps to zero, a vector a component, so that the matrix has an inverse.

    Args:
        graph: a graph or a batch of small ones: O(n^3) in the largest.
        psi: `[n, k]` demands; what is not in the range of `L` is left out.

    Returns:
        `[n, k]` float64.

    Example:
        >>> edge = Incidence(torch.tensor([[0], [1]]), num_nodes=3)
        >>> exact_potential(edge, torch.tensor([[1.0], [-1.0], [0.0]])).flatten().tolist()
        [0.5, -0.5, 0.0]
    """
    graph = graph.to(torch.float64)
    layout, psi = PaddedLayout(graph), graph.center(psi.double())
    v = layout.pack(graph.null_vector().unsqueeze(1))  # [G, N, 1]
    labels = layout.pack((graph.components() + 1.0).unsqueeze(1))  # 0 where a graph has no node
    blocks = layout.laplacian_blocks + torch.where(labels == labels.mT, v * v.mT, 0.0)
    empty = (labels == 0).squeeze(2).double()
    factor = torch.linalg.cholesky(blocks + torch.diag_embed(empty))
    return graph.center(layout.unpack(torch.cholesky_solve(layout.pack(psi), factor)))
