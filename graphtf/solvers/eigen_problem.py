"""One large graph as its eigensolvers see it, and the Rayleigh-Ritz procedure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphtf.solvers.sparse_inverse import Array


@dataclass
class Problem:
    """One graph without isolated nodes, as SciPy arrays.

    Attributes:
        L: `[n, n]` CSR matrix, float64 with int32 indices.
        null: `[n]` null vector, of unit length on every component.
        labels: `[n]` component of every node.
        bound: upper bound of the largest eigenvalue.
    """

    L: Any
    null: Array
    labels: Array
    bound: float
    _matrix: Tensor | None = field(default=None, repr=False)

    @cached_property
    def components(self) -> int:
        """Number of connected components."""
        return int(self.labels.max()) + 1

    def reordered(self, nodes: Array) -> Problem:
        """The same graph with these nodes, in this order."""
        L = self.L[nodes][:, nodes]
        return Problem(L, self.null[nodes], self.labels[nodes], self.bound)

    def product(self, X: Array) -> Array:
        """`L X` for `[n, k]`; many columns share one pass over the entries."""
        if self._matrix is None:
            self._matrix = _sparse(self.L)
        product: Array = (self._matrix @ torch.from_numpy(np.ascontiguousarray(X))).numpy()
        return product

    def shifted(self, centre: float, radius: float) -> Tensor:
        """`(L - centre I) / radius` as a sparse tensor."""
        from scipy.sparse import identity

        return _sparse(((self.L - centre * identity(len(self.null))) / radius).tocsr())

    def center(self, X: Array) -> Array:
        """Project `[n, k]` on the range of `L`."""
        if self.components == 1:
            null, Y = torch.from_numpy(self.null).unsqueeze(1), torch.from_numpy(np.ascontiguousarray(X))
            centred: Array = torch.addmm(Y, null, null.t() @ Y, alpha=-1).numpy()
            return centred
        weighted = self.null[:, None] * X
        inner = np.stack([np.bincount(self.labels, column) for column in weighted.T], 1) if X.shape[1] else X
        return X - self.null[:, None] * inner[self.labels] if X.shape[1] else X


@dataclass
class Pairs:
    """Ritz pairs with their absolute residuals.

    Attributes:
        products: number of products with `L` (or solves), each of all columns of a block.
        complete: whether none is missing.
        history: pairs of the number of products and the residuals then, if asked for.
    """

    values: Array
    vectors: Array
    residuals: Array
    products: int = 0
    complete: bool = True
    history: list[tuple[int, Array]] = field(default_factory=list)


def rayleigh_ritz(problem: Problem, V: Array, largest: bool, orthonormal: bool = False) -> Pairs:
    """The best eigenpairs in the span of `V` `[n, k]`, wanted ones first.

    Args:
        problem: the graph.
        V: vectors.
        largest: which end is wanted.
        orthonormal: whether the columns of `V` are orthonormal and in the range of `L`.
    """
    Q = torch.from_numpy(np.ascontiguousarray(V if orthonormal else np.linalg.qr(problem.center(V))[0]))
    LQ = torch.from_numpy(problem.product(Q.numpy()))
    values, U = torch.linalg.eigh(Q.t() @ LQ)
    if largest:
        values, U = values.flip(0), U.flip(1)
    X, LX = Q @ U, LQ @ U
    residuals = (LX - X * values).square_().sum(0).sqrt_()
    return Pairs(values.numpy(), X.numpy(), residuals.numpy())


def _sparse(L: Any) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        starts, columns = torch.from_numpy(L.indptr.astype(np.int32)), torch.from_numpy(L.indices.astype(np.int32))
        return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(L.data), L.shape, check_invariants=False)
