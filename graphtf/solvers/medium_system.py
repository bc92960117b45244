"""Laplacian systems of graphs of medium size: conjugate gradient where it is fast, dense factors of the others."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.linear_blocks import LARGEST_BUFFER
from graphtf.solvers.linear_cg import per_graph_sum
from graphtf.solvers.linear_parts import selected
from graphtf.solvers.linear_system import LinearSystem, Run

PATIENCE = 300  # steps of conjugate gradient on small ones before dense factors take their place
CUBE = 2_000_000  # nodes, cubed, whose dense factor costs as much as one step
WIDE = 16  # right-hand sides with which a step costs twice as much


class MediumSystem:
    """Graphs of some hundred to two thousand nodes, solved together; those that take too long get dense factors.

    Args:
        graph: plain operator in float64, without gradients.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64))
        >>> x, run = MediumSystem(edge).solve(torch.tensor([[2.0], [-2.0]], dtype=torch.float64), 1e-8, 9)
        >>> x.flatten().round(decimals=6).tolist(), run.method
        ([0.5, -0.5], 'preconditioned (Jacobi)')
    """

    def __init__(self, graph: Incidence) -> None:
        self.graph = graph
        self._sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
        self._largest = int(self._sizes.max())
        self._light = LinearSystem(graph, "jacobi")
        self._slow: list[tuple[Tensor, LinearSystem]] = []  # nodes of graphs that take long, and their factors

    def solve(self, psi: Tensor, tol: float, max_layers: int) -> tuple[Tensor, Run]:
        """Potentials for `[n, k]` centered demands, and how good they are; see :meth:`LinearSystem.solve`."""
        patience = max(PATIENCE, int(self._largest**3 / CUBE / (1 + psi.shape[1] / WIDE)))
        easy = psi
        for nodes, _ in self._slow:
            easy = easy.index_fill(0, nodes, 0.0)
        x, run = self._light.solve(easy, tol, min(max_layers, patience))
        if run.failed and max_layers <= patience:
            return x, run
        if run.failed:
            self._slow += self._dense_parts(~(self._residual(easy, x) <= tol).all(1))
        if not self._slow:
            return x, run
        failed = ""
        for nodes, system in self._slow:
            answer, part = system.solve(psi[nodes], tol, max_layers)
            x, failed = x.index_copy(0, nodes, answer), failed or part.failed
        residual = self._residual(psi, x).amax(0)
        method = f"{run.method} and dense"
        return x, Run(residual, run.num_layers + 1, method, torch.cat([run.history, residual.unsqueeze(0)]), failed)

    def _residual(self, psi: Tensor, x: Tensor) -> Tensor:
        """`[num_graphs, k]` relative residuals."""
        left = per_graph_sum(self.graph, (psi - self.graph.laplacian @ x).square())
        size = per_graph_sum(self.graph, psi.square())
        return (left / torch.where(size > 0, size, 1.0)).sqrt()

    def _dense_parts(self, wanted: Tensor) -> list[tuple[Tensor, LinearSystem]]:
        """The graphs that are `wanted` `[num_graphs]`, as many together as dense factors may be large."""
        group = ((self._sizes.square() * wanted).cumsum(0) // (LARGEST_BUFFER // 2)).masked_fill(~wanted, -1)
        parts = []
        for number in group[wanted].unique().tolist():
            part, nodes = selected(self.graph, group == number)
            parts.append((nodes, LinearSystem(part, "dense")))
        return parts
