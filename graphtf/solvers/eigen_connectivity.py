"""Algebraic connectivity and the Fiedler vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from graphtf.solvers.eigen import EigenNormalization, Eigenvectors, laplacian_eigenvectors
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.solution import ConvergenceError, Solution


def algebraic_connectivity(
    graph: Any,
    normalization: EigenNormalization = None,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: str = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Solution:
    r"""Second smallest eigenvalue of the Laplacian: 0 if and only if the graph is disconnected.

    .. math:: \lambda_2 = \min_{x \perp 1} \frac{x^\top L x}{x^\top x}

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes, with `edge_weight`, `num_nodes`, `batch`.
        normalization: `None`, `"sym"` or `"rw"` (the last two have the same eigenvalues).
        edge_weight: `[E]` conductances, with an `edge_index`.
        num_nodes: number of nodes, with an `edge_index`.
        batch: `[n]` graph of every node, with an `edge_index`.
        method: as for :func:`laplacian_eigenvectors`.
        tol: as there.
        max_layers: as there.
        generator: as there.
        dtype: as there.

    Returns:
        A tensor without dimension, for a batch `[G]`. Differentiable where the eigenvalue is simple.

    Raises:
        ValueError: a graph has fewer than two nodes.
        ConvergenceError: see :func:`laplacian_eigenvectors`.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> round(float(algebraic_connectivity(path)), 4)
        1.0

    Source: Fiedler, "Algebraic connectivity of graphs", Czech. Math. J. 23, 1973.
    """
    options = _options(method, tol, max_layers, generator, dtype)
    found, connected = _second(graph, normalization, edge_weight, num_nodes, batch, options, _connectivity)
    return _connectivity(found, connected)


def fiedler_vector(
    graph: Any,
    normalization: EigenNormalization = None,
    *,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: str = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Solution:
    r"""Eigenvector of the second smallest eigenvalue of the Laplacian of every graph, which must be connected.

    Its sign is free, and if the eigenvalue is repeated, so is the vector within the eigenspace.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes, with `edge_weight`, `num_nodes`, `batch`.
        normalization: `None`, `"sym"` or `"rw"`.
        edge_weight: `[E]` conductances, with an `edge_index`.
        num_nodes: number of nodes, with an `edge_index`.
        batch: `[n]` graph of every node, with an `edge_index`.
        method: as for :func:`laplacian_eigenvectors`.
        tol: as there.
        max_layers: as there.
        generator: as there.
        dtype: as there.

    Returns:
        `[n]`, of unit length on every graph (for `"rw"` in the norm given there).

    Raises:
        ValueError: a graph has fewer than two nodes, or several components.
        ConvergenceError: see :func:`laplacian_eigenvectors`.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> [round(abs(x), 4) for x in fiedler_vector(path).tolist()]
        [0.7071, 0.0, 0.7071]

    Source: Fiedler, "Algebraic connectivity of graphs", Czech. Math. J. 23, 1973.
    """
    options = _options(method, tol, max_layers, generator, dtype)
    found, connected = _second(graph, normalization, edge_weight, num_nodes, batch, options, _vector)
    if not bool(connected.all()):
        where = int((~connected.reshape(-1)).nonzero()[0])
        raise ValueError(
            f"graph {where} has several components, where eigenvalue 0 is repeated and no vector is Fiedler's; "
            "pass its components one by one (Incidence.split_components)"
        )
    return _vector(found, connected)


def _connectivity(found: Eigenvectors, connected: Tensor) -> Solution:
    values = torch.where(connected, found.eigenvalues[..., 0], 0.0)
    residual = torch.where(connected, found.residual[..., 0], 0.0)
    bound = None if found.bound is None else torch.where(connected, found.bound[..., 0], 0.0)
    return Solution.of(values, residual, found.num_layers, found.method, bound)


def _vector(found: Eigenvectors, connected: Tensor) -> Solution:
    bound = None if found.bound is None else found.bound[..., 0]
    return Solution.of(found.value[:, 0], found.residual[..., 0], found.num_layers, found.method, bound)


def _options(
    method: str,
    tol: float | None,
    max_layers: int | None,
    generator: torch.Generator | None,
    dtype: torch.dtype | None,
) -> dict[str, Any]:
    return {"method": method, "tol": tol, "max_layers": max_layers, "generator": generator, "dtype": dtype}


def _second(
    graph: Any,
    normalization: EigenNormalization,
    edge_weight: Tensor | None,
    num_nodes: int | None,
    batch: Tensor | None,
    options: dict[str, Any],
    answer: Callable[[Eigenvectors, Tensor], Solution],
) -> tuple[Eigenvectors, Tensor]:
    """The first vector off the null space, and whether every graph is connected; errors carry the `answer` of it."""
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, options.get("dtype"))
    sizes = torch.bincount(B.batch, minlength=B.num_graphs)
    if B.num_graphs == 0 or bool((sizes < 2).any()):
        where = int((sizes < 2).nonzero()[0]) if B.num_graphs else 0
        number = int(sizes[where]) if B.num_graphs else 0
        raise ValueError(f"graph {where} has {number} node(s), but a second eigenvalue needs at least two")
    pairs = torch.unique(torch.stack([B.batch, B.components()]), dim=1)
    connected = torch.bincount(pairs[0], minlength=B.num_graphs) == 1
    try:
        found = laplacian_eigenvectors(
            graph, 1, normalization, trivial=False, edge_weight=edge_weight, num_nodes=num_nodes, batch=batch, **options
        )
    except ConvergenceError as error:
        partial = cast(Eigenvectors, error.solution)
        single = partial.eigenvalues.dim() == 1
        raise ConvergenceError(str(error), answer(partial, connected[0] if single else connected)) from error
    return found, connected if found.eigenvalues.dim() == 2 else connected[0]
