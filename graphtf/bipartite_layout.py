"""Tokens of two kinds that attend to each other alone: rows and columns of a matrix, or nodes and edges of a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.activation import Activation
from graphtf.incidence import Incidence


class MatrixLayout:
    r"""Rows and columns of matrices `A` `[P, m, n]` as tokens, `m + n` of them.

    .. math:: S = \begin{pmatrix} 0 & A \\ W^\top & 0 \end{pmatrix}

    A register that lives on columns is measured, `A x`, on rows, and one that lives on rows is brought back, `W^T r`,
    to columns. Registers are zero on the other kind of token.

    Args:
        A: `[P, m, n]` matrices, or `[m, n]` one for all.
        analysis: `W`, of the same shape; `None`: `A`.

    Raises:
        ValueError: the shapes differ, or a number is not finite.

    Example:
        >>> layout = MatrixLayout(torch.tensor([[[2.0, 0.0]]]))  # one row, two columns
        >>> layout.laplacian(torch.tensor([[[1.0], [3.0], [4.0]]])).flatten().tolist()
        [6.0, 2.0, 0.0]
    """

    def __init__(self, A: Tensor, analysis: Tensor | None = None) -> None:
        if A.dim() not in (2, 3) or not A.is_floating_point():
            raise ValueError(f"A must be floating-point [P, m, n] or [m, n], but is {A.dtype} {list(A.shape)}")
        if analysis is not None and analysis.shape != A.shape:
            raise ValueError(f"analysis must have the shape {list(A.shape)} of A, but has {list(analysis.shape)}")
        for name, matrix in (("A", A), ("analysis", analysis)):
            if matrix is not None and not bool(torch.isfinite(matrix).all()):
                raise ValueError(f"{name} holds numbers that are not finite")
        self.A, self.W, self.rows = A, A if analysis is None else analysis, A.shape[-2]

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """The score times `[P, m + n, f]`; `data` `[n, n]` multiplies what comes to columns."""
        if act != "id":
            raise ValueError(f"rows and columns attend to each other without an activation, but got {act!r}")
        rows, columns = x[..., : self.rows, :], x[..., self.rows :, :]
        back = self.W.mT @ rows
        return torch.cat([self.A @ columns, back if data is None else data @ back], -2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value` over all tokens of a problem."""
        return query @ (key.mT @ value)

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of `x * y` over the tokens of a problem, spread back to them."""
        return (x * y).sum(1, keepdim=True).expand_as(x)


class EdgeLayout:
    r"""Nodes and edges of graphs as tokens, `n + m` of them, at a cost of O(m) a product.

    .. math:: S = \begin{pmatrix} 0 & B \\ B^\top & 0 \end{pmatrix}

    Flows live on edges and are summed at nodes, `B f`; potentials live on nodes and differ along edges, `B^T x`.

    Args:
        graph: a graph or a batch.

    Example:
        >>> layout = EdgeLayout(Incidence(torch.tensor([[0], [1]])))
        >>> layout.laplacian(torch.tensor([[5.0], [3.0], [4.0]])).flatten().tolist()  # two nodes and their edge
        [4.0, -4.0, 2.0]
    """

    def __init__(self, graph: Incidence) -> None:
        self.graph, self.rows = graph, graph.num_nodes
        self.batch = torch.cat([graph.batch, graph.batch[graph.index[0]]])  # [n + m]

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """The score times `[n + m, f]`."""
        if act != "id" or data is not None:
            raise ValueError("nodes and edges attend to each other with neither a data map nor an activation")
        return torch.cat([self.graph @ x[self.rows :], self.graph.T @ x[: self.rows]])

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value` over all tokens of a graph."""
        outer = key.unsqueeze(2) * value.unsqueeze(1)
        moment = outer.new_zeros(self.graph.num_graphs, *outer.shape[1:]).index_add(0, self.batch, outer)
        return torch.einsum("na,naf->nf", query, moment[self.batch])

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of `x * y` over the tokens of a graph, spread back to them."""
        product = x * y
        total = product.new_zeros(self.graph.num_graphs, *product.shape[1:])
        return total.index_add(0, self.batch, product)[self.batch]
