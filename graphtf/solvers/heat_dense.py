"""Heat kernels of a batch of graphs as dense matrices, exactly as large as the graphs are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.eigen_dense import Blocks


class DenseHeat(torch.autograd.Function):
    r"""`exp(-t L)` of symmetric matrices, with the Daleckii-Krein derivative.

    .. math:: e^{-t L} = U e^{-t E} U^\top, \qquad
        d\,e^{-t L} = U (F \circ U^\top dL\, U) U^\top, \quad F_{ij} = \frac{e^{-t E_i} - e^{-t E_j}}{E_i - E_j}

    with :math:`F_{ij} = -t e^{-t E_i}` where eigenvalues coincide: finite although eigenvectors have no derivative.

    Source: Higham, "Functions of Matrices", SIAM 2008, theorem 3.11.
    """

    @staticmethod
    def forward(ctx: Any, L: Tensor, times: Tensor) -> Tensor:
        """Return `[T, g, s, s]` for matrices `[g, s, s]` and times `[T]`."""
        E, U = torch.linalg.eigh(L)
        ctx.save_for_backward(E, U, times)
        scaled = U * torch.exp(-times.view(-1, 1, 1, 1) * E.clamp(min=0).unsqueeze(1))
        return scaled @ U.mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the matrices; once only."""
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError(
                "second derivatives of the dense heat kernel are not implemented; leave out create_graph=True, or use "
                "method='gradient'"
            )
        E, U, times = ctx.saved_tensors
        E = E.clamp(min=0)
        low = torch.minimum(E.unsqueeze(1), E.unsqueeze(2))
        distance = (E.unsqueeze(1) - E.unsqueeze(2)).abs()
        out = torch.zeros_like(U)
        for t, g in zip(times, grad, strict=True):
            d = t * distance
            ratio = torch.where(d > 0, -torch.expm1(-d) / torch.where(d > 0, d, 1.0), 1.0)
            F = -t * torch.exp(-t * low) * ratio
            out += U @ (F * (U.mT @ g @ U)) @ U.mT
        return out, None


def dense_heat(S: Incidence, x: Tensor | None, times: Tensor) -> Tensor:
    """`exp(-t L) x` `[T, n, k]` for `x` `[n, k]`; with `None` the diagonal `[T, n]`. Differentiable.

    Args:
        S: incidence operator, plain or normalized.
        x: `[n, k]`, or `None`.
        times: `[T]`.
    """
    _, _, w, diagonal = S._laplacian_entries()
    blocks = Blocks(S)
    matrices = blocks.matrices(w, diagonal)
    parts, nodes = [], []
    for group in blocks.groups():
        g, s = group.nodes.shape
        kernel = DenseHeat.apply(matrices[group.entries].view(g, s, s), times)
        part = kernel.diagonal(dim1=2, dim2=3) if x is None else kernel @ x[group.nodes]
        parts.append(part.flatten(1, 2))
        nodes.append(group.nodes.flatten())
    if not parts:
        return w.new_zeros((len(times), 0) if x is None else (len(times), *x.shape))
    place = torch.empty_like(torch.cat(nodes))
    place[torch.cat(nodes)] = torch.arange(len(place), device=place.device)
    return torch.cat(parts, 1)[:, place]
