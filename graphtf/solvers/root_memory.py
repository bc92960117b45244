"""The inverse square root of the Laplacian by layers with memory: rational quadrature, all poles in one run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.linear_cg import per_graph_sum
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.linear_system import Run
from graphtf.solvers.multishift import corrections, laplacian_product, multishift
from graphtf.solvers.root_quadrature import inverse_root_quadrature
from graphtf.solvers.solution import ConvergenceError, Solution

ENTRIES = 1 << 24  # of the solutions of all poles that are held at a time, if no gradient needs them
ROUNDS, POLISH = 3, 500  # how often, and by how many layers, what rounding has left is corrected


class MemoryRoot:
    r"""`psi -> (L^+)^{1/2} psi` to a tolerance, with the poles and weights of a batch.

    .. math::
        x = \sum_j c_j x_j, \quad (L + s_j) x_j = \psi, \qquad
        \|\psi - L^{1/2} x\| \le \varepsilon \|\psi\| + \sum_j c_j \|\psi - (L + s_j) x_j\| \max_{a \le \lambda \le b}
        \frac{\sqrt\lambda}{\lambda + s_j}

    on the range of `L`, whose eigenvalues lie between :math:`a = \min_e w_e \cdot 4 / (n (n - 1))` and `b`, twice the
    largest degree; :math:`\varepsilon` is the error of the quadrature there. The bound is proven, and its residuals are
    computed from the solutions in the end, not carried along. Everything is in float64.

    Args:
        graph: plain operator in float64, without gradients.
        tol: relative residual :math:`\|\psi - L^{1/2} x\| / \|\psi\|` of every column on every graph.
        max_layers: number of layers to give up after.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64))
        >>> x, run = MemoryRoot(edge, 1e-8, 9)(torch.tensor([[2.0], [-2.0]], dtype=torch.float64))
        >>> x.flatten().round(decimals=6).tolist(), float(run.residual) <= 1e-8  # the eigenvalue is 4
        ([1.0, -1.0], True)

    Source: Hale, Higham, Trefethen, SIAM J. Numer. Anal. 46, 2008; Frommer, Simoncini, "Error bounds for Lanczos
    approximations of rational functions of matrices", 2009.
    """

    def __init__(self, graph: Incidence, tol: float, max_layers: int) -> None:
        self.graph, self.tol, self.max_layers = graph, tol, max_layers
        low, high = eigenvalue_interval(graph)
        width = float((high / low).max()) if high.numel() else 1.0
        rule = inverse_root_quadrature(width, tol / 8)
        self.error = rule.error
        self.shifts = torch.from_numpy(rule.shifts).to(high).unsqueeze(1) * high  # [N, g]
        self.weights = torch.from_numpy(rule.weights).to(high).unsqueeze(1) * high.sqrt()
        peak = torch.minimum(torch.maximum(self.shifts, high / width), high)  # sqrt(x) / (x + s) rises up to x = s
        self.cost = self.weights * peak.sqrt() / (peak + self.shifts)

    def __call__(self, psi: Tensor) -> tuple[Tensor, Run]:
        """The root of `[n, k]` centered float64 demands."""
        if not psi.numel():
            zero = psi.new_zeros(psi.shape[1])
            return torch.zeros_like(psi), Run(zero, 0, "memory", zero.unsqueeze(0))
        answers, runs = [], []
        for part in psi.split(max(1, ENTRIES // (len(self.shifts) * len(psi))), 1):
            x, run = self.poles(part)
            answers.append(self.combine(x))
            runs.append(run)
        return torch.cat(answers, 1), joined(runs, columns=True)

    def poles(self, psi: Tensor) -> tuple[Tensor, Run]:
        """Centered solutions `[k, N, n]` of all poles, and how good their sum is."""
        graph, goal = self.graph, max(self.tol - self.error, self.tol / 4) / 2
        x, layers, history = multishift(graph, psi, self.shifts, self.cost, goal, self.max_layers)
        norm = per_graph_sum(graph, psi.square()).sqrt()
        residual, extra = torch.zeros_like(norm[0]), 0
        for column in range(len(x)):
            one, of_one = psi[:, column : column + 1], norm[:, column : column + 1]
            found, bound = self._measured(x[column].t(), one, of_one)
            for _ in range(ROUNDS):
                worst, steps = float(bound.max()), min(POLISH, self.max_layers - layers)
                if not self.tol < worst < 1 or steps <= 0:
                    break
                more, steps = self._corrected(found, one, of_one, goal, steps)
                better, after = self._measured(more, one, of_one)
                extra = max(extra, steps)
                if not float(after.max()) < worst:
                    break
                found, bound = better, after
            x[column], residual[column] = found.t(), bound.max()
        layers += extra
        history = torch.cat([history, residual.expand(extra, -1)]) + self.error * (history[:1] > 0)
        return x, Run(residual, layers, "memory", history, self._verdict(residual, layers))

    def _left(self, x: Tensor, psi: Tensor) -> Tensor:
        """`[n, N]` residuals of the poles, for their solutions `[n, N]` and one column of demands `[n, 1]`."""
        return psi - laplacian_product(self.graph)(x) - self._per_node(self.shifts.t()) * x

    def _measured(self, x: Tensor, psi: Tensor, norm: Tensor) -> tuple[Tensor, Tensor]:
        """The solutions `[n, N]` centered, and the bounds `[g]` of the residual of their sum."""
        x = self.graph.center(x.contiguous())
        size = per_graph_sum(self.graph, self._left(x, psi).square()).sqrt() / torch.where(norm > 0, norm, 1.0)
        return x, torch.where(norm[:, 0] > 0, (size * self.cost.t()).sum(1) + self.error, 0.0)

    def _corrected(self, x: Tensor, psi: Tensor, norm: Tensor, goal: float, limit: int) -> tuple[Tensor, int]:
        """The solutions with what rounding has left of the residuals taken away, by at most `limit` layers."""

        def enough(size: Tensor) -> bool:
            return bool(((size * self.cost.t()).sum(1) <= goal * norm[:, 0]).all())

        left = self.graph.center(self._left(x, psi))
        more, steps = corrections(self.graph, left, self._per_node(self.shifts.t()), enough, limit)
        return x + more, steps

    def combine(self, x: Tensor) -> Tensor:
        """`[n, k]` sum over the poles."""
        return torch.einsum("nj,kjn->nk", self._per_node(self.weights.t()).expand(x.shape[2], -1), x)

    def _per_node(self, values: Tensor) -> Tensor:
        return values if self.graph.num_graphs == 1 else values[self.graph.batch]

    def _verdict(self, residual: Tensor, layers: int) -> str:
        worst = float(residual.max())
        if worst <= self.tol:
            return ""
        stopped = layers >= self.max_layers
        reason = f"max_layers={self.max_layers} was reached" if stopped else limit_of_rounding(self.graph)
        return (
            f"'memory' reached a relative residual of {worst:.1e} in {layers} layer(s), but tol={self.tol:.1e}: "
            f"{reason}. The best answer is in .solution"
        )


class ImplicitRoot(torch.autograd.Function):
    r"""The root by :class:`MemoryRoot`, differentiable (once) in the demands and the conductances.

    .. math:: y_j = (L + s_j)^{-1} \bar x, \qquad \bar\psi = \sum_j c_j y_j, \qquad
        \bar w_e = -\sum_j c_j \sum_k (x_{juk} - x_{jvk}) (y_{juk} - y_{jvk}) \quad\text{for } e = (u, v)

    One adjoint run, no eigenvectors: finite on graphs with symmetries.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, psi: Tensor, root: MemoryRoot, report: list[Run]) -> Tensor:
        """Demands `[n, k]`, centered; the run is appended to `report`."""
        x, run = root.poles(psi.detach())
        report.append(run)
        ctx.root = root
        ctx.save_for_backward(x)
        return root.combine(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """One run with the gradient as demands."""
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "second derivatives of (L^+)^(1/2) are not implemented; leave out create_graph=True, or use "
                "method='gradient'"
            )
        (x,) = ctx.saved_tensors
        root: MemoryRoot = ctx.root
        y, run = root.poles(root.graph.center(gradients[0]))
        of_psi = root.combine(y)
        if run.failed:
            solution = Solution.of(of_psi, run.residual, run.num_layers, run.method)
            raise ConvergenceError(f"the adjoint system of the gradient: {run.failed}", solution)
        of_weight = None
        if ctx.needs_input_grad[0]:
            u, v = root.graph.index
            of_weight = torch.zeros_like(root.graph.weight)
            for j, c in enumerate(root.weights):
                inner = ((x[:, j, u] - x[:, j, v]) * (y[:, j, u] - y[:, j, v])).sum(0)
                of_weight -= (c if len(c) == 1 else c[root.graph.batch[u]]) * inner
        return of_weight, of_psi if ctx.needs_input_grad[1] else None, None, None


