"""Gradients of eigenvalues and eigenvectors, where they exist."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.eigen_dense import Blocks, restrict, without_null_vectors

LARGEST_DENSE = 1024  # nodes; larger graphs solve one linear system a column
MAX_STEPS = 5000

_REFUSAL = (
    "an eigenvalue is repeated (or closer to another than sqrt(eps) times the largest), where single eigenvalues and "
    "eigenvectors have no derivative; differentiate functions of the whole invariant subspace instead, such as the "
    "projector V V^T of a complete group of equal eigenvalues, or use effective_resistance or heat_kernel"
)


class EigenpairGradient(torch.autograd.Function):
    r"""Attach the implicit derivative to eigenpairs that were computed by any method.

    .. math:: d\lambda_j = v_j^\top dL\, v_j, \qquad dv_j = (\lambda_j I - L)^+ dL\, v_j .

    Where eigenvalues coincide only functions of the whole invariant subspace have a derivative: the parts of the
    formula inside the subspace must cancel, and the backward pass raises `RuntimeError` if they do not.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        diagonal: Tensor,
        values: Tensor,
        vectors: Tensor,
        graph: Incidence,
        count: Tensor,
        largest: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the eigenpairs as functions of the off-diagonal `weight` `[m]` and the `diagonal` `[n]` of `L`."""
        ctx.save_for_backward(values, vectors)
        ctx.graph, ctx.count, ctx.largest = graph, count, largest
        return values.clone(), vectors.clone()

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor, grad_vectors: Tensor) -> tuple[Tensor | None, ...]:
        """One adjoint solve a column."""
        if torch.is_grad_enabled():
            raise RuntimeError("laplacian_eigenvectors has no second derivatives; call backward without create_graph")
        values, vectors = ctx.saved_tensors
        graph: Incidence = ctx.graph
        k = values.shape[1]
        beyond = torch.arange(k, device=values.device) >= ctx.count.unsqueeze(1)
        grad_values = grad_values.masked_fill(beyond, 0.0)
        grad_vectors = grad_vectors.masked_fill(beyond[graph.batch], 0.0)
        adjoint = torch.zeros_like(vectors)
        u, v = graph.index
        sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
        parts = [sizes <= LARGEST_DENSE]
        large = (sizes > LARGEST_DENSE).nonzero()[:, 0]
        parts += [torch.arange(graph.num_graphs, device=large.device) == g for g in large]
        for i, part in enumerate(parts):
            piece, nodes = restrict(graph, part)
            if piece.num_nodes:
                solve = _dense_adjoint if i == 0 else _sparse_adjoint
                pairs = (values[part], vectors[nodes], grad_values[part], grad_vectors[nodes])
                adjoint[nodes] = solve(piece, *pairs, ctx.count[part], ctx.largest)
        p = adjoint + grad_values[graph.batch] * vectors
        grad_weight = -(p[u] * vectors[v] + p[v] * vectors[u]).sum(1)
        return grad_weight, (p * vectors).sum(1), None, None, None, None, None


def _gap(graph: Incidence) -> Tensor:
    """`[G]` distance up to which eigenvalues are taken as equal."""
    return torch.finfo(graph.dtype).eps ** 0.5 * graph.lambda_bound().detach()


def _check(defect: Tensor, gradient: Tensor) -> None:
    """Raise where a part of the derivative that must vanish does not, compared to the incoming gradient."""
    if defect.numel() and float(defect.abs().max()) > _relative(gradient) * float(gradient.abs().max()):
        raise RuntimeError(_REFUSAL)


def _relative(x: Tensor) -> float:
    return 1e-6 if x.dtype == torch.float64 else 1e-3


def _dense_adjoint(
    graph: Incidence,
    values: Tensor,
    vectors: Tensor,
    grad_values: Tensor,
    grad_vectors: Tensor,
    count: Tensor,
    largest: bool,
) -> Tensor:
    """`z_j = (lambda_j I - L)^+ g_j` `[n, k]` from all eigenpairs of every graph."""
    _, _, w, diagonal = (t.detach() for t in graph._laplacian_entries())
    blocks, k = Blocks(graph), values.shape[1]
    matrices, bound, gap = blocks.matrices(w, diagonal), graph.lambda_bound().detach(), _gap(graph)
    out = torch.zeros_like(vectors)
    for group in blocks.groups():
        g, s = group.nodes.shape
        shift = 2 * bound[group.graphs] + (bound[group.graphs] == 0)
        E, U = torch.linalg.eigh(
            without_null_vectors(graph, group, matrices[group.entries].view(g, s, s), shift)
        )  # [g, s], [g, s, s]
        null = torch.gt(E, 0.75 * shift.unsqueeze(1)).unsqueeze(2)
        E = torch.where(null[..., 0], 0.0, E)
        lam, V, grad = values[group.graphs], vectors[group.nodes], grad_vectors[group.nodes]
        tolerance = gap[group.graphs].view(-1, 1, 1)
        valid = torch.arange(k, device=E.device) < count[group.graphs].unsqueeze(1)  # [g, k]
        difference = lam.unsqueeze(1) - E.unsqueeze(2)  # [g, s, k]
        equal = difference.abs() <= tolerance
        coefficient = U.mT @ grad
        z = U @ torch.where(equal, 0.0, coefficient / torch.where(equal, 1.0, difference))

        together = ((lam.unsqueeze(1) - lam.unsqueeze(2)).abs() <= tolerance) & valid.unsqueeze(1) & valid.unsqueeze(2)
        inner = V.mT @ grad  # [g, k, k]
        missing = U @ torch.where(equal & ~null, coefficient, 0.0) - V @ torch.where(together, inner, 0.0)
        _check(missing * valid.unsqueeze(1), grad_vectors)
        _check((inner - inner.mT) * together, grad_vectors)
        slope = grad_values[group.graphs]
        _check((slope.unsqueeze(1) - slope.unsqueeze(2)) * together, grad_values)
        cut = (equal & ~null).sum(1) > together.sum(1)
        _check(slope * (cut & valid), grad_values)
        out[group.nodes.flatten()] = z.flatten(0, 1)
    return out


def _sparse_adjoint(
    graph: Incidence,
    values: Tensor,
    vectors: Tensor,
    grad_values: Tensor,
    grad_vectors: Tensor,
    count: Tensor,
    largest: bool,
) -> Tensor:
    """The same for one graph: inside the span of the vectors by the formula, outside by conjugate gradient."""
    c = int(count[0])
    out = torch.zeros_like(vectors)
    if c == 0:
        return out
    lam, V, grad, slope = values[0, :c], vectors[:, :c], grad_vectors[:, :c], grad_values[0, :c]
    gap, sign = float(_gap(graph)[0]), -1.0 if largest else 1.0
    difference = lam.unsqueeze(0) - lam.unsqueeze(1)  # [i, j]: lambda_j - lambda_i
    together = difference.abs() <= gap
    inner = V.t() @ grad
    _check((inner - inner.t()) * together, grad)
    _check((slope.unsqueeze(0) - slope.unsqueeze(1)) * together, slope)

    def outside(x: Tensor) -> Tensor:
        x = graph.center(x)
        return x - V @ (V.t() @ x)

    # One more column, a random one, tells whether the last eigenvalue continues behind the last vector.
    probe = torch.randn(len(V), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(V)
    b = torch.cat([grad, probe / probe.norm()], 1)
    goal = (0.01 * _relative(b)) ** 2 * b.square().sum(0)
    b = outside(b)
    level = torch.cat([lam, lam[-1:]])
    x, residual = torch.zeros_like(b), b
    p, square = residual, residual.square().sum(0)
    for _ in range(MAX_STEPS):
        if bool((square <= goal).all()):
            break
        Ap = outside(sign * (graph.laplacian @ p - p * level))
        curvature = (p * Ap).sum(0)
        active = square > goal
        if bool((active & (curvature <= 0)).any()):
            raise RuntimeError(_REFUSAL)
        step = torch.where(active, square / torch.where(active, curvature, 1.0), 0.0)
        x, residual = x + step * p, residual - step * Ap
        new = residual.square().sum(0)
        p, square = residual + p * torch.where(active, new / torch.where(active, square, 1.0), 0.0), new
    else:
        raise RuntimeError(f"the adjoint equation did not converge in {MAX_STEPS} steps. Perhaps {_REFUSAL}")
    if float(x[:, -1].norm()) * gap * len(V) ** 0.5 > 0.1:
        raise RuntimeError(_REFUSAL)
    null = grad - graph.center(grad)
    separate = lam > gap
    inside = V @ torch.where(together, 0.0, inner / torch.where(together, 1.0, difference))
    out[:, :c] = inside - sign * x[:, :c] + null * torch.where(separate, 1 / torch.where(separate, lam, 1.0), 0.0)
    return out
