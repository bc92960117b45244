"""Eigenvectors of the Laplacian: of one large graph, or of thousands of small ones in one call."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.eigen_dense import dense_eigenpairs, restrict
from graphtf.solvers.eigen_gradient import EigenpairGradient
from graphtf.solvers.eigen_iterative import iterate_graph, subspace_layers
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.solution import ConvergenceError, Solution
from graphtf.validate import check_choice, check_positive_int

Which = Literal["smallest", "largest"]
EigenNormalization = Literal["sym", "rw"] | None
METHODS = ("auto", "dense", "gradient", "memory", "preconditioned")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-8}
LARGEST_DENSE = 1500  # nodes; "auto" iterates on larger graphs


class Eigenvectors(Solution):
    """Eigenvectors `[n, k]`, with what belongs to them.

    Attributes:
        eigenvalues: `[k]`, for a batch `[G, k]`; zero where there is no vector. Differentiable.
        counts: number of vectors that there are, an integer tensor without dimension, for a batch `[G]`.
    """

    eigenvalues: Tensor
    counts: Tensor


def laplacian_eigenvectors(
    graph: Any,
    k: int,
    normalization: EigenNormalization = None,
    which: Which = "smallest",
    *,
    trivial: bool = True,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    batch: Tensor | None = None,
    method: str = "auto",
    tol: float | None = None,
    max_layers: int | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
) -> Eigenvectors:
    r"""The `k` smallest or largest eigenvalues of the Laplacian and their eigenvectors, graph by graph.

    .. math:: L v_j = \lambda_j v_j, \quad v_i^\top v_j = \delta_{ij}, \qquad
        L \in \{B B^\top,\ D^{-1/2} B B^\top D^{-1/2},\ D^{-1} B B^\top\} .

    Eigenvectors are unique up to the sign, those of repeated eigenvalues up to a rotation: compare subspaces. The
    eigenvalue 0 of every connected component is known beforehand, with its vector (constant, or
    :math:`\sqrt{degree}` for `"sym"`, on the component and zero elsewhere); `trivial` keeps or drops these. A node
    without edges is a component. With `"rw"` vectors are orthonormal for
    :math:`\langle x, y \rangle = \sum_u (d_u / \bar d) x_u y_u` with the mean degree :math:`\bar d`.

    Methods: `"dense"` decomposes every graph as a matrix of exactly its size; `"gradient"` runs the paper's subspace
    iteration for `max_layers` layers; `"memory"` builds a Krylov space of a Chebyshev filter; `"preconditioned"` one of
    the inverse by a sparse factor where the graph has small separators (meshes, roads), else LOBPCG with approximate
    Cholesky; `"auto"` chooses graph by graph. The last three work in float64. Graphs hardly larger than the space that
    they would span are decomposed as matrices.

    Gradients to the weights exist for simple eigenvalues, and for functions of whole invariant subspaces, whatever
    the method. For others `backward` raises `RuntimeError`.

    Args:
        graph: anything :func:`graphtf.solvers.graphs.as_incidence` takes, with `edge_weight`, `num_nodes`, `batch`.
        k: number of columns.
        normalization: `None`, `"sym"` or `"rw"`.
        which: `"smallest"` eigenvalues in ascending, or `"largest"` in descending order.
        trivial: whether the vectors of eigenvalue 0 that are known beforehand count; first with `"smallest"`.
        edge_weight: `[E]` conductances, with an `edge_index`.
        num_nodes: number of nodes, with an `edge_index`.
        batch: `[n]` graph of every node, with an `edge_index`.
        method: see above.
        tol: largest allowed residual :math:`\|L v - \lambda v\|` divided by the bound of the largest eigenvalue
            (:meth:`graphtf.Incidence.lambda_bound`); default 1e-8, in float32 1e-5. An eigenvalue is nearer than
            this to the one returned. `"gradient"` does not use it.
        max_layers: largest number of products with `L` (or solves) for each graph, 100,000 by default; the depth of
            `"gradient"`, by default 200.
        generator: for the random starts; default seed 0.
        dtype: floating type; default that of the weights.

    Returns:
        `[n, k]`, zero columns where a graph has fewer vectors, with `eigenvalues`, `counts`, `residual` `[k]` or
        `[G, k]` and, for `"gradient"`, `bound`: how far an eigenvalue can be at most, relative as `tol`.

    Raises:
        TypeError, ValueError: an argument is not as described.
        ConvergenceError: the residuals are larger than `tol`, or the search for eigenvectors that are missing did not
            end; with `"gradient"`, a vector vanished.

    Example:
        >>> import torch
        >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> v = laplacian_eigenvectors(path, 2, dtype=torch.float64)
        >>> [round(x, 6) for x in v.eigenvalues.tolist()]
        [0.0, 1.0]
        >>> [round(abs(x), 4) for x in v[:, 1].tolist()]
        [0.7071, 0.0, 0.7071]

    Source: Cheng, Carin, Sra, ICLR 2025 (subspace iteration); Zhou, Saad, "A Chebyshev-Davidson algorithm", SIAM J.
    Matrix Anal. Appl. 29, 2007; Knyazev, SIAM J. Sci. Comput. 23, 2001.
    """
    check_positive_int("k", k)
    check_choice("which", which, ("smallest", "largest"))
    check_choice("method", method, METHODS)
    if normalization not in (None, "sym", "rw"):
        raise ValueError(f"normalization must be None, 'sym' or 'rw', but got {normalization!r}")
    if tol is not None:
        if isinstance(tol, bool) or not isinstance(tol, int | float):
            raise TypeError(f"tol must be a number, but got {tol!r} ({type(tol).__name__})")
        if not 0 < tol < float("inf"):
            raise ValueError(f"tol must be positive and finite, but got {tol}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, but got {type(generator).__name__}")
    if max_layers is not None:
        check_positive_int("max_layers", max_layers)
    largest = which == "largest"
    if method == "preconditioned" and largest:
        raise ValueError(
            "method='preconditioned' inverts L, which serves the smallest eigenvalues; use 'memory' for the largest"
        )
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    rank, components = _components(B)
    S = B if normalization is None else B.normalized("sym")  # after the components, which it keeps
    limit = TOLERANCE[B.dtype] if tol is None else tol
    sizes = torch.bincount(B.batch, minlength=B.num_graphs)
    space = sizes - components
    skip = components if trivial and not largest else torch.zeros_like(components)
    count = torch.minimum((k - skip).clamp(min=0), space)

    with torch.no_grad():
        values, vectors, layers, names, complete = _solve(S, count, k, largest, method, limit, max_layers, generator)
        lost = values.isnan()  # columns that "gradient" lost
        values = torch.where(lost, 0.0, values)
        residual = torch.where(lost, torch.inf, _residual(S, values, vectors))
    if torch.is_grad_enabled() and B.weight.requires_grad:
        _, _, w, diagonal = S._laplacian_entries()
        values, vectors = EigenpairGradient.apply(w, diagonal, values, vectors, S, count, largest)
    if trivial:
        values, vectors, residual = _with_trivial(S, values, vectors, residual, rank, components, space, largest)
        count = torch.minimum(space + components, torch.full_like(space, k))
    if normalization == "rw":
        vectors = vectors * _rw_scale(B).unsqueeze(1)
    single = B.num_graphs == 1 and not _is_batch(graph, batch)
    if single:
        values, residual, count = values[0], residual[0], count[0]
    used = names[0] if len(names) == 1 else "+".join(names)
    bound = residual.detach().clone() if method == "gradient" else None
    out = cast(Eigenvectors, Eigenvectors.of(vectors, residual, layers, used, bound))
    out.eigenvalues, out.counts = values, count
    worst = float(residual.max()) if residual.numel() else 0.0
    if bool(lost.any()):
        raise ConvergenceError(
            f"{int(lost.sum())} vector(s) vanished in the layers, their residuals are inf; use method='dense'", out
        )
    if method != "gradient" and not (complete and worst <= limit):
        raise ConvergenceError(
            f"the largest residual is {worst:.1e} after {layers} layers, but tol is {limit:.1e}"
            + ("" if complete else " (the search for missing eigenvectors was cut short)")
            + "; raise max_layers or tol, or use method='dense'",
            out,
        )
    return out


def _solve(
    S: Incidence,
    count: Tensor,
    k: int,
    largest: bool,
    method: str,
    tol: float,
    max_layers: int | None,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, int, list[str], bool]:
    """Eigenpairs without null vectors, depth, the methods that were used, and whether no pair is missing."""
    if method == "gradient":
        depth = 200 if max_layers is None else max_layers
        return *subspace_layers(S, count, k, largest, depth, generator), depth, ["gradient"], True
    sizes = torch.bincount(S.batch, minlength=S.num_graphs)
    threshold = torch.maximum(4 * count + 40, torch.full_like(count, LARGEST_DENSE if method == "auto" else 0))
    dense = (sizes <= threshold) | (count == 0) if method != "dense" else torch.ones_like(sizes, dtype=torch.bool)
    if bool(dense.all()):
        return *dense_eigenpairs(S, count, k, largest), 0, ["dense" if method == "auto" else method], True
    values = torch.zeros(S.num_graphs, k, dtype=S.dtype, device=S.device)
    vectors = torch.zeros(S.num_nodes, k, dtype=S.dtype, device=S.device)
    names = set()
    if bool(dense.any()):
        piece, nodes = restrict(S, dense)
        values[dense], vectors[nodes] = dense_eigenpairs(piece, count[dense], k, largest)
        names |= {"dense"} if method == "auto" else set()
    seed = 0 if generator is None else int(torch.randint(2**31 - 1, (), generator=generator))
    layers, complete = 0, True
    for g in (~dense).nonzero()[:, 0].tolist():
        piece, nodes = restrict(S, torch.arange(S.num_graphs, device=S.device) == g)
        c = int(count[g])
        rng = np.random.default_rng(seed)  # the same for every graph, so that a batch does not matter
        pairs, name = iterate_graph(piece, c, largest, method, tol, max_layers or 100_000, rng)
        values[g, :c] = torch.from_numpy(pairs.values).to(values)
        vectors[nodes, :c] = torch.from_numpy(pairs.vectors).to(vectors)
        layers, complete = max(layers, pairs.products), complete and pairs.complete
        names.add(name)
    return values, vectors, layers, sorted(names), complete


def _residual(S: Incidence, values: Tensor, vectors: Tensor) -> Tensor:
    """`[G, k]` lengths of `L v - lambda v`, relative to the bound of the largest eigenvalue."""
    defect = (S.laplacian @ vectors - values[S.batch] * vectors).square()
    total = defect.new_zeros(values.shape).index_add(0, S.batch, defect).sqrt()
    bound = S.lambda_bound().detach().unsqueeze(1)
    return torch.where(bound > 0, total / torch.where(bound > 0, bound, 1.0), 0.0)


def _components(B: Incidence) -> tuple[Tensor, Tensor]:
    """`[n]` position of the component of every node among those of its graph, and `[G]` how many a graph has."""
    labels = B.components()
    number = int(labels.max()) + 1 if labels.numel() else 0
    graph = B.batch.new_zeros(number).index_copy(0, labels, B.batch) if number else B.batch
    count = torch.bincount(graph, minlength=B.num_graphs)
    order = graph.argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(number, device=order.device) - (count.cumsum(0) - count)[graph[order]]
    return position[labels], count


def _with_trivial(
    S: Incidence,
    values: Tensor,
    vectors: Tensor,
    residual: Tensor,
    rank: Tensor,
    components: Tensor,
    space: Tensor,
    largest: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Put the null vectors before the others, or behind them if the largest are wanted."""
    k = values.shape[1]
    column = torch.arange(k, device=values.device).expand(len(values), -1)
    first = space.unsqueeze(1) if largest else torch.zeros_like(space).unsqueeze(1)
    null = (column >= first) & (column < first + components.unsqueeze(1))
    source = column if largest else (column - components.unsqueeze(1)).clamp(min=0)
    values = torch.where(null, 0.0, values.gather(1, source))
    residual = torch.where(null, 0.0, residual.gather(1, source))
    own = column[S.batch] == (rank + first[S.batch, 0]).unsqueeze(1)
    constant = torch.where(own, S.null_vector().unsqueeze(1), 0.0)
    vectors = torch.where(null[S.batch], constant, vectors.gather(1, source[S.batch]))
    return values, vectors, residual


def _rw_scale(B: Incidence) -> Tensor:
    """`[n]` square roots of the mean degree over the degree, one for nodes without edges."""
    degree = B.degree
    nodes = torch.bincount(B.batch, minlength=B.num_graphs)
    alone = degree == 0
    linked = nodes - torch.bincount(B.batch[alone], minlength=B.num_graphs)
    total = degree.new_zeros(B.num_graphs).index_add(0, B.batch, degree)
    mean = torch.where(linked > 0, total / linked.clamp(min=1), 1.0)[B.batch]
    return torch.where(alone, 1.0, mean / torch.where(alone, 1.0, degree)).sqrt()


def _is_batch(graph: Any, batch: Tensor | None) -> bool:
    stored = None if isinstance(graph, Tensor | Incidence) else getattr(graph, "batch", None)
    return batch is not None or isinstance(stored, Tensor)
