"""The iterative methods for eigenvectors: the paper's layers on a batch, and the choice of the rest for one graph."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

from graphtf.constructions import subspace_iteration
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.solvers.eigen_krylov import Pairs, Problem, has_small_separators, krylov
from graphtf.solvers.lobpcg import lobpcg


def subspace_layers(
    S: Incidence, count: Tensor, k: int, largest: bool, depth: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """`[G, k]` Ritz values and `[n, k]` vectors after `depth` layers of subspace iteration on all graphs at once.

    For the smallest eigenvalues the null vectors are the first columns, so that Gram-Schmidt keeps the others off them,
    and the shift is 1% above the bound, as a vector whose eigenvalue is the shift would vanish. For the largest they
    vanish by themselves. The tangent of the angle to the wanted subspace shrinks by the factor of
    :func:`graphtf.constructions.subspace_iteration` a layer. Columns that got lost hold NaN in the values.
    """
    if S.num_nodes == 0:
        return S.weight.new_zeros(S.num_graphs, k), S.weight.new_zeros(0, k)
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
    phi = layers(scaled, phi=first)
    phi = phi.gather(1, components[S.batch].unsqueeze(1) + torch.arange(k, device=phi.device))  # [n, k]
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


def iterate_graph(
    S: Incidence, count: int, largest: bool, method: str, tol: float, max_layers: int, rng: np.random.Generator
) -> tuple[Pairs, str]:
    """Eigenpairs of one large graph by `"memory"` or `"preconditioned"`, or by the better one for `"auto"`."""
    if importlib.util.find_spec("scipy") is None:
        raise ImportError("eigenvectors of large graphs need SciPy; install it with: pip install scipy")
    linked = (S.degree > 0).cpu()
    L = S.laplacian_scipy().astype(np.float64)
    if not bool(linked.all()):
        L = L[linked.numpy()][:, linked.numpy()]
    L.indices, L.indptr = L.indices.astype(np.int32), L.indptr.astype(np.int32)
    _, labels = torch.unique(S.components().cpu()[linked], return_inverse=True)
    degree = S.degree.cpu().double()[linked].numpy()
    square = torch.from_numpy(degree if S.scale is not None else np.ones(len(degree)))
    total = torch.zeros(int(labels.max()) + 1, dtype=torch.float64).index_add(0, labels, square)
    null = (square / total[labels]).sqrt().numpy()
    problem = Problem(L, null, labels.numpy(), float(S.lambda_bound()[0]))
    separable = method != "memory" and not largest and has_small_separators(L)
    if method == "auto":
        method = "preconditioned" if separable else "memory"
    if method == "preconditioned" and not separable:
        pairs = lobpcg(problem, count, tol, max_layers, rng, square.numpy())
    else:
        pairs = krylov(problem, count, largest, method == "preconditioned", tol, max_layers, rng)
    full = np.zeros((S.num_nodes, count))
    full[linked.numpy()] = pairs.vectors
    return Pairs(pairs.values, full, pairs.residuals, pairs.products, pairs.complete), method
