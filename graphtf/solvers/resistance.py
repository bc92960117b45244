"""Effective resistances, leverage scores and the effective graph resistance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.solvers.electric import listed_conductance
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.linear import Method, Options
from graphtf.solvers.resistance_pairs import pair_resistance, total_resistance
from graphtf.solvers.solution import ConvergenceError, Solution
from graphtf.validate import check_index


def effective_resistance(
    graph: Any,
    pairs: Tensor | None = None,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Effective resistance between pairs of nodes, by default the ends of every edge.

    .. math:: R(u, v) = (e_u - e_v)^\top L^+ (e_u - e_v) = || (L^+)^{1/2} (e_u - e_v) ||^2

    Weights are conductances: `networkx.resistance_distance` reads its weight as a resistance unless it is told
    `invert_weight=False`.

    Args:
        graph: an `Incidence`, PyG `Data` or `Batch`, `edge_index`, NetworkX graph or SciPy adjacency matrix.
        pairs: `[2, P]` integer tensor of nodes; `None` means the edges as the user lists them.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        method: as in :func:`graphtf.solvers.electric_potential`; the fast one for many small graphs is `"dense"`, which
            `"auto"` takes for them.
        tol: relative residual of the system of every pair. From potentials `x` with residual `r` the resistance is
            computed as :math:`2 \psi^\top x - x^\top L x`, whose error :math:`r^\top L^+ r` is of second order.
        max_layers: number of layers to give up after, or the depth of a method of fixed depth.
        generator: seeds what is random in the method.
        dtype: floating type of the answer; `None` is that of the graph.
        history: keep the residuals of all layers.

    Returns:
        `[P]` resistances in the units of 1 / weight, `inf` between components and 0 from a node to itself, as a
        :class:`~graphtf.solvers.Solution` with a residual for every pair. Gradients reach the weights; they are finite
        on graphs with repeated eigenvalues.

    Raises:
        ConvergenceError: an adaptive method did not reach `tol`; it carries the best answer.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> square = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
        >>> R = effective_resistance(square)  # 1 parallel to 3
        >>> [round(value, 4) for value in R.tolist()]
        [0.75, 0.75, 0.75, 0.75]
        >>> effective_resistance(square, torch.tensor([[0, 0, 1], [2, 0, 4]]), num_nodes=5).tolist()
        [1.0, 0.0, inf]

    Reference: Klein, Randić, "Resistance distance", J. Mathematical Chemistry 1993.
    """
    options = Options(method, tol, max_layers, generator, history)
    B, edges = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    if pairs is not None:
        edges, _ = check_index(pairs, B.num_nodes, "pairs")
        if edges.device != B.device:
            raise ValueError(f"pairs are on {edges.device}, but the graph is on {B.device}; move one of them")
    return pair_resistance(B, edges, options, are_edges=pairs is None)


def leverage_scores(
    graph: Any,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Leverage score of every edge: the probability that a random spanning forest, drawn by weight, contains it.

    .. math:: \ell_e = w_e R_e \in (0, 1], \qquad \sum_e \ell_e = n - c

    with `c` the number of components and every edge counted once. A bridge has score 1.

    Args:
        graph: as in :func:`effective_resistance`.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        method: as in :func:`effective_resistance`.
        tol: relative residual of every system, as in :func:`effective_resistance`.
        max_layers: number of layers to give up after, or the depth of a method of fixed depth.
        generator: seeds what is random in the method.
        dtype: floating type of the answer; `None` is that of the graph.
        history: keep the residuals of all layers.

    Returns:
        `[E]` scores of the edges as they are listed: an edge that is listed in both directions has its score in both,
        parallel edges have a score each, a self-loop has 0.

    Raises:
        ConvergenceError: as in :func:`effective_resistance`.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> leverage_scores(torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]])).value.sum().round(decimals=4)
        tensor(3.)

    Reference: Spielman, Srivastava, "Graph sparsification by effective resistances", SIAM J. Computing 2011.
    """
    options = Options(method, tol, max_layers, generator, history)
    B, edges = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    conductance = listed_conductance(graph, edges, B, edge_weight)
    try:
        R = pair_resistance(B, edges, options, are_edges=True)
    except ConvergenceError as error:
        raise ConvergenceError(str(error), _scaled(error.solution, conductance)) from error
    return _scaled(R, conductance)


def _scaled(R: Solution, conductance: Tensor) -> Solution:
    return Solution.of(R.value * conductance, R.residual, R.num_layers, R.method, R.bound, R.history)


def effective_graph_resistance(
    graph: Any,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: Method = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    history: bool = False,
) -> Solution:
    r"""Sum of the resistances between all pairs of nodes (Kirchhoff index), graph by graph.

    .. math:: R_G = \sum_{u < v} R(u, v) = n \, \mathrm{tr}(L^+) = n \sum_{i > 1} 1 / \lambda_i

    Args:
        graph: as in :func:`effective_resistance`.
        edge_weight: with an `edge_index`: `[E]` conductances.
        num_nodes: with an `edge_index`: number of nodes.
        batch: with an `edge_index`: `[n]` graph of every node.
        method: as in :func:`effective_resistance`; all but `"dense"` solve a system for every node.
        tol: relative residual of every system, as in :func:`effective_resistance`.
        max_layers: number of layers to give up after, or the depth of a method of fixed depth.
        generator: seeds what is random in the method.
        dtype: floating type of the answer; `None` is that of the graph.
        history: keep the residuals of all layers.

    Returns:
        `[num_graphs]` values; `inf` where a graph is not connected, 0 for at most one node.

    Raises:
        ConvergenceError: as in :func:`effective_resistance`.
        TypeError: an argument has the wrong type.
        ValueError: an argument has the wrong shape or value.

    Example:
        >>> import torch
        >>> effective_graph_resistance(torch.tensor([[0, 1], [1, 2]])).value.round(decimals=4)  # 1 + 1 + 2
        tensor([4.])

    Reference: Ellens et al., "Effective graph resistance", Linear Algebra and its Applications 2011.
    """
    options = Options(method, tol, max_layers, generator, history)
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    return total_resistance(B, options)
