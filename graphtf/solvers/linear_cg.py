"""Conjugate gradient with tensor operations: any device, every graph of a batch with its own coefficients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from graphtf.incidence import Incidence

Preconditioner = Callable[[Tensor], Tensor]
PROBE_STEPS = 8


def sparse_laplacian(graph: Incidence) -> Tensor:
    """`L` as a `torch` CSR tensor."""
    u, v, w, diagonal = graph._laplacian_entries()
    nodes = torch.arange(graph.num_nodes, device=graph.device)
    index = torch.stack([torch.cat([u, v, nodes]), torch.cat([v, u, nodes])])
    entries = torch.cat([-w, -w, diagonal]).detach()
    shape = (graph.num_nodes, graph.num_nodes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_coo_tensor(index, entries, shape, check_invariants=False).to_sparse_csr()


def jacobi(graph: Incidence) -> Preconditioner:
    """Division by the weighted degrees, zero on isolated nodes."""
    degree = graph.degree.detach()
    scale = torch.where(degree > 0, 1 / torch.where(degree > 0, degree, 1.0), 0.0).unsqueeze(1)
    return lambda r: r * scale


def per_graph_sum(graph: Incidence, x: Tensor) -> Tensor:
    """`[n, k]` node values summed over every graph: `[num_graphs, k]`."""
    if graph.num_graphs == 1:
        return x.sum(0, keepdim=True)
    return x.new_zeros(graph.num_graphs, x.shape[1]).index_add(0, graph.batch, x)


def relative_residual(graph: Incidence, psi: Tensor, x: Tensor) -> Tensor:
    r"""`[k]` largest :math:`||\psi - L x|| / ||\psi||` over the graphs; 0 for a graph without demands."""
    return relative_size(graph, psi, psi - graph.laplacian @ x)


def relative_size(graph: Incidence, psi: Tensor, left: Tensor) -> Tensor:
    r"""`[k]` largest :math:`||left|| / ||\psi||` over the graphs."""
    norm = per_graph_sum(graph, psi.square()).sqrt()
    size = per_graph_sum(graph, left.square()).sqrt()
    ratio = torch.where(norm > 0, size / torch.where(norm > 0, norm, 1.0), size)
    return ratio.amax(0) if len(ratio) else psi.new_zeros(psi.shape[1])


def conjugate_gradient(
    graph: Incidence,
    psi: Tensor,
    tol: float,
    max_layers: int,
    precondition: Preconditioner | None = None,
    stop_at: int = 0,
    keep_best: bool = False,
) -> tuple[Tensor, int, Tensor]:
    r"""Conjugate gradient from zero, graph by graph and column by column.

    .. math::
        x_{l+1} = x_l + \alpha_l p_l, \quad r_{l+1} = r_l - \alpha_l L p_l, \quad p_{l+1} = P r_{l+1} + \beta_l p_l,
        \qquad \alpha_l = \frac{r_l^\top P r_l}{p_l^\top L p_l}, \quad
        \beta_l = \frac{r_{l+1}^\top P r_{l+1}}{r_l^\top P r_l}

    The coefficients are inner products of registers, that is scores of an attention between them; `p` is the memory.
    A column that has arrived on a graph stands still there, so that the answer does not depend on the rest of a batch.

    Args:
        graph: plain operator, a batch or a single graph.
        psi: `[n, k]` demands in the range of `L`.
        tol: relative residual to stop at, on every graph and column.
        max_layers: number of steps to stop at.
        precondition: symmetric positive map `P` of `[n, k]`; `None` is the identity.
        stop_at: return early if the residual falls so slowly that more steps than this would be needed; 0 means never.
        keep_best: return the iterate of least residual on every graph and column instead of the last one.

    Returns:
        Potentials `[n, k]`, the number of steps and `[steps + 1, k]` residuals of the worst graph.

    Example:
        >>> import torch
        >>> B = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> conjugate_gradient(B, torch.tensor([[2.0], [-2.0]]), 1e-6, 9)[:2]
        (tensor([[ 0.5000],
                [-0.5000]]), 1)

    Source: Hestenes, Stiefel, 1952; as layers with memory: Gatmiry et al.'s and Cheng et al.'s linear transformers.
    """
    L = sparse_laplacian(graph)
    single = graph.num_graphs == 1
    norm = per_graph_sum(graph, psi.square()).sqrt()
    safe = torch.where(norm > 0, norm, 1.0)
    running = norm > 0
    history = [running.to(psi.dtype).amax(0)] if len(norm) else [psi.new_zeros(psi.shape[1])]
    x, r = torch.zeros_like(psi), psi.clone()
    z = r if precondition is None else precondition(r)
    p = z.clone()
    energy = per_graph_sum(graph, r * z)
    steps = 0
    last = least = torch.ones_like(norm)  # residuals of `x`, and of the best iterate so far
    best: Tensor | None = None

    def spread(values: Tensor) -> Tensor:
        return values if single else values[graph.batch]

    while steps < max_layers and bool(running.any()):
        q = L @ p
        curvature = per_graph_sum(graph, p * q)
        running = running & (curvature > 0)
        alpha = spread(torch.where(running, energy / torch.where(running, curvature, 1.0), 0.0))
        r.addcmul_(alpha.expand_as(q), q, value=-1.0)
        ratio = per_graph_sum(graph, r.square()).sqrt() / safe
        if keep_best:
            leaving = (last == least) & ~(ratio <= least)  # the step goes away from the best iterate so far
            if bool(leaving.any()):
                best = x.clone() if best is None else torch.where(spread(leaving), x, best)
            last, least = ratio, torch.where(ratio <= least, ratio, least)
        x.addcmul_(alpha.expand_as(p), p)
        steps += 1
        history.append(torch.where(norm > 0, ratio, 0.0).amax(0))
        running = running & (ratio > tol)
        if stop_at and steps % PROBE_STEPS == 0 and is_slow(float(history[-1].max()), steps, tol, stop_at):
            break
        z = r if precondition is None else precondition(r)
        after = per_graph_sum(graph, r * z)
        beta = torch.where(running, after / torch.where(energy > 0, energy, 1.0), 0.0)
        p = z + spread(beta) * p
        energy = after
    if best is not None:
        x = torch.where(spread(last == least), x, best)
    return x, steps, torch.stack(history)


def is_slow(residual: float, steps: int, tol: float, limit: int) -> bool:
    """Whether the rate of the steps so far would need more than `limit` of them in all."""
    if residual <= tol:
        return False
    return residual >= 1 or steps * math.log(tol) / math.log(residual) > limit
