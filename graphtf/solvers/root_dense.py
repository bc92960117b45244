"""The square root of the inverse Laplacian by eigenvalues: the reference, and the fastest way for small graphs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout
from graphtf.solvers.linear_cg import relative_size
from graphtf.solvers.linear_parts import limit_of_rounding
from graphtf.solvers.linear_system import Run

LARGEST = 4096  # nodes of a graph whose eigenvalues are computed


def dense_root(graph: Incidence, psi: Tensor, tol: float) -> tuple[Tensor, Run]:
    r"""`(L^+)^{1/2} psi` in float64, with gradients to the demands and the weights.

    Args:
        graph: plain operator, a batch or a single graph.
        psi: `[n, k]` centered demands.
        tol: relative residual that is wanted, measured by applying the root twice.

    Raises:
        ValueError: a graph has more than 4,096 nodes.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0]))
        >>> dense_root(edge, torch.tensor([[2.0], [-2.0]]), 1e-8)[0].flatten()
        tensor([ 1.0000, -1.0000], dtype=torch.float64)
    """
    sizes = torch.bincount(graph.batch, minlength=graph.num_graphs)
    size = int(sizes.max()) if sizes.numel() else 0
    if size > LARGEST:
        raise ValueError(
            f"a graph has {size:,} nodes, but the eigenvalues behind (L^+)^(1/2) are computed for at most {LARGEST:,}; "
            "use method='auto' or 'memory', or a random embedding (pass the number of its columns)"
        )
    psi = psi.double()
    if graph.num_edges == 0 or psi.numel() == 0:
        zero = psi.new_zeros(psi.shape[1])
        return psi * 0.0, Run(zero, 0, "dense", zero.unsqueeze(0))
    double = graph if graph.dtype == torch.float64 else graph._replace(weight=graph.weight.double())
    psi = double.center(psi)  # rounding has moved the sums
    x = InverseRoot.apply(double.weight, psi, double)
    with torch.no_grad():
        y = InverseRoot.apply(double.weight, x, double)
        residual = relative_size(double, psi, psi - double.laplacian @ y)
    worst = float(residual.max())
    failed = (
        ""
        if worst <= tol
        else (
            f"eigenvalues reached a relative residual of {worst:.1e}, but tol={tol:.1e}: {limit_of_rounding(graph)}. "
            "The best answer is in .solution"
        )
    )
    return x, Run(residual, 0, "dense", residual.unsqueeze(0), failed)


class InverseRoot(torch.autograd.Function):
    r"""By eigenvalues; the gradient uses divided differences, which need no gap between them.

    .. math:: \frac{a^{-1/2} - b^{-1/2}}{a - b} = \frac{-1}{\sqrt{a b}\, (\sqrt a + \sqrt b)}

    Source: Higham, "Functions of Matrices", SIAM 2008, theorem 3.11.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, psi: Tensor, graph: Incidence) -> Tensor:
        """Centered root of `[n, k]` demands."""
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
        """Return the gradients of the weights and the demands; once only."""
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
            a, b = root.unsqueeze(2), root.unsqueeze(1)
            quotient = -inverse.unsqueeze(2) * inverse.unsqueeze(1) / (a + b)
            middle = quotient * torch.bmm(g, torch.bmm(transposed, psi).transpose(1, 2))
            S = torch.bmm(vectors, torch.bmm(middle, transposed))
            u, v = layout.graph.index
            graph, i, j = layout.graph.batch[u], layout.local[u], layout.local[v]
            of_weight = S[graph, i, i] + S[graph, j, j] - S[graph, i, j] - S[graph, j, i]
        return of_weight, of_psi, None
