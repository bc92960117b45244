"""The square root of the inverse Laplacian: by eigenvalues, by layers with memory, or by the paper's power series."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.constructions import resistive_embedding
from graphtf.incidence import Incidence
from graphtf.solvers.linear import Options
from graphtf.solvers.linear_cg import relative_size
from graphtf.solvers.linear_fixed import contraction, depth_for_tolerance
from graphtf.solvers.linear_parts import selected
from graphtf.solvers.linear_system import Run
from graphtf.solvers.root_dense import LARGEST, dense_root
from graphtf.solvers.root_memory import joined, memory_root
from graphtf.solvers.solution import ConvergenceError, Solution

METHODS = ("auto", "dense", "gradient", "memory")
DENSE_NODES = 512  # up to here eigenvalues are faster, and close to any tolerance


def square_root(graph: Incidence, psi: Tensor, options: Options) -> Solution:
    """`(L^+)^{1/2} psi` for centered demands; see :func:`graphtf.solvers.resistive_embedding`."""
    columns = psi if psi.dim() == 2 else psi.unsqueeze(1)
    if options.method not in METHODS:
        names = ", ".join(repr(name) for name in METHODS)
        raise ValueError(f"(L^+)^(1/2) of demands has the methods {names}, but got {options.method!r}")
    bound = None
    if options.method == "gradient":
        x, run, bound = _series(graph, columns, options)
    else:
        x, run = _adaptive(graph, columns, options)
    if run.failed:
        x = x.detach()
    residual, history = run.residual.to(psi.dtype), run.history.to(psi.dtype) if options.history else None
    if psi.dim() == 1:
        x, residual = x.squeeze(1), residual.squeeze(0)
        history = None if history is None else history.squeeze(1)
    solution = Solution.of(x.to(psi.dtype), residual, run.num_layers, run.method, bound, history)
    if run.failed:
        raise ConvergenceError(run.failed, solution)
    return solution


def _adaptive(graph: Incidence, psi: Tensor, options: Options) -> tuple[Tensor, Run]:
    """In float64; for `"auto"` small graphs of about one size together, and large ones each alone."""
    tol = options.tolerance(psi.dtype)
    if options.method == "dense":
        return dense_root(graph, psi, tol)
    if options.method == "memory":
        return memory_root(graph, psi, tol, options.max_layers)
    sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
    small = sizes <= DENSE_NODES
    # Powers of two, since graphs are padded to the largest one beside them.
    group = torch.where(
        small, sizes.clamp(min=1).double().log2().ceil().long(), 64 + torch.arange(len(sizes)).to(sizes)
    )
    numbers = torch.unique(group).tolist()
    x, runs = torch.zeros_like(psi, dtype=torch.float64), []
    for number in numbers:
        part, nodes = (graph, None) if len(numbers) == 1 else selected(graph, group == number)
        demands = psi if nodes is None else psi[nodes]
        if number < 64:
            answer, run = dense_root(part, demands, tol)
        else:
            answer, run = memory_root(part, demands, tol, options.max_layers)
            if run.failed and part.num_nodes <= LARGEST:
                answer, run = dense_root(part, demands, tol)
        x = answer if nodes is None else x.index_copy(0, nodes, answer)
        runs.append(run)
    return (x, joined(runs, columns=False)) if runs else dense_root(graph, psi, tol)


def _series(graph: Incidence, psi: Tensor, options: Options) -> tuple[Tensor, Run, Tensor]:
    r""":math:`\sqrt\delta \sum_{j<l} a_j (I - \delta L)^j \psi` with the coefficients of :math:`(1 - t)^{-1/2}`."""
    rate, layers = contraction(graph), options.max_layers
    if layers is None:
        layers = depth_for_tolerance(rate, options.tolerance(psi.dtype), "gradient")
    scaled = graph.normalized("spectral")
    bound = graph.lambda_bound()[graph.batch].unsqueeze(1)
    scale = torch.where(bound > 0, bound, 1.0).rsqrt().to(psi.dtype) * (bound > 0)
    transformer = resistive_embedding(layers, 1.0, dtype=psi.dtype)
    x = transformer(scaled, psi=psi, layout="sparse") * scale

    def residual(depth: int) -> Tensor:
        """Of the square of the series, which tends to the inverse."""
        part = resistive_embedding(depth, 1.0, dtype=psi.dtype)
        with torch.no_grad():
            y = part(scaled, psi=part(scaled, psi=psi, layout="sparse") * scale, layout="sparse") * scale
            return relative_size(graph, psi, psi - graph.laplacian @ y)

    last = residual(layers)
    history = last.unsqueeze(0)
    if options.history:
        start = relative_size(graph, psi, psi.detach())
        history = torch.stack([start, *(residual(depth) for depth in range(1, layers)), last])
    relative = torch.tensor(rate**layers, dtype=torch.float64, device=psi.device)
    return graph.center(x), Run(last, layers, "gradient", history), relative
