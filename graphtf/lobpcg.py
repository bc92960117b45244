r"""A layer with memory that finds eigenvectors: locally optimal block preconditioned conjugate gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphtf.attention import Layer
from graphtf.layout import GraphLayout, Layout, PaddedLayout, graph_layout
from graphtf.memory import PRECONDITIONERS, Preconditioner, jacobi, laplacian_diagonal, ratio
from graphtf.norms import rank_tolerance, unit_or_zero
from graphtf.validate import check_choice


class LOBPCG(Layer):
    r"""A step of LOBPCG: attention with score `L`, and memory whose coefficients come from scores between registers.

    .. math:: r = D^{-1} (L x - x\, x^\top L x), \qquad S = \mathrm{GramSchmidt}([x, r, p]), \qquad
        x \leftarrow \mathrm{GramSchmidt}(S C C^\top S^\top x), \qquad p \leftarrow x_{new} - x\, x^\top x_{new}

    with the eigenvectors `C` of the `k` smallest eigenvalues of the scores :math:`S^\top L S`, a matrix of `3 k` rows
    for every graph. The new `x` spans the best `k` vectors (Rayleigh-Ritz) of the span of `x`, of its residual and of
    the last step `p`, the memory. Within the span its columns are those nearest to the old ones, so that signs and
    repeated eigenvalues leave nothing to chance, unless the cut after `k` falls between equal ones; single eigenvectors
    come from the `k x k` matrix :math:`x^\top L x`. A residual that is rounding no longer moves its column.

    Args:
        preconditioner: `"none"` (`D = I`) or `"jacobi"` (`D` the diagonal of `L`, isolated nodes left out).

    Shapes:
        layout, registers `[*, 2, k]` in the order of `REGISTERS` -> layout, registers `[*, 2, k]`.

    Raises:
        ValueError: `preconditioner` is none of these.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> from graphtf.layout import SparseLayout
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))  # a path
        >>> start = torch.zeros(3, 2, 1, dtype=torch.float64)
        >>> start[:, 0, 0] = torch.tensor([3.0, -1.0, -2.0])
        >>> x = LOBPCG()(SparseLayout(B), start)[1][:, 0]  # x and L x hold both eigenvectors off the constant one
        >>> round(float(x.T @ (B.laplacian @ x)), 6)
        1.0

    Reference: Knyazev, "Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate
    gradient method", SIAM J. Sci. Comput. 23, 2001.
    """

    REGISTERS = ("x", "p")

    def __init__(self, preconditioner: Preconditioner = "none") -> None:
        super().__init__()
        check_choice("preconditioner", preconditioner, PRECONDITIONERS)
        self.preconditioner = preconditioner

    @property
    def num_registers(self) -> int:
        """The two registers of `REGISTERS`."""
        return len(self.REGISTERS)

    def forward(self, layout: Layout, registers: Tensor) -> tuple[Layout, Tensor]:
        """Apply the step to `[*, 2, k]` registers."""
        layout = graph_layout(layout, "LOBPCG")
        x, p = registers.unbind(-2)
        k, small = x.shape[-1], negligible(x.dtype)

        x = _gram_schmidt(layout, x, rank_tolerance(x.dtype))
        image = layout.laplacian(x)
        r = image - _combine(layout, x, _scores(layout, x, image))
        largest = layout.inner(image, image).amax(-1, keepdim=True).sqrt()
        r = torch.where(layout.inner(r, r).sqrt() > small * largest, r, 0.0)
        p = torch.where(layout.inner(p, p).sqrt() > small, p, 0.0)
        if self.preconditioner == "jacobi":
            r = jacobi(laplacian_diagonal(layout))(r)
        S = _gram_schmidt(layout, torch.cat([x, r, p], -1), dependent(x.dtype))
        C = lowest(_scores(layout, S, layout.laplacian(S)), _scores(layout, S, S).diagonal(dim1=1, dim2=2), k)
        nearest = C @ (C.mT @ _scores(layout, S, x))
        new = _gram_schmidt(layout, _combine(layout, S, nearest), rank_tolerance(x.dtype))
        return layout, torch.stack([new, new - _combine(layout, x, _scores(layout, x, new))], -2)

    def extra_repr(self) -> str:
        """The preconditioner."""
        return f"preconditioner={self.preconditioner!r}"


class LiteralLOBPCG(nn.Module):
    """The literal twin of :class:`LOBPCG`: the same step on tokens `[B | registers]`, with explicit scores.

    Args:
        layer: the layer.
        num_edges: number of edges `m`, the width of the block `B`.
        channels: number of columns `k` of every register.
        dtype: floating type of the weights.

    Shapes:
        tokens `[n, m + 2 k]`, batch `[n]` or `None` -> tokens `[n, m + 2 k]`.

    Example:
        >>> import torch
        >>> Z = torch.tensor([[1.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # B of one edge, x, p = 0
        >>> LiteralLOBPCG(LOBPCG(), 1, 1, torch.float32)(Z)[:, 1]  # the constant vector
        tensor([0.7071, 0.7071], grad_fn=<SelectBackward0>)
    """

    def __init__(self, layer: LOBPCG, num_edges: int, channels: int, dtype: torch.dtype) -> None:
        super().__init__()
        width = num_edges + layer.num_registers * channels
        query = torch.zeros(width, width, dtype=dtype)
        query.diagonal()[:num_edges] = 1.0
        self.query, self.key = nn.Parameter(query), nn.Parameter(torch.eye(width, dtype=dtype))
        columns = torch.eye(width, dtype=dtype)[:, num_edges:]
        self.value = nn.Parameter(torch.stack(columns.split(channels, dim=1)))
        self.preconditioner = layer.preconditioner

    def forward(self, tokens: Tensor, batch: Tensor | None = None) -> Tensor:
        """Apply the step to `[n, d]` tokens; `batch` `[n]` keeps graphs apart."""
        dtype = tokens.dtype
        batch = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device) if batch is None else batch
        score = (tokens @ self.query.to(dtype)) @ (tokens @ self.key.to(dtype)).t()  # L = B B^T
        value = self.value.to(dtype)
        old, memory = tokens @ value[0], tokens @ value[1]
        new, step = torch.zeros_like(old), torch.zeros_like(memory)
        for graph in torch.unique(batch).tolist():  # tokens of other graphs are masked
            own = batch == graph
            new[own], step[own] = self._step(score[own][:, own], old[own], memory[own])
        return tokens + (new - old) @ value[0].t() + (step - memory) @ value[1].t()

    def _step(self, L: Tensor, x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        small = negligible(x.dtype)
        x = _literal_gram_schmidt(x, rank_tolerance(x.dtype))
        r = L @ x - x @ (x.t() @ L @ x)
        r = r * (r.norm(dim=0) > small * (L @ x).norm(dim=0).max())
        p = p * (p.norm(dim=0) > small)
        if self.preconditioner == "jacobi":
            r = torch.diag(ratio(torch.ones_like(L.diagonal()), L.diagonal(), L.diagonal() > 0)) @ r
        S = _literal_gram_schmidt(torch.cat([x, r, p], 1), dependent(x.dtype))
        S = S[:, S.norm(dim=0) > 0.5]
        C = torch.linalg.eigh(S.t() @ L @ S)[1][:, : x.shape[1]]
        new = _literal_gram_schmidt(S @ C @ (C.t() @ (S.t() @ x)), rank_tolerance(x.dtype))
        return new, new - x @ (x.t() @ new)


def negligible(dtype: torch.dtype) -> float:
    """Length, relative to `L x`, below which a residual is rounding and its direction means nothing."""
    return 10 * rank_tolerance(dtype)


def dependent(dtype: torch.dtype) -> float:
    """Length of what Gram-Schmidt leaves of a unit column below which its direction is too inexact to be searched."""
    return float(torch.finfo(dtype).eps ** (1 / 3))


def lowest(H: Tensor, there: Tensor, k: int) -> Tensor:
    """`[G, s, k]` eigenvectors of the smallest eigenvalues of `[G, s, s]` scores, zero where there are fewer.

    Args:
        H: scores `S^T L S`.
        there: `[G, s]` squared lengths of the columns of `S`: one, or zero for those that do not exist.
        k: number of eigenvectors.

    Example:
        >>> import torch
        >>> H = torch.diag(torch.tensor([2.0, 1.0, 0.0])).unsqueeze(0)
        >>> lowest(H, torch.tensor([[1.0, 1.0, 0.0]]), 1).abs().flatten()
        tensor([0., 1., 0.])
    """
    missing = there < 0.5
    above = 2 * H.diagonal(dim1=1, dim2=2).sum(1, keepdim=True) + 1  # L is positive: its trace exceeds every eigenvalue
    U = torch.linalg.eigh((H + H.mT) / 2 + torch.diag_embed(torch.where(missing, above, 0.0)))[1]
    exists = torch.arange(H.shape[1], device=H.device) < (~missing).sum(1, keepdim=True)
    return (U * exists.unsqueeze(1))[:, :, :k]


def _scores(layout: GraphLayout, a: Tensor, b: Tensor) -> Tensor:
    """`[G, s, t]` products `a^T b` of the columns on every graph."""
    if isinstance(layout, PaddedLayout):
        return a.mT @ b
    if layout.graph.num_graphs == 1:
        return (a.t() @ b).unsqueeze(0)
    outer = a.unsqueeze(2) * b.unsqueeze(1)
    return outer.new_zeros(layout.graph.num_graphs, *outer.shape[1:]).index_add(0, layout.graph.batch, outer)


def _combine(layout: GraphLayout, a: Tensor, coefficients: Tensor) -> Tensor:
    """Combinations of the columns `a` by `[G, s, t]` coefficients of every graph."""
    if isinstance(layout, PaddedLayout):
        return a @ coefficients
    if layout.graph.num_graphs == 1:
        return a @ coefficients[0]
    return torch.einsum("ns,nst->nt", a, coefficients[layout.graph.batch])


def _gram_schmidt(layout: Layout, x: Tensor, threshold: float) -> Tensor:
    """Orthonormal columns `[*, k]`, graph by graph; what is left of a unit column below `threshold` becomes zero."""

    def unit(column: Tensor, threshold: float) -> Tensor:
        return unit_or_zero(column, layout.inner(column, column).sqrt(), threshold)

    done = x[..., :0]
    for column in x.split(1, dim=-1):
        rest = unit(column, torch.finfo(x.dtype).tiny)
        for _ in range(2):
            rest = rest - (done * layout.inner(done, rest.expand_as(done))).sum(-1, keepdim=True)
        done = torch.cat([done, unit(rest, threshold)], -1)
    return done


def _literal_gram_schmidt(x: Tensor, threshold: float) -> Tensor:
    """The same on one graph, by attention with the score of the columns before and the column as value."""
    done = torch.zeros(len(x), 0, dtype=x.dtype, device=x.device)
    for column in x.split(1, dim=1):
        rest = unit_or_zero(column, column.norm(), torch.finfo(x.dtype).tiny)
        for _ in range(2):
            rest = rest - (done @ done.t()) @ rest
        done = torch.cat([done, unit_or_zero(rest, rest.norm(), threshold)], 1)
    return done
