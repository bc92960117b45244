"""Resistances of pairs of nodes: from dense blocks for small graphs, else from one system a pair or a node."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.compiled import has_numba
from graphtf.incidence import Incidence
from graphtf.solvers.kernels import COMPILED_NODES
from graphtf.solvers.linear import Options, solve, solver_of
from graphtf.solvers.linear_blocks import LARGEST_BUFFER, GroundedBlocks
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.linear_system import DENSE_NODES
from graphtf.solvers.solution import ConvergenceError, Solution

COLUMNS = 32  # systems that are solved at a time
MANY = 64  # pairs from which on a dense factor of a graph of medium size pays
MEDIUM_NODES = 4096
COMPILED_LARGEST = 128  # nodes; from there on the factors of a library are faster than plain loops


def pair_resistance(graph: Incidence, pairs: Tensor, options: Options, are_edges: bool = False) -> Solution:
    """`[P]` resistances of `[2, P]` pairs, `are_edges` if every one is the ends of an edge (or a self-loop)."""
    if are_edges and _compiled(graph, options):
        return _from_loops(graph, pairs, options)
    labels = graph.components()
    u, v = pairs
    joined = labels[u] == labels[v]
    if _dense(graph, options, pairs.shape[1]):
        return _from_blocks(graph, u, v, joined, options)
    return _from_systems(graph, u, v, joined, options)


def total_resistance(graph: Incidence, options: Options) -> Solution:
    """`[num_graphs]` sums over all pairs; see :func:`graphtf.solvers.effective_graph_resistance`."""
    labels = graph.components()
    nodes = torch.bincount(graph.batch, minlength=graph.num_graphs)
    owner = graph.batch.new_zeros(int(labels.max()) + 1 if labels.numel() else 0)
    owner[labels] = graph.batch
    connected = torch.bincount(owner, minlength=graph.num_graphs) <= 1
    everyone = torch.arange(graph.num_nodes, device=graph.device)
    # From one node r of every component: n tr(L^+) = n sum_u G_uu - 1^T G 1 with G grounded at r.
    if _dense(graph, options, graph.num_nodes):
        blocks, residual = _checked_blocks(graph, options)
        ones = torch.ones(graph.num_nodes, 1, dtype=torch.float64, device=graph.device)
        total = nodes[graph.batch] * blocks.diagonal() - blocks.solve(ones).squeeze(1)
        value = total.new_zeros(graph.num_graphs).index_add(0, graph.batch, total)
        worst = _worst_per_graph(graph, residual)
        solution = _solution(torch.where(connected, value, torch.inf), worst, graph, 0, "dense", options)
        return _kept(solution, options.tolerance(graph.dtype), graph)
    # tr(L^+) = sum_u e_u^T L^+ e_u: the centered unit vectors as demands.
    x, failure = _unit_systems(graph, everyone, None, options)
    scale = nodes[graph.batch].to(x.value.dtype)
    value = x.value.new_zeros(graph.num_graphs).index_add(0, graph.batch, x.value * scale)
    worst = _worst_per_graph(graph, x.residual)
    history = None if x.history is None else torch.stack([_worst_per_graph(graph, row) for row in x.history])
    value = torch.where(connected, value, torch.inf)
    return _or_raise(Solution.of(value, worst, x.num_layers, x.method, x.bound, history), failure)


def _worst_per_graph(graph: Incidence, residual: Tensor) -> Tensor:
    return residual.new_zeros(graph.num_graphs).scatter_reduce(0, graph.batch, residual, "amax")


def _or_raise(solution: Solution, failure: str) -> Solution:
    if failure:
        raise ConvergenceError(failure, solution)
    return solution


def _dense(graph: Incidence, options: Options, count: int) -> bool:
    if options.method not in ("auto", "dense"):
        return False
    sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
    largest, entries = int(sizes.max()) if sizes.numel() else 0, int((sizes * sizes).sum())
    if options.method == "dense":
        if largest**2 > LARGEST_BUFFER:
            raise ValueError(
                f"method='dense' would form an inverse of {largest:,} x {largest:,} entries; use method='auto'"
            )
        return True
    return largest <= (MEDIUM_NODES if count >= MANY else DENSE_NODES) and (
        entries <= LARGEST_BUFFER or largest <= DENSE_NODES
    )


def _compiled(graph: Incidence, options: Options) -> bool:
    """Whether the compiled loops take the edges: all graphs are small, and no gradient is wanted."""
    gradients = torch.is_grad_enabled() and graph.weight.requires_grad
    if gradients or options.method not in ("auto", "dense") or graph.device.type != "cpu" or not has_numba():
        return False
    return graph.num_nodes >= COMPILED_NODES and int(torch.bincount(graph.batch).max()) <= COMPILED_LARGEST


def _from_loops(graph: Incidence, pairs: Tensor, options: Options) -> Solution:
    from graphtf.solvers import kernels_small

    loops: Any = kernels_small

    u, v = (end.numpy() for end in graph.index)
    rows = loops.edge_rows(u, v, graph.num_nodes)
    weight = graph.weight.detach().double().numpy()
    largest = int(torch.bincount(graph.batch).max())
    value, residual = map(torch.from_numpy, loops.small_resistances(*rows, weight, largest))
    if pairs is not graph.index:
        found = torch.from_numpy(loops.find_edges(*rows, pairs[0].numpy(), pairs[1].numpy()))
        value = torch.cat([value, value.new_zeros(1)])[found]  # a self-loop is -1: the zero at the end
        residual = torch.cat([residual, residual.new_zeros(1)])[found]
    return _kept(_solution(value, residual, graph, 0, "dense", options), options.tolerance(graph.dtype), graph)


def _checked_blocks(graph: Incidence, options: Options) -> tuple[GroundedBlocks, Tensor]:
    """Blocks in float64 and `[n]` residuals of their columns, improved while that helps."""
    blocks = GroundedBlocks(graph if graph.dtype == torch.float64 else graph.to(torch.float64))
    residual = blocks.column_residuals()
    if residual.numel() and float(residual.max()) > options.tolerance(graph.dtype) / 2:
        before = blocks.inverse
        blocks.refine()
        refined = blocks.column_residuals()
        if float(refined.max()) < float(residual.max()):
            return blocks, refined
        blocks.inverse = before
    return blocks, residual


def _from_blocks(graph: Incidence, u: Tensor, v: Tensor, joined: Tensor, options: Options) -> Solution:
    blocks, column = _checked_blocks(graph, options)
    diagonal = blocks.diagonal()
    safe = torch.where(joined, v, u)
    value = diagonal[u] + diagonal[safe] - 2 * blocks.entries(u, safe)
    value = torch.where(joined, torch.where(u == v, 0.0, value), torch.inf)
    residual = torch.where(joined & (u != v), (column[u] + column[v]) / 2**0.5, 0.0)
    return _kept(_solution(value, residual, graph, 0, "dense", options), options.tolerance(graph.dtype), graph)


def _from_systems(graph: Incidence, u: Tensor, v: Tensor, joined: Tensor, options: Options) -> Solution:
    apart = u != v
    wanted = joined & apart
    low, high = torch.minimum(u, v), torch.maximum(u, v)
    n = max(graph.num_nodes, 1)
    key, inverse = torch.unique((low * n + high)[wanted], return_inverse=True)
    x, failure = _unit_systems(graph, key // n, key % n, options)
    value = x.value.new_zeros(len(u)).masked_scatter(wanted, x.value[inverse])
    value = torch.where(joined, value, torch.inf)
    residual = x.residual.new_zeros(len(u)).masked_scatter(wanted, x.residual[inverse])
    history = None
    if x.history is not None:
        history = x.history.new_zeros(len(x.history), len(u))
        history[:, wanted] = x.history[:, inverse]
    return _or_raise(Solution.of(value, residual, x.num_layers, x.method, x.bound, history), failure)


def _unit_systems(graph: Incidence, u: Tensor, v: Tensor | None, options: Options) -> tuple[Solution, str]:
    """Energies of the demands `e_u - e_v`, or of the centered `e_u`, a few systems at a time, and what failed."""
    values, residuals, histories, methods, layers, bound = [], [], [], [], 0, None
    failure, solver = "", solver_of(graph, options)
    for start in range(0, max(len(u), 1), COLUMNS):
        a = u[start : start + COLUMNS]
        columns = torch.arange(len(a), device=graph.device)
        psi = torch.zeros(graph.num_nodes, len(a), dtype=graph.dtype, device=graph.device)
        psi[a, columns] = 1.0
        if v is None:
            psi = graph.center(psi.detach())
        else:
            psi[v[start : start + COLUMNS], columns] = -1.0
        try:
            x = solve(graph, psi, options, solver)
        except ConvergenceError as error:
            x, failure = error.solution, failure or str(error)
        potential = x.value
        i, j = graph.index
        energy = (graph.weight.unsqueeze(1) * (potential[i] - potential[j]).square()).sum(0)
        values.append(2 * (psi * potential).sum(0) - energy)
        residuals.append(x.residual)
        layers, bound = max(layers, x.num_layers), x.bound
        methods.append(x.method)
        histories.append(x.history)
    history = None
    kept = [h for h in histories if h is not None]
    if options.history and kept:
        rows = max(len(h) for h in kept)
        history = torch.cat([torch.cat([h, h[-1:].expand(rows - len(h), -1)]) for h in kept], 1)
    method = " and ".join(dict.fromkeys(methods))
    return Solution.of(torch.cat(values), torch.cat(residuals), layers, method, bound, history), failure


def _solution(
    value: Tensor, residual: Tensor, graph: Incidence, layers: int, method: str, options: Options
) -> Solution:
    residual = residual.to(graph.dtype)
    history = residual.unsqueeze(0) if options.history else None
    return Solution.of(value.to(graph.dtype), residual, layers, method, None, history)


def _kept(solution: Solution, tol: float, graph: Incidence) -> Solution:
    worst = float(solution.residual.max()) if solution.residual.numel() else 0.0
    if worst <= tol:
        return solution
    raise ConvergenceError(
        f"dense factors reached a relative residual of {worst:.1e}, but tol={tol:.1e}: {limit_of_rounding(graph)}. "
        "The best answer is in .solution",
        solution,
    )