def memory_root(graph: Incidence, psi: Tensor, tol: float, max_layers: int | None) -> tuple[Tensor, Run]:
    """`(L^+)^{1/2} psi` for `[n, k]` centered demands with gradients to them and to the weights; see `MemoryRoot`."""
    plain = graph._replace(weight=graph.weight.detach().double())
    root = MemoryRoot(plain, tol, 20 * graph.num_nodes + 1000 if max_layers is None else max_layers)
    if torch.is_grad_enabled() and psi.numel() and (psi.requires_grad or graph.weight.requires_grad):
        report: list[Run] = []
        x = ImplicitRoot.apply(graph.weight.double(), plain.center(psi.double()), root, report)
        return x, report[0]
    return root(plain.center(psi.double()))


def eigenvalue_interval(graph: Incidence) -> tuple[Tensor, Tensor]:
    r"""`[num_graphs]` proven bounds of the positive eigenvalues; both 1 without edges.

    Source: Mohar, "Eigenvalues, diameter, and mean distance in graphs", Graphs and Combinatorics 1991 (the lower one).
    """
    parts = graph.split_components()
    nodes = torch.bincount(parts.batch, minlength=parts.num_graphs).to(graph.dtype)
    lightest = torch.full_like(nodes, math.inf)
    lightest = lightest.scatter_reduce(0, parts.batch[graph.index[0]], graph.weight, "amin")
    low = 4 * lightest / (nodes * (nodes - 1)).clamp(min=1)  # infinite without edges
    every = torch.full((graph.num_graphs,), math.inf, dtype=graph.dtype, device=graph.device)
    low = every.scatter_reduce(0, graph.batch, low[parts.batch], "amin")
    return torch.where(low < math.inf, low, 1.0), torch.where(low < math.inf, graph.lambda_bound(), 1.0)


def joined(runs: list[Run], columns: bool) -> Run:
    """The report of runs with different columns, or else with different graphs."""
    rows = max(len(run.history) for run in runs)
    histories = [torch.cat([run.history, run.history[-1:].expand(rows - len(run.history), -1)]) for run in runs]
    residuals = [run.residual for run in runs]
    return Run(
        torch.cat(residuals) if columns else torch.stack(residuals).amax(0),
        max(run.num_layers for run in runs),
        " and ".join(dict.fromkeys(run.method for run in runs)),
        torch.cat(histories, 1) if columns else torch.stack(histories).amax(0),
        next((run.failed for run in runs if run.failed), ""),
    )
