"""One Laplacian system solved to a tolerance: first answer, corrections for rounding, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.elimination import Elimination
from graphtf.solvers.kernels import compiled_laplacian
from graphtf.solvers.linear_blocks import LARGEST_BUFFER, GroundedBlocks
from graphtf.solvers.linear_cg import PROBE_STEPS, conjugate_gradient, is_slow, jacobi, relative_size
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.preconditioner import ApproximateCholesky, SparseFactor, has_approximate_cholesky, has_scipy
from graphtf.solvers.separators import has_small_separators

WORTH = 100  # steps of conjugate gradient that cost as much as an approximate factor and its solves
DENSE_NODES = 512  # a dense factor of a graph of this size is faster than any iteration
MANY = 4  # right-hand sides from which on a complete sparse factor is worth its time
CLEAR = 40  # expected steps that need no second look
SWEPT = 6  # right-hand sides from which on sweeps of Gauss-Seidel, sixteen at a time, are faster than products
SINGLE = 3e-5  # what a few columns reach at least in one round of single precision, where Jacobi is fast
ENDS = 0.01  # share of nodes of one or two neighbors from which on elimination is tried
ROUNDS = 4  # solves for what rounding has left
NAMES = {
    "dense": "dense",
    "memory": "memory",
    "jacobi": "preconditioned (Jacobi)",
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
        kind: `"dense"`, `"memory"` (conjugate gradient), `"jacobi"`, `"factor"` (elimination, then a sparse factor:
            complete for many right-hand sides on graphs with small separators, else approximate), or `"auto"`, which
            is one of the last two after a probe (for a single graph).
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
        self._factor: ApproximateCholesky | SparseFactor | None = None
        self._elimination: Elimination | None = None
        self._rest: LinearSystem | None = None  # what the elimination leaves
        self._mesh: bool | None = None  # whether a complete factor stays sparse
        self._swept = False  # the last answer came from Gauss-Seidel, with its true residuals
        self._easy = False  # a few steps without a factor are enough

    @property
    def name(self) -> str:
        """The method in words."""
        if self._rest is not None:
            parts = ["elimination"]
            if self._rest.graph.num_nodes:
                parts.append(self._rest.name.removeprefix("preconditioned (").removesuffix(")"))
            return f"preconditioned ({', '.join(parts)})"
        if self._factor is not None:
            kind = "sparse factor" if isinstance(self._factor, SparseFactor) else "approximate Cholesky"
            return f"preconditioned ({kind})"
        return "preconditioned (Gauss-Seidel)" if self._swept else NAMES[self.kind]

    def solve(self, psi: Tensor, tol: float, max_layers: int) -> tuple[Tensor, Run]:
        """Potentials for `[n, k]` centered demands, and how good they are."""
        graph = self.graph
        x, layers, history = self._once(psi, tol, max_layers)
        x = graph.center(x)
        if self._swept and psi.shape[1] > 1 and bool((history[-1] <= tol).all()):  # the true residuals
            return x, Run(history[-1], layers, self.name, history, "")
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
            if bool(keep.all()):
                x, left, residual = better, rest, after
            else:
                x, left = torch.where(keep, better, x), torch.where(keep, rest, left)
                residual = torch.where(keep, after, residual)
        return x, Run(residual, layers, self.name, torch.cat(rows), self._verdict(residual, tol, layers, max_layers))

    def _left(self, psi: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """`psi - L x` and its relative size, `[k]`."""
        if self._compiled is not None:
            return self._compiled.residual(psi, x)
        left = psi - self.graph.laplacian @ x
        return left, relative_size(self.graph, psi, left)

    def _verdict(self, residual: Tensor, tol: float, layers: int, max_layers: int) -> str:
        worst = float(residual.max()) if residual.numel() else 0.0
        if worst <= tol:
            return ""
        reason = f"max_layers={max_layers} was reached" if layers >= max_layers else limit_of_rounding(self.graph)
        return (
            f"{self.name!r} reached a relative residual of {worst:.1e} in {layers} layer(s), but tol={tol:.1e}: "
            f"{reason}. The best answer is in .solution"
        )

    def _once(self, psi: Tensor, tol: float, limit: int) -> tuple[Tensor, int, Tensor]:
        self._swept = False
        if self.kind == "dense":
            x = self._dense_blocks().solve(psi)
            return x, 0, self._left(psi, x)[1].unsqueeze(0)
        if self.kind == "auto" or self._easy:
            done = self._light(psi, tol, limit)
            self.kind = "factor" if done is None else "jacobi"
            if done is not None:
                return done
            self._easy = False
        if self.kind == "factor":
            self._choose(psi.shape[1])
        if self._rest is not None and self._elimination is not None:
            return self._reduced(self._elimination, self._rest, psi, tol, limit)
        if isinstance(self._factor, SparseFactor):
            x = self._factor(psi)
            left = self._left(psi, x)[1]
            return x, 1, torch.stack([torch.ones_like(left), left])
        if isinstance(self._factor, ApproximateCholesky):
            if self._compiled is not None:
                return self._compiled.conjugate_gradient(psi, tol, limit, apply=self._factor.apply)
            return conjugate_gradient(self.graph, psi, tol, limit, self._factor, keep_best=True)
        return self._conjugate_gradient(psi, tol, limit, 0)

    def _choose(self, columns: int) -> None:
        """Eliminate what can be, and choose the factor of the rest; anew when many columns come after few."""
        graph = self.graph
        if self._rest is None and self._factor is None and self._compiled is not None and self._compiled.ends > ENDS:
            elimination = Elimination(graph)
            if elimination.worth:
                kind = "dense" if elimination.rest.num_nodes <= DENSE_NODES else "auto"
                self._elimination, self._rest = elimination, LinearSystem(elimination.rest, kind, self.seed)
        if self._rest is not None or isinstance(self._factor, SparseFactor):
            return
        approximate = has_approximate_cholesky()
        if (columns >= MANY or not approximate) and self._is_mesh():
            self._factor = SparseFactor(graph)
        elif self._factor is None and approximate:
            self._factor = ApproximateCholesky(graph, self.seed)
        elif self._factor is None:
            self.kind = "jacobi"

    def _is_mesh(self) -> bool:
        if self._mesh is None:
            self._mesh = has_scipy() and has_small_separators(self.graph.laplacian_scipy())
        return self._mesh

    def _reduced(
        self, elimination: Elimination, rest: LinearSystem, psi: Tensor, tol: float, limit: int
    ) -> tuple[Tensor, int, Tensor]:
        """Solve on what the elimination leaves; the residual there is the one of the whole graph."""
        handed, psi_rest = elimination.forward(psi)
        if not len(elimination.nodes):
            x = elimination.backward(handed, psi_rest)
            return x, 1, torch.stack([torch.ones_like(psi[0]), self._left(psi, x)[1]])
        psi_rest = elimination.rest.center(psi_rest)
        whole, part = psi.norm(dim=0), psi_rest.norm(dim=0)
        ratio = torch.where(part > 0, whole / torch.where(part > 0, part, 1.0), 1.0)
        goal = min(tol * float(ratio.min()), 0.5)
        x, layers, history = rest._once(psi_rest, goal, limit)
        return elimination.backward(handed, x), layers, history / ratio

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

    def _conjugate_gradient(
        self, psi: Tensor, tol: float, limit: int, stop_at: int, single: bool = False
    ) -> tuple[Tensor, int, Tensor]:
        graph, scaled = self.graph, self.kind != "memory"
        if self._compiled is not None:
            dtype = torch.float32 if single else torch.float64
            return self._compiled.conjugate_gradient(psi, tol, limit, scaled, stop_at=stop_at, dtype=dtype)
        return conjugate_gradient(graph, psi, tol, limit, jacobi(graph) if scaled else None, stop_at, keep_best=True)

    def _light(self, psi: Tensor, tol: float, limit: int) -> tuple[Tensor, int, Tensor] | None:
        """Gauss-Seidel or Jacobi as long as it is fast, several columns in float32, corrected later; `None` if not."""
        compiled = self._compiled is not None
        hard = compiled or (has_approximate_cholesky() and self.graph.device.type == "cpu")
        single = compiled and psi.shape[1] > 1
        goal = max(tol, SINGLE) if single else tol
        if single and not self._easy and self._one_is_slow(psi[:, :1], tol, limit):
            return None
        swept = self._compiled is not None and (psi.shape[1] == 1 or psi.shape[1] >= SWEPT)
        if self._compiled is not None and swept:
            goal = tol
            x, steps, history = self._compiled.gauss_seidel(psi, tol, limit, WORTH)
        else:
            x, steps, history = self._conjugate_gradient(psi, goal, limit, WORTH if hard else 0, single)
        if hard and 0 < steps < limit and bool((history[-1] > goal).any()):
            return None
        self._easy, self._swept = hard, swept
        return x, steps, history

    def _one_is_slow(self, psi: Tensor, tol: float, limit: int) -> bool:
        """A look at one right-hand side, since many take long on a large graph; longer where it is not clear."""
        for steps, worth in ((PROBE_STEPS, CLEAR), (3 * PROBE_STEPS, WORTH)):
            _, taken, history = self._conjugate_gradient(psi, tol, min(limit, steps), WORTH)
            slow = taken < limit and is_slow(float(history[-1]), taken, tol, worth)
            if not slow:
                return False
        return True
