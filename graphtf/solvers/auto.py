"""Adaptive methods on a batch: which graphs are solved together, and by what."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.kernels import COMPILED_NODES
from graphtf.solvers.linear_parts import selected
from graphtf.solvers.linear_system import DENSE_NODES, LinearSystem, Run
from graphtf.solvers.medium_system import MediumSystem
from graphtf.solvers.solution import ConvergenceError, Solution


class _Part(NamedTuple):
    nodes: Tensor | None  # of the batch; `None` means all of them in their order
    system: LinearSystem | MediumSystem


class AdaptiveSolver:
    """`psi -> L^+ psi` to a tolerance, with what can be reused between calls.

    Everything is computed in float64, whatever the dtype of the demands; residuals are those before the answer is
    rounded to that dtype. `"auto"` uses dense factors for graphs of at most 512 nodes; on a larger one it tries some
    steps behind Gauss-Seidel (or Jacobi), and changes where these would go on for too long: below 2048 nodes to dense
    factors, from there on to approximate Cholesky.

    Args:
        graph: plain operator, a batch or a single graph.
        method: `"dense"`, `"memory"`, `"preconditioned"` or `"auto"`.
        tol: relative residual of every column on every graph.
        max_layers: number of layers to give up after; `None` means `20 n + 1000`.
        generator: for the randomised preconditioner.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> solver = AdaptiveSolver(edge, "auto", 1e-6, None, None)
        >>> solver(torch.tensor([[2.0], [-2.0]], dtype=torch.float64))[0].flatten().round(decimals=6).tolist()
        [0.5, -0.5]
    """

    def __init__(
        self, graph: Incidence, method: str, tol: float, max_layers: int | None, generator: torch.Generator | None
    ) -> None:
        weight = graph.weight.detach()
        plain = weight.dtype == torch.float64 and not graph.weight.requires_grad
        self.graph = graph if plain else graph._replace(weight=weight.to(torch.float64))
        self.method, self.tol = method, tol
        self.max_layers = 20 * graph.num_nodes + 1000 if max_layers is None else max_layers
        self.seed = 0
        if generator is not None:
            self.seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        self.first: Run | None = None
        self._parts: list[_Part] | None = None

    def strict(self, psi: Tensor) -> Tensor:
        """Solve in the dtype of `psi`; the first run is kept as `first`, a later one (of a gradient) may not fail.

        The demands are centered once more in float64, because rounding them has moved their sums from zero.
        """
        x, run = self(psi if psi.dtype == torch.float64 else self.graph.center(psi.double()))
        if self.first is None:
            self.first = run
        elif run.failed:
            solution = Solution.of(x.to(psi.dtype), run.residual, run.num_layers, run.method)
            raise ConvergenceError(f"the adjoint system of the gradient: {run.failed}", solution)
        return x.to(psi.dtype)

    def __call__(self, psi: Tensor) -> tuple[Tensor, Run]:
        """Solve for `[n, k]` centered float64 demands."""
        if self._parts is None:
            self._parts = self._split()
        runs: list[Run] = []
        x = torch.zeros_like(psi) if len(self._parts) != 1 else psi
        for nodes, system in self._parts:
            answer, run = system.solve(psi if nodes is None else psi[nodes], self.tol, self.max_layers)
            x = answer if nodes is None else x.index_copy(0, nodes, answer)
            runs.append(run)
        return x, _merged(runs, psi)

    def _split(self) -> list[_Part]:
        graph = self.graph
        if graph.num_nodes == 0:
            return []
        sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
        large = sizes >= COMPILED_NODES
        if self.method == "auto":
            kinds = ["dense", "medium", "auto"]
            kind = (sizes > DENSE_NODES).long() + large
        elif self.method == "preconditioned":
            kinds = ["jacobi", "factor" if graph.device.type == "cpu" else "jacobi"]
            kind = large.long()
        else:
            kinds = [self.method]
            kind = torch.zeros_like(sizes)
        # The compiled loops and the factors take one graph at a time.
        group = torch.where(large, len(kinds) + torch.arange(len(sizes), device=graph.device), kind)
        groups = torch.unique(group).tolist()
        parts = []
        for number in groups:
            first = int((group == number).nonzero()[0])
            part, nodes = (graph, None) if len(groups) == 1 else selected(graph, group == number)
            name = kinds[int(kind[first])]
            system = MediumSystem(part) if name == "medium" else LinearSystem(part, name, self.seed)
            parts.append(_Part(nodes, system))
        return parts


def _merged(runs: list[Run], psi: Tensor) -> Run:
    if not runs:
        zero = psi.new_zeros(psi.shape[1])
        return Run(zero, 0, "dense", zero.unsqueeze(0))
    layers = max(run.num_layers for run in runs)
    rows = max(len(run.history) for run in runs)
    histories = [torch.cat([run.history, run.history[-1:].expand(rows - len(run.history), -1)]) for run in runs]
    return Run(
        torch.stack([run.residual for run in runs]).amax(0),
        layers,
        " and ".join(dict.fromkeys(run.method for run in runs)),
        torch.stack(histories).amax(0),
        next((run.failed for run in runs if run.failed), ""),
    )
