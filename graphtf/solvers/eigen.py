"""Eigenvectors of the Laplacian: of one large graph, or of thousands of small ones in one call."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.eigen_dense import dense_eigenpairs, restrict
from graphtf.solvers.eigen_gradient import EigenpairGradient
from graphtf.solvers.eigen_iterative import iterate_graph, relative_residual, subspace_layers
from graphtf.solvers.eigen_problem import Pairs
from graphtf.solvers.eigen_trivial import columns, components_of, rw_scale, with_trivial
from graphtf.solvers.graphs import as_incidence
from graphtf.solvers.kernels import compiled_laplacian
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


torch.serialization.add_safe_globals([Eigenvectors])


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
    history: bool = False,
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
    iteration for `max_layers` layers; `"memory"` builds a block Krylov space of a Chebyshev filter; `"preconditioned"`
    one of the inverse by a sparse factor where the graph has small separators (meshes, roads), else LOBPCG with
    approximate Cholesky; `"auto"` chooses graph by graph, and goes on with another method, up to 6,000 nodes at last
    with the dense one, where the first does not converge. `.method` names the one that gave the answer. The last three
    work in float64. Graphs hardly larger than the space that they would span are decomposed as matrices.

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
        max_layers: largest number of layers, products with `L` (or solves) of all columns of a block at once, for each
            graph and method; 100,000 by default. The depth of `"gradient"`, by default 200.
        generator: for the random starts; default seed 0.
        dtype: floating type; default that of the weights.
        history: keep the residuals `[num_layers + 1, ...]` of all layers, at the cost of a readout (Rayleigh-Ritz)
            after every block of them; `inf` before there are as many vectors. `"dense"`, which has no layers, keeps
            that of the answer.

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
    if not isinstance(history, bool):
        raise TypeError(f"history must be True or False, but got {history!r} ({type(history).__name__})")
    largest = which == "largest"
    if method == "preconditioned" and largest:
        raise ValueError(
            "method='preconditioned' inverts L, which serves the smallest eigenvalues; use 'memory' for the largest"
        )
    B, _ = as_incidence(graph, edge_weight, num_nodes, batch, dtype)
    if B.num_graphs == 1 and B.num_nodes > LARGEST_DENSE:
        compiled_laplacian(B)  # it labels the components, many times faster
    rank, components = components_of(B)
    S = B if normalization is None else B.normalized("sym")  # after the components, which it keeps
    limit = TOLERANCE[B.dtype] if tol is None else tol
    sizes = torch.bincount(B.batch, minlength=B.num_graphs)
    space = sizes - components
    skip = components if trivial and not largest else torch.zeros_like(components)
    count = torch.minimum((k - skip).clamp(min=0), space)

    with torch.no_grad():
        found = _solve(S, count, k, largest, method, limit, max_layers, generator, history)
        values, vectors, layers, names, complete, residual, past = found
        lost = values.isnan()  # columns that "gradient" lost
        if residual is None:
            residual = relative_residual(S, values, vectors)
        values = torch.where(lost, 0.0, values)
        if past is not None:
            past = torch.where(past.isnan(), residual, past)
    if torch.is_grad_enabled() and B.weight.requires_grad:
        _, _, w, diagonal = S._laplacian_entries()
        values, vectors = EigenpairGradient.apply(w, diagonal, values, vectors, S, count, largest)
    if trivial:
        shape = (components, space, largest)
        past = None if past is None else torch.stack([columns(row, *shape)[0] for row in past])
        values, vectors, residual = with_trivial(S, values, vectors, residual, rank, *shape)
        count = torch.minimum(space + components, torch.full_like(space, k))
    if normalization == "rw":
        vectors = vectors * rw_scale(B).unsqueeze(1)
    single = B.num_graphs == 1 and not _is_batch(graph, batch)
    if single:
        values, residual, count = values[0], residual[0], count[0]
        past = None if past is None else past[:, 0]
    used = names[0] if len(names) == 1 else "+".join(names)
    bound = residual.detach().clone() if method == "gradient" else None
    out = cast(Eigenvectors, Eigenvectors.of(vectors, residual, layers, used, bound, past))
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


class _Found(NamedTuple):
    values: Tensor
    vectors: Tensor  # without null vectors
    layers: int
    names: list[str]  # of the methods that were used
    complete: bool  # whether no pair is missing
    residual: Tensor | None = None  # if it is known already
    history: Tensor | None = None  # NaN stands for the residual of the answer


def _solve(
    S: Incidence,
    count: Tensor,
    k: int,
    largest: bool,
    method: str,
    tol: float,
    max_layers: int | None,
    generator: torch.Generator | None,
    history: bool,
) -> _Found:
    if method == "gradient":
        depth = 200 if max_layers is None else max_layers
        values, vectors, past = subspace_layers(S, count, k, largest, depth, generator, history)
        return _Found(values, vectors, depth, ["gradient"], True, None, past)
    sizes = torch.bincount(S.batch, minlength=S.num_graphs)
    threshold = torch.maximum(4 * count + 40, torch.full_like(count, LARGEST_DENSE if method == "auto" else 0))
    dense = (sizes <= threshold) | (count == 0) if method != "dense" else torch.ones_like(sizes, dtype=torch.bool)
    if bool(dense.all()):
        past = S.weight.new_full((1, S.num_graphs, k), torch.nan) if history else None
        name = "dense" if method == "auto" else method
        return _Found(*dense_eigenpairs(S, count, k, largest), 0, [name], True, None, past)
    values = torch.zeros(S.num_graphs, k, dtype=S.dtype, device=S.device)
    vectors = torch.zeros(S.num_nodes, k, dtype=S.dtype, device=S.device)
    names = set()
    if bool(dense.any()):
        piece, nodes = restrict(S, dense)
        values[dense], vectors[nodes] = dense_eigenpairs(piece, count[dense], k, largest)
        names |= {"dense"} if method == "auto" else set()
    seed = 0 if generator is None else int(torch.randint(2**31 - 1, (), generator=generator))
    layers, complete, kept = 0, True, {}
    for g in (~dense).nonzero()[:, 0].tolist():
        piece, nodes = restrict(S, torch.arange(S.num_graphs, device=S.device) == g)
        c = int(count[g])
        rng = np.random.default_rng(seed)  # the same for every graph, so that a batch does not matter
        pairs, name = iterate_graph(piece, c, largest, method, tol, max_layers or 100_000, rng, history)
        values[g, :c] = torch.from_numpy(pairs.values).to(values)
        vectors[nodes, :c] = torch.from_numpy(pairs.vectors).to(vectors)
        layers, complete = max(layers, pairs.products), complete and pairs.complete
        names.add(name)
        kept[g] = pairs
    residual = None
    if S.num_graphs == 1 and S.dtype == torch.float64 and name != "dense":  # measured on the way
        residual = torch.zeros_like(values)
        residual[0, :c] = torch.from_numpy(pairs.residuals).to(values) / S.lambda_bound()
    past = _history(S, kept, layers, k) if history else None
    return _Found(values, vectors, layers, sorted(names), complete, residual, past)


def _history(S: Incidence, kept: dict[int, Pairs], layers: int, k: int) -> Tensor:
    """`[layers + 1, G, k]` relative residuals from what the graphs kept, NaN for that of the answer."""
    past = S.weight.new_full((layers + 1, S.num_graphs, k), torch.nan)
    bound = S.lambda_bound().tolist()
    for g, pairs in kept.items():
        c = len(pairs.values)
        past[: pairs.products, g, :c] = torch.inf
        for layer, residuals in pairs.history:
            past[layer : pairs.products, g, :c] = torch.from_numpy(residuals / bound[g]).to(past)
    return past


def _is_batch(graph: Any, batch: Tensor | None) -> bool:
    stored = None if isinstance(graph, Tensor | Incidence) else getattr(graph, "batch", None)
    return batch is not None or isinstance(stored, Tensor)
