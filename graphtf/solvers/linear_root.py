"""The square root of the inverse Laplacian: by eigenvalues, or by the power series of the transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.constructions import resistive_embedding
from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout
from graphtf.solvers.linear import Options
from graphtf.solvers.linear_cg import relative_size
from graphtf.solvers.linear_fixed import contraction, depth_for_tolerance
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.solution import ConvergenceError, Solution

LARGEST = 4096  # nodes of a graph whose eigenvalues are computed


def square_root(graph: Incidence, psi: Tensor, options: Options) -> Solution:
    """`(L^+)^{1/2} psi` for centered demands; see :func:`graphtf.solvers.resistive_embedding`."""
    columns = psi if psi.dim() == 2 else psi.unsqueeze(1)
    if options.method not in ("auto", "dense", "gradient"):
        raise ValueError(
            f"(L^+)^(1/2) of demands has the methods 'dense', 'gradient' and 'auto', but got {options.method!r}"
        )
    run = _series if options.method == "gradient" else _dense
    x, residual, layers, bound, history = run(graph, columns, options)
    if psi.dim() == 1:
        x, residual = x.squeeze(1), residual.squeeze(0)
        history = None if history is None else history.squeeze(1)
    solution = Solution.of(x, residual, layers, "gradient" if layers else "dense", bound, history)
    tol = options.tolerance(psi.dtype)
    worst = float(residual.max()) if residual.numel() else 0.0
    if options.method != "gradient" and worst > tol:
        raise ConvergenceError(
            f"eigenvalues reached a relative residual of {worst:.1e}, but tol={tol:.1e}: {limit_of_rounding(graph)}. "
            "The best answer is in .solution",
            solution,
        )
    return solution


_Answer = tuple[Tensor, Tensor, int, Tensor | None, Tensor | None]


def _dense(graph: Incidence, psi: Tensor, options: Options) -> _Answer:
    sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
    size = int(sizes.max()) if sizes.numel() else 0
    if size > LARGEST:
        raise ValueError(
            f"a graph has {size:,} nodes, but the eigenvalues behind (L^+)^(1/2) are computed for at most {LARGEST:,}; "
            "use method='gradient' with max_layers, or a random embedding (pass the number of its columns)"
        )
    if graph.num_edges == 0:
        zero = psi.new_zeros(psi.shape[1])
        return psi * 0.0, zero, 0, None, zero.unsqueeze(0) if options.history else None
    weight = graph.weight.double()
    double = graph if graph.dtype == torch.float64 else graph._replace(weight=weight)
    x = _InverseRoot.apply(double.weight, psi.double(), double)
    with torch.no_grad():
        y = _InverseRoot.apply(double.weight, x, double)
        residual = relative_size(graph, psi.double(), psi.double() - double.laplacian @ y).to(psi.dtype)
    return x.to(psi.dtype), residual, 0, None, residual.unsqueeze(0) if options.history else None


class _InverseRoot(torch.autograd.Function):
    """By eigenvalues; the gradient uses divided differences, which need no gap between them."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, psi: Tensor, graph: Incidence) -> Tensor:
        layout = PaddedLayout(graph._replace(weight=weight.detach()))
        eigenvalues, vectors = torch.linalg.eigh(layout.laplacian_blocks)
        labels, nodes = graph.components(), layout.pack(torch.ones_like(weight[:1]).expand(graph.num_nodes))
        # The zeros: one for every component of a graph and every row of padding.
        owner = graph.batch.new_zeros(int(labels.max()) + 1)
        owner[labels] = graph.batch
        zeros = torch.bincount(owner, minlength=graph.num_graphs) + layout.size - nodes.sum(1).long()
        positive = torch.arange(layout.size, device=weight.device) >= zeros.unsqueeze(1)
        root = torch.where(positive, eigenvalues, 1.0).clamp(min=torch.finfo(weight.dtype).tiny).sqrt()
        inverse = torch.where(positive, 1 / root, 0.0)
        packed = layout.pack(psi.detach())
        x = torch.bmm(vectors, inverse.unsqueeze(2) * torch.bmm(vectors.transpose(1, 2), packed))
        ctx.save_for_backward(vectors, root, inverse, packed)
        ctx.layout = layout
        return graph.center(layout.unpack(x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "second derivatives of the eigenvalues behind (L^+)^(1/2) are not implemented; leave out "
                "create_graph=True, or use method='gradient'"
            )
        vectors, root, inverse, psi = ctx.saved_tensors
        layout: PaddedLayout = ctx.layout
        transposed = vectors.transpose(1, 2)
        g = torch.bmm(transposed, layout.pack(layout.graph.center(gradient)))
        of_psi = layout.unpack(torch.bmm(vectors, inverse.unsqueeze(2) * g))
        of_weight = None
        if ctx.needs_input_grad[0]:
            # (a^-1/2 - b^-1/2) / (a - b) = -1 / (sqrt(a b) (sqrt(a) + sqrt(b)))
            a, b = root.unsqueeze(2), root.unsqueeze(1)
            quotient = -inverse.unsqueeze(2) * inverse.unsqueeze(1) / (a + b)
            middle = quotient * torch.bmm(g, torch.bmm(transposed, psi).transpose(1, 2))
            S = torch.bmm(vectors, torch.bmm(middle, transposed))
            u, v = layout.graph.index
            graph, i, j = layout.graph.batch[u], layout.local[u], layout.local[v]
            of_weight = S[graph, i, i] + S[graph, j, j] - S[graph, i, j] - S[graph, j, i]
        return of_weight, of_psi, None


def _series(graph: Incidence, psi: Tensor, options: Options) -> _Answer:
    r""":math:`\sqrt\delta \sum_{j<l} a_j (I - \delta L)^j \psi` with the coefficients of :math:`(1 - t)^{-1/2}`."""
    rate, layers = contraction(graph), options.max_layers
    if layers is None:
        layers = depth_for_tolerance(rate, options.tolerance(psi.dtype), "gradient")
    scaled = graph.normalized("spectral")
    bound = graph.lambda_bound()[graph.batch].unsqueeze(1)
    scale = torch.where(bound > 0, bound, 1.0).rsqrt().to(psi.dtype) * (bound > 0)
    transformer = resistive_embedding(layers, 1.0, dtype=psi.dtype)
    x = transformer(scaled, psi=psi, layout="sparse") * scale

    def residual(depth: int) -> Tensor:
        """Of the square of the series, which tends to the inverse."""
        part = resistive_embedding(depth, 1.0, dtype=psi.dtype)
        with torch.no_grad():
            y = part(scaled, psi=part(scaled, psi=psi, layout="sparse") * scale, layout="sparse") * scale
            return relative_size(graph, psi, psi - graph.laplacian @ y)

    last = residual(layers)
    history = None
    if options.history:
        start = relative_size(graph, psi, psi.detach())
        history = torch.stack([start, *(residual(depth) for depth in range(1, layers)), last])
    relative = torch.tensor(rate**layers, dtype=torch.float64, device=psi.device)
    return graph.center(x), last, layers, relative, history
