"""Laplacian systems `L x = psi`: the options that all solvers share, and the way from demands to potentials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.adjoint import ImplicitSolve
from graphtf.solvers.auto import AdaptiveSolver
from graphtf.solvers.kernels import compiled_laplacian
from graphtf.solvers.linear_cg import relative_residual
from graphtf.solvers.linear_fixed import contraction, depth_for_tolerance, proven_bound, run_fixed
from graphtf.solvers.linear_learned import check_solver, run_transformer
from graphtf.solvers.solution import ConvergenceError, Solution
from graphtf.transformer import LinearTransformer
from graphtf.validate import check_choice, check_positive_int

Method = (
    Literal["auto", "gradient", "chebyshev", "multiplicative", "memory", "preconditioned", "dense"] | LinearTransformer
)
METHODS = ("auto", "gradient", "chebyshev", "multiplicative", "memory", "preconditioned", "dense")
FIXED = ("gradient", "chebyshev", "multiplicative")


@dataclass(frozen=True)
class Options:
    """What the keywords `method`, `tol`, `max_layers`, `generator` and `history` say, checked.

    Raises:
        TypeError: one of them has the wrong type.
        ValueError: the method is unknown, or a number is out of range.
    """

    method: str | LinearTransformer = "auto"
    tol: float | None = None
    max_layers: int | None = None
    generator: torch.Generator | None = None
    history: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.method, LinearTransformer):
            check_solver(self.method, self.max_layers)
        else:
            check_choice("method", self.method, METHODS)
        if self.tol is not None:
            if isinstance(self.tol, bool) or not isinstance(self.tol, Real):
                raise TypeError(f"tol must be a number, but got {self.tol!r} ({type(self.tol).__name__})")
            if not 0 < self.tol < 1:
                raise ValueError(f"tol is a relative residual between 0 and 1, but got {self.tol}")
            object.__setattr__(self, "tol", float(self.tol))
        if self.max_layers is not None:
            object.__setattr__(self, "max_layers", check_positive_int("max_layers", self.max_layers))
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, but got {type(self.generator).__name__}")

    def tolerance(self, dtype: torch.dtype) -> float:
        """`tol`, by default 1e-8 in float64 and 1e-5 in float32."""
        return self.tol if self.tol is not None else (1e-8 if dtype == torch.float64 else 1e-5)


def as_demands(
    graph: Incidence, demands: Any, uncentered: str, dtype: torch.dtype | None = None
) -> tuple[Incidence, Tensor]:
    """Operator and demands in one floating type (`dtype`, or the wider one), demands centered per component in float64.

    Raises:
        TypeError: the demands are no real tensor.
        ValueError: they have the wrong shape or are not finite, or do not sum to zero and `uncentered="raise"`.
    """
    check_choice("uncentered", uncentered, ("project", "raise"))
    if not isinstance(demands, Tensor):
        raise TypeError(f"demands must be a torch.Tensor [n] or [n, k], but got {type(demands).__name__}")
    if demands.dim() not in (1, 2) or demands.shape[0] != graph.num_nodes:
        raise ValueError(
            f"demands must have shape [{graph.num_nodes}] or [{graph.num_nodes}, k], but have {list(demands.shape)}"
        )
    if demands.device != graph.device:
        raise ValueError(f"demands are on {demands.device}, but the graph is on {graph.device}; move one of them")
    if demands.is_complex():
        raise TypeError(f"demands must be real, but have dtype {demands.dtype}; solve for the two parts")
    # Terms of a finite sum are finite; the sum is several times faster.
    finite = not demands.is_floating_point() or bool(torch.isfinite(demands.detach().sum()))
    if not finite and not bool(torch.isfinite(demands).all()):
        raise ValueError(f"demands must be finite, but {int((~torch.isfinite(demands)).sum())} entries are not")
    if dtype is None and demands.dtype == torch.float64 and graph.dtype != torch.float64:
        graph = graph.to(torch.float64)
    if graph.num_graphs == 1:
        compiled_laplacian(graph)  # labels the components on its way
    graph.components()  # kept for both operators
    psi = demands.double()
    exact = graph if graph.dtype == torch.float64 else graph._replace(weight=graph.weight.detach().double())
    centered = exact.center(psi)
    if uncentered == "raise":
        off = (psi - centered).detach().abs().amax() if psi.numel() else psi.new_zeros(())
        limit = 1e3 * torch.finfo(graph.dtype).eps * (psi.detach().abs().amax() if psi.numel() else 0.0)
        if bool(off > limit):
            raise ValueError(
                f"demands must sum to zero on every component, but are off by up to {float(off):.3g} a node; center "
                "them, or pass uncentered='project'"
            )
    return graph, centered.to(graph.dtype)


def solve(graph: Incidence, psi: Tensor, options: Options, solver: AdaptiveSolver | None = None) -> Solution:
    r"""Potentials `x = L^+ psi` with zero mean on every component.

    Args:
        graph: plain operator.
        psi: `[n]` or `[n, k]` centered demands in its dtype.
        options: the user's choice.
        solver: what :func:`solver_of` gives, to reuse what other demands on the same graph have cost.

    Returns:
        A solution of the shape of `psi`, with gradients to `psi` and the conductances.

    Raises:
        ConvergenceError: an adaptive method did not reach the tolerance.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> solve(edge, torch.tensor([2.0, -2.0]), Options())
        Solution(tensor([ 0.5000, -0.5000]), residual=..., num_layers=0, method='dense')
    """
    columns = psi if psi.dim() == 2 else psi.unsqueeze(1)
    solver = solver_of(graph, options) if solver is None else solver
    if solver is not None:
        x, report = _adaptive(graph, columns, options, solver)
    else:
        run = _learned if isinstance(options.method, LinearTransformer) else _fixed
        x, report = run(graph, columns, options)
    flat = psi.dim() == 1
    history = report["history"]
    if history is not None:
        report["history"] = history.squeeze(1) if flat else history
    residual = report.pop("residual")
    failed = report.pop("failed", "")
    solution = Solution.of(x.squeeze(1) if flat else x, residual.squeeze(0) if flat else residual, **report)
    if failed:
        raise ConvergenceError(failed, solution)
    return solution


def _fixed(graph: Incidence, psi: Tensor, options: Options) -> tuple[Tensor, dict[str, Any]]:
    rate, layers, method = contraction(graph), options.max_layers, cast(str, options.method)
    if layers is None:
        layers = depth_for_tolerance(rate, options.tolerance(psi.dtype), method)
    x, history = run_fixed(graph, psi, layers, method, options.history)
    x = graph.center(x)
    report = {
        "residual": relative_residual(graph, psi, x).detach(),
        "num_layers": layers,
        "method": method,
        "bound": torch.tensor(proven_bound(rate, layers, method), dtype=torch.float64, device=psi.device),
        "history": history,
    }
    return x, report


def _learned(graph: Incidence, psi: Tensor, options: Options) -> tuple[Tensor, dict[str, Any]]:
    transformer = cast(LinearTransformer, options.method)
    x, history = run_transformer(graph, psi, transformer, options.history)
    x = graph.center(x)
    residual = relative_residual(graph, psi, x).detach()
    report = {"residual": residual, "num_layers": transformer.num_layers, "method": "learned", "history": history}
    worst = float(residual.max()) if residual.numel() else 0.0
    if not math.isfinite(worst):
        report["failed"] = "the layers of method diverge on this graph: their coefficients do not fit its spectrum"
    elif options.tol is not None and worst > options.tol:
        report["failed"] = (
            f"the {transformer.num_layers} layers of method reached a relative residual of {worst:.1e}, but "
            f"tol={options.tol:.1e}; leave tol out to take what they give, or use method='auto'"
        )
    return x, report


def solver_of(graph: Incidence, options: Options) -> AdaptiveSolver | None:
    """The solver of an adaptive method, in the dtype of the graph; `None` for another method."""
    if isinstance(options.method, LinearTransformer) or options.method in FIXED:
        return None
    return AdaptiveSolver(graph, options.method, options.tolerance(graph.dtype), options.max_layers, options.generator)


def _adaptive(graph: Incidence, psi: Tensor, options: Options, solver: AdaptiveSolver) -> tuple[Tensor, dict[str, Any]]:
    solver.first = None
    if torch.is_grad_enabled() and (psi.requires_grad or graph.weight.requires_grad):
        x = ImplicitSolve.apply(graph.weight, psi, graph.index, solver.strict, graph.center)
    else:
        x = solver.strict(psi)
    run = solver.first
    if run is None:
        raise RuntimeError("the solver has not run")
    report = {
        "residual": run.residual.to(psi.dtype),
        "num_layers": run.num_layers,
        "method": run.method,
        "history": run.history.to(psi.dtype) if options.history else None,
    }
    if run.failed:
        report["failed"] = run.failed
        x = x.detach()
    return x, report
