"""One Laplacian system solved to a tolerance: first answer, corrections for rounding, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.kernels import BLOCK, compiled_laplacian
from graphtf.solvers.linear_blocks import LARGEST_BUFFER, GroundedBlocks
from graphtf.solvers.linear_cg import conjugate_gradient, jacobi, relative_size
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.preconditioner import ApproximateCholesky, has_approximate_cholesky

WORTH = 100  # steps of conjugate gradient that cost as much as an approximate factor and its solves
ROUNDS = 4  # solves for what rounding has left
NAMES = {
    "dense": "dense",
    "memory": "memory",
    "jacobi": "preconditioned (Jacobi)",
    "cholesky": "preconditioned (approximate Cholesky)",
}


@dataclass
class Run:
    """How a solve went: `[k]` residuals, depth, method, `[num_layers + 1, k]` history, why it stopped too early."""

    residual: Tensor
    num_layers: int
    method: str
    history: Tensor
    failed: str = ""


class LinearSystem:
    """The Laplacian of some graphs that are solved together, and what one method has computed about it.

    Args:
        graph: plain operator in float64, without gradients.
        kind: `"dense"`, `"memory"` (conjugate gradient), `"jacobi"`, `"cholesky"`, or `"auto"`, which is one of the
            last two after a probe (for a single graph).
        seed: of the approximate Cholesky factor.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64))
        >>> x, run = LinearSystem(edge, "memory").solve(torch.tensor([[2.0], [-2.0]], dtype=torch.float64), 1e-8, 9)
        >>> x.flatten().round(decimals=6).tolist(), run.num_layers
        ([0.5, -0.5], 1)
    """

    def __init__(self, graph: Incidence, kind: str, seed: int = 0) -> None:
        self.graph, self.kind, self.seed = graph, kind, seed
        self._blocks: GroundedBlocks | None = None
        self._compiled = compiled_laplacian(graph) if graph.num_graphs == 1 else None
        self._factor: ApproximateCholesky | None = None

    def solve(self, psi: Tensor, tol: float, max_layers: int) -> tuple[Tensor, Run]:
        """Potentials for `[n, k]` centered demands, and how good they are."""
        graph = self.graph
        x, layers, history = self._once(psi, tol, max_layers)
        x = graph.center(x)
        left, residual = self._left(psi, x)
        if bool((residual > 1).any()):  # zero is a better answer
            x = torch.where(residual > 1, 0.0, x)
            left, residual = self._left(psi, x)
        rows = [history]
        for _ in range(ROUNDS):
            worst = float(residual.max()) if residual.numel() else 0.0
            if worst <= tol or (layers >= max_layers and layers > 0) or not worst < 1:
                break
            extra, steps, history = self._once(graph.center(left), min(tol / worst / 2, 0.5), max_layers - layers)
            better = x + graph.center(extra)
            rest, after = self._left(psi, better)
            layers += steps
            rows.append(history[1:] * residual)
            keep = after < residual
            if not bool(keep.any()):
                break
            x, left = torch.where(keep, better, x), torch.where(keep, rest, left)
            residual = torch.where(keep, after, residual)
        return x, Run(
            residual, layers, NAMES[self.kind], torch.cat(rows), self._verdict(residual, tol, layers, max_layers)
        )

    def _left(self, psi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """`psi - L x` and its relative size, `[k]`."""
        product = self.graph.laplacian @ x if self._compiled is None else self._compiled.matmul(x)
        left = psi - product
        return left, relative_size(self.graph, psi, left)

    def _verdict(self, residual: Tensor, tol: float, layers: int, max_layers: int) -> str:
        worst = float(residual.max()) if residual.numel() else 0.0
        if worst <= tol:
            return ""
        reason = f"max_layers={max_layers} was reached" if layers >= max_layers else limit_of_rounding(self.graph)
        return (
            f"{NAMES[self.kind]!r} reached a relative residual of {worst:.1e} in {layers} layer(s), but tol={tol:.1e}: "
            f"{reason}. The best answer is in .solution"
        )

    def _once(self, psi: Tensor, tol: float, limit: int) -> tuple[Tensor, int, Tensor]:
        if self.kind == "dense":
            x = self._dense_blocks().solve(psi)
            return x, 0, self._left(psi, x)[1].unsqueeze(0)
        if self.kind == "auto":
            done = self._probe(psi, tol, limit)
            if done is not None:
                return done
        if self.kind == "cholesky":
            if self._factor is None:
                self._factor = ApproximateCholesky(self.graph, self.seed)
            if self._compiled is not None:
                return self._compiled.preconditioned(psi, tol, limit, self._factor.apply)
            return conjugate_gradient(self.graph, psi, tol, limit, self._factor, keep_best=True)
        return self._conjugate_gradient(psi, tol, limit, 0)

    def _dense_blocks(self) -> GroundedBlocks:
        if self._blocks is None:
            sizes = torch.bincount(self.graph.batch, minlength=self.graph.num_graphs)
            entries = int((sizes * sizes).sum())
            if entries > LARGEST_BUFFER:
                raise ValueError(
                    f"dense factors of these graphs have {entries:,} entries, more than {LARGEST_BUFFER:,}; use "
                    "method='auto', or pass fewer graphs at a time"
                )
            self._blocks = GroundedBlocks(self.graph)
        return self._blocks

    def _conjugate_gradient(self, psi: Tensor, tol: float, limit: int, stop_at: int) -> tuple[Tensor, int, Tensor]:
        graph, scaled = self.graph, self.kind != "memory"
        if self._compiled is not None:
            return self._compiled.conjugate_gradient(psi, tol, limit, scaled, stop_at)
        return conjugate_gradient(graph, psi, tol, limit, jacobi(graph) if scaled else None, stop_at, keep_best=True)

    def _probe(self, psi: Tensor, tol: float, limit: int) -> tuple[Tensor, int, Tensor] | None:
        """Jacobi on the first columns: go on if that is fast, else choose the approximate factor."""
        factor = has_approximate_cholesky() and self.graph.device.type == "cpu"
        x, steps, history = self._conjugate_gradient(psi[:, :BLOCK], tol, limit, WORTH if factor else 0)
        if factor and steps < limit and steps > 0 and bool((history[-1] > tol).any()):
            self.kind = "cholesky"
            return None
        self.kind = "jacobi"
        if psi.shape[1] <= BLOCK:
            return x, steps, history
        x2, steps2, history2 = self._once(psi[:, BLOCK:], tol, limit)
        rows = max(len(history), len(history2))
        histories = [torch.cat([h, h[-1:].expand(rows - len(h), -1)]) for h in (history, history2)]
        return torch.cat([x, x2], 1), max(steps, steps2), torch.cat(histories, 1)
