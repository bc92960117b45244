"""The iterative methods for eigenvectors: the paper's layers on a batch, and the choice of the rest for one graph."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from graphtf.constructions import subspace_iteration
from graphtf.constructions._weights import attention, frozen
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.solvers.eigen_dense import dense_eigenpairs
from graphtf.solvers.eigen_krylov import krylov
from graphtf.solvers.eigen_problem import Pairs, Problem
from graphtf.solvers.lobpcg import lobpcg
from graphtf.solvers.preconditioner import has_approximate_cholesky
from graphtf.solvers.separators import has_small_separators

LARGEST_FALLBACK = 6000  # nodes up to which "auto" decomposes the matrix where nothing else converges
PATIENCE = 20_000  # layers after which "auto" tries another method


def subspace_layers(
    S: Incidence,
    count: Tensor,
    k: int,
    largest: bool,
    depth: int,
    generator: torch.Generator | None,
    history: bool = False,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`[G, k]` Ritz values and `[n, k]` vectors after `depth` layers of subspace iteration on all graphs at once.

    With `history` also the `[depth + 1, G, k]` residuals of all layers.

    For the smallest eigenvalues the null vectors are the first columns, so that Gram-Schmidt keeps the others off them,
    and the shift is 1% above the bound, as a vector whose eigenvalue is the shift would vanish. For the largest they
    vanish by themselves. The tangent of the angle to the wanted subspace shrinks by the factor of
    :func:`graphtf.constructions.subspace_iteration` a layer. Columns that got lost hold NaN in the values.
    """
    if S.num_nodes == 0:
        none = S.weight.new_zeros(depth + 1, S.num_graphs, k) if history else None
        return S.weight.new_zeros(S.num_graphs, k), S.weight.new_zeros(0, k), none
    local, size = local_index(S)
    labels, null = S.components(), S.null_vector()
    pair, inverse = torch.unique(S.batch * S.num_nodes + labels, return_inverse=True)
    components = torch.bincount(pair // S.num_nodes, minlength=S.num_graphs)
    rank = inverse - (components.cumsum(0) - components)[S.batch]
    if largest:
        components = torch.zeros_like(components)  # columns of null vectors
    width = int(components.max())

    source = torch.Generator().manual_seed(0) if generator is None else generator
    start = torch.rand(size, k, generator=source, dtype=torch.float64).to(null) - 0.5
    column = torch.arange(width + k, device=null.device) - components[S.batch].unsqueeze(1)  # [n, width + k]
    random = start[local].gather(1, column.clamp(0, k - 1)) * ((column >= 0) & (column < count[S.batch].unsqueeze(1)))
    first = S.center(random)
    if not largest:
        first = first + null.unsqueeze(1) * (column == (rank - components[S.batch]).unsqueeze(1))

    scaled = S if S.scale is not None else S.normalized("spectral")
    mu = (2.0 if S.scale is not None else 1.0) * (1.0 if largest else 1.01)
    layers = subspace_iteration(depth, mu=mu, which="largest" if largest else "smallest", dtype=S.dtype)
    own = components[S.batch].unsqueeze(1) + torch.arange(k, device=null.device)
    if not history:
        return *_ritz(S, layers(scaled, phi=first).gather(1, own), count, largest), None
    orthonormal = attention(("phi",), {}, {}, S.dtype, norm="gram_schmidt")  # the start, as the layers would see it
    states = layers(scaled, phi=first, return_all=True)
    states[0] = frozen([orthonormal], ("phi",), "phi")(scaled, phi=first)
    residuals = []
    for state in states:
        values, vectors = _ritz(S, state.gather(1, own), count, largest)
        residuals.append(relative_residual(S, values, vectors))
    return values, vectors, torch.stack(residuals)


def _ritz(S: Incidence, phi: Tensor, count: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
    """Ritz values and vectors of orthonormal `[n, k]` columns, of which some may be zero."""
    k = phi.shape[1]
    moments = phi.unsqueeze(2) * (S.laplacian @ phi).unsqueeze(1)
    H = moments.new_zeros(S.num_graphs, k, k).index_add(0, S.batch, moments)
    length = phi.new_zeros(S.num_graphs, k).index_add(0, S.batch, phi.square())
    bound = S.lambda_bound().unsqueeze(1) + 1
    away = torch.where(length < 0.5, 2 * bound * (-1 if largest else 1), 0.0)  # columns that do not exist come last
    H = torch.where(((length < 0.5).unsqueeze(1) | (length < 0.5).unsqueeze(2)), 0.0, (H + H.mT) / 2)
    values, U = torch.linalg.eigh(H + torch.diag_embed(away))
    values, U = (values.flip(1), U.flip(2)) if largest else (values, U)
    keep = torch.arange(k, device=values.device) < count.unsqueeze(1)
    there = torch.arange(k, device=values.device) < (length >= 0.5).sum(1, keepdim=True)
    values = torch.where(there | ~keep, values, torch.nan)
    vectors = torch.einsum("nj,njk->nk", phi, U[S.batch])
    return torch.where(keep, values, 0.0), vectors * (keep & there)[S.batch]


def relative_residual(S: Incidence, values: Tensor, vectors: Tensor) -> Tensor:
    """`[G, k]` lengths of `L v - lambda v`, relative to the bound of the largest eigenvalue; `inf` for lost columns."""
    lost, values = values.isnan(), torch.where(values.isnan(), 0.0, values)
    defect = (S.laplacian @ vectors - values[S.batch] * vectors).square()
    total = defect.new_zeros(values.shape).index_add(0, S.batch, defect).sqrt()
    bound = S.lambda_bound().detach().unsqueeze(1)
    return torch.where(lost, torch.inf, torch.where(bound > 0, total / torch.where(bound > 0, bound, 1.0), 0.0))


def iterate_graph(
    S: Incidence,
    count: int,
    largest: bool,
    method: str,
    tol: float,
    max_layers: int,
    rng: np.random.Generator,
    history: bool = False,
) -> tuple[Pairs, str]:
    """Eigenpairs of one large graph by `"memory"` or `"preconditioned"`; `"auto"` begins with the better one.

    Where that does not converge, `"auto"` goes on with the others that apply, at last with the dense matrix.
    """
    if importlib.util.find_spec("scipy") is None:
        raise ImportError("eigenvectors of large graphs need SciPy; install it with: pip install scipy")
    linked = (S.degree > 0).cpu()
    L = S.laplacian_scipy().astype(np.float64, copy=False)
    if not bool(linked.all()):
        L = L[linked.numpy()][:, linked.numpy()]
    L.indices, L.indptr = L.indices.astype(np.int32, copy=False), L.indptr.astype(np.int32, copy=False)
    labels = S.components().cpu()
    if int(labels.max()) > 0:
        _, labels = torch.unique(labels[linked], return_inverse=True)
    degree = S.degree.cpu().double()[linked].numpy()
    square = torch.from_numpy(degree if S.scale is not None else np.ones(len(degree)))
    total = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add(0, labels, square)
    null = (square / total[labels]).sqrt().numpy()
    problem = Problem(L, null, labels.numpy(), float(S.lambda_bound()[0]))
    separable = method != "memory" and has_small_separators(L)
    if method != "auto":
        attempts = [method]
    elif largest:
        attempts = ["memory", "preconditioned"] if separable else ["memory"]
    else:
        attempts = ["preconditioned", "memory"] if separable else ["memory"]
    dense = method == "auto" and S.num_nodes <= LARGEST_FALLBACK
    if method == "auto" and not largest and not separable and not dense and has_approximate_cholesky():
        attempts.append("preconditioned")
    products = 0
    for i, name in enumerate(attempts):
        limit = max_layers if i + 1 == len(attempts) and not dense else min(max_layers, PATIENCE)
        if name == "preconditioned" and not separable:
            pairs = lobpcg(problem, count, tol, limit, rng, square.numpy(), history)
        else:
            pairs = krylov(problem, count, largest, name == "preconditioned", tol, limit, rng, history)
        products += pairs.products
        if pairs.complete and (count == 0 or pairs.residuals.max() <= tol * problem.bound):
            break
    else:
        if dense:
            values, vectors = dense_eigenpairs(S, torch.tensor([count], device=S.device), count, largest)
            return Pairs(values[0].cpu().double().numpy(), vectors.cpu().double().numpy(), np.zeros(count)), "dense"
    full = np.zeros((S.num_nodes, count))
    full[linked.numpy()] = pairs.vectors
    past = [(products - pairs.products + at, residuals) for at, residuals in pairs.history]
    return replace(pairs, vectors=full, products=products, history=past), name
