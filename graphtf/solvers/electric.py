"""Electric potentials and flows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.linear import FIXED, Method, Options, as_demands, solve
from graphtf.solvers.solution import ConvergenceError, Solution


def electric_potential(
    graph: Any,
    demands: Tensor,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    uncentered: Literal["project", "raise"] = "project",
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Node potentials of the electric flow that serves given demands.

    .. math:: x = L^+ \psi, \qquad L x = \psi

    The graph is a network of conductances; `psi[u]` is the current that enters at node `u`.

    Args:
        graph: an `Incidence`, PyG `Data` or `Batch`, `edge_index`, NetworkX graph or SciPy adjacency matrix; weights
            are conductances.
        demands: `[n]` or `[n, k]` currents that enter; on every component their sum is zero, or is made so.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        uncentered: what to do with demands that do not sum to zero on a component: `"project"` subtracts their mean
            there (what would leave the component is dropped, and an isolated node gets potential zero); `"raise"`
            refuses them.
        method: `"memory"`: conjugate gradient; `"preconditioned"`: the same with the degrees as preconditioner, or, on
            graphs of at least 2,048 nodes on the CPU, after the elimination of trees and chains (package numba), with
            an approximate Cholesky factor (package approx-chol), or for four demands and more on meshes with a
            complete one (SciPy);
            `"dense"`: Cholesky; `"auto"`: dense for small graphs, else what a probe finds fastest, said in the answer;
            `"gradient"`, `"chebyshev"` (memory with fixed coefficients) and `"multiplicative"` (small graphs) are
            transformers of fixed depth, which return the proven bound of their relative error.
        tol: relative residual :math:`||\psi - L x|| / ||\psi||` of every column on every graph; by default 1e-8 in
            float64 and 1e-5 in float32. All methods but those of fixed depth keep it or raise. They compute in
            float64; the residual is that before rounding to `dtype`. Methods of fixed depth derive their depth from it.
        max_layers: number of layers to give up after, by default `20 n + 1000`; the depth of the methods of
            fixed depth.
        generator: seeds the randomised preconditioner, which by default is the same in every call.
        dtype: floating type of the answer; `None` is that of the graph, float64 if the demands are.
        history: keep the residuals of all layers.

    Returns:
        Potentials of the shape of `demands`, with zero mean on every component, as a
        :class:`~graphtf.solvers.Solution`. Gradients reach `demands` and the weights, by implicit differentiation
        except for the methods of fixed depth.

    Raises:
        ConvergenceError: an adaptive method did not reach `tol`; it carries the best answer.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1], [1, 2]])
        >>> x = electric_potential(path, torch.tensor([1.0, 0.0, -1.0]), edge_weight=torch.tensor([1.0, 2.0]))
        >>> [round(value, 4) for value in x.tolist()]
        [0.8333, -0.1667, -0.6667]
        >>> x.method
        'dense'

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025, Lemma 1.
    """
    options = Options(method, tol, max_layers, generator, history)
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    B, psi = as_demands(B, demands, uncentered, dtype)
    return solve(B, psi, options)


def electric_flow(
    graph: Any,
    demands: Tensor,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    uncentered: Literal["project", "raise"] = "project",
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Current through every edge, the flow of least energy that serves given demands.

    .. math:: f_e = w_e (x_u - x_v) \quad\text{for } e = (u, v), \qquad x = L^+ \psi

    Args:
        graph: as in :func:`electric_potential`.
        demands: `[n]` or `[n, k]` currents that enter.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        uncentered: what to do with demands that do not sum to zero on a component, `"project"` or `"raise"`.
        method: as in :func:`electric_potential`.
        tol: relative residual of the potentials, as in :func:`electric_potential`.
        max_layers: number of layers to give up after, or the depth of a method of fixed depth.
        generator: seeds what is random in the method.
        dtype: floating type of the answer; `None` is that of the graph.
        history: keep the residuals of all layers.

    Returns:
        `[E]` or `[E, k]` currents along every edge as it is listed: positive from `u` to `v`. An edge that is listed
        in both directions has its current in both, with opposite signs; parallel edges have a current each, and a
        self-loop none. `residual` is that of the potentials.

    Raises:
        ConvergenceError: as in :func:`electric_potential`; `.solution` holds the flow.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> triangle = torch.tensor([[0, 1, 0], [1, 2, 2]])
        >>> f = electric_flow(triangle, torch.tensor([1.0, 0.0, -1.0]))  # a third goes round
        >>> [round(value, 4) for value in f.tolist()]
        [0.3333, 0.3333, 0.6667]

    Reference: Doyle, Snell, "Random walks and electric networks", 1984, section 1.3.
    """
    options = Options(method, tol, max_layers, generator, history)
    B, edges = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    B, psi = as_demands(B, demands, uncentered, dtype)
    kind, conductance = B.dtype, listed_conductance(graph, edges, B, edge_weight)
    if method not in FIXED and kind != torch.float64:  # differences of potentials that are rounded would be wrong
        options = replace(options, tol=options.tolerance(kind))
        B, conductance = B.to(torch.float64), conductance.double()
        psi = B.center(psi.double())
    try:
        return _flow(solve(B, psi, options), edges, conductance, kind)
    except ConvergenceError as error:
        raise ConvergenceError(str(error), _flow(error.solution, edges, conductance, kind)) from error


def _flow(x: Solution, edges: Tensor, conductance: Tensor, dtype: torch.dtype) -> Solution:
    potential = x.value
    drop = potential[edges[0]] - potential[edges[1]]
    flow = drop * (conductance if drop.dim() == 1 else conductance.unsqueeze(1))
    history = None if x.history is None else x.history.to(dtype)
    return Solution.of(flow.to(dtype), x.residual.to(dtype), x.num_layers, x.method, x.bound, history)


def listed_conductance(graph: Any, edges: Tensor, operator: Incidence, edge_weight: Tensor | None) -> Tensor:
    """`[E]` conductance of every edge as the user lists it, one by one where edges are parallel.

    Args:
        graph: what the user gave.
        edges: `[2, E]` its edges as listed.
        operator: its operator.
        edge_weight: with an `edge_index`: `[E]` conductances.

    Returns:
        Conductances in the dtype of the operator, with gradients.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0, 1, 0], [1, 2, 1]])
        >>> listed_conductance(edges, edges, Incidence.from_edge_index(edges), torch.tensor([1.0, 2.0, 4.0]))
        tensor([1., 2., 4.])
    """
    if edges is operator.index:
        return operator.weight
    one = torch.ones(edges.shape[1], dtype=operator.dtype, device=operator.device)
    if isinstance(graph, Tensor):
        weight = edge_weight
    elif hasattr(graph, "is_directed") and hasattr(graph, "nodes"):
        values = [float(data.get("weight", 1.0)) for _, _, data in graph.edges(data=True)]
        weight = torch.tensor(values, dtype=operator.dtype)
    elif graph.get("incidence_weight") is not None:
        return _shares(edges, operator)
    else:
        weight = graph.get("edge_weight")
    return one if weight is None else weight.view(-1).to(operator.dtype)


def _shares(edges: Tensor, operator: Incidence) -> Tensor:
    """Conductance of the pair, divided evenly where it is listed several times in one direction."""
    at = edge_at(operator, edges)
    _, group, count = torch.unique(
        edges[0] * max(operator.num_nodes, 1) + edges[1], return_inverse=True, return_counts=True
    )
    loop = edges[0] == edges[1]
    return torch.where(loop, 1.0, operator.weight[at] / count[group])
