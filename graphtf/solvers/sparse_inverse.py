"""Products with the inverse of `L` for several vectors at once, from a complete sparse factor."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, np.dtype[Any]]
COMPILED = 2048  # nodes, from which on the compiled substitution is worth its start


class SparseInverse:
    r"""The product with :math:`A^{-1}` for a sparse positive definite `A`, by :math:`P A P^\top = C D C^\top`.

    SuperLU factors in the symmetric minimum-degree order without pivoting, so that its two triangles are transposes of
    each other up to `D`. Then half of the factor is enough, and with numba eight columns at once are substituted at the
    cost of about two; without numba SuperLU substitutes itself.

    Args:
        A: SciPy sparse matrix, float64.

    Attributes:
        order: `[n]` place of every row in the order of elimination, which `in_order` works in.

    Example:
        >>> import numpy as np
        >>> import scipy.sparse
        >>> inverse = SparseInverse(scipy.sparse.diags([2.0, 4.0]).tocsc())
        >>> inverse(np.array([[2.0], [2.0]])).ravel().tolist()
        [1.0, 0.5]

    Source: Li, "An overview of SuperLU", ACM Trans. Math. Software 31, 2005.
    """

    def __init__(self, A: Any) -> None:
        from scipy.sparse.linalg import splu

        options = {"SymmetricMode": True}
        self._factor: Any = splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        self.order: Array = self._factor.perm_c
        self._parts = None
        if A.shape[0] >= COMPILED and importlib.util.find_spec("numba") is not None:
            self._parts = self._triangle()

    def _triangle(self) -> tuple[Array, Array, Array, Array] | None:
        """The lower triangle with its diagonal first in every column; `None` if it is not as expected."""
        factor = self._factor
        lower, diagonal = factor.L, factor.U.diagonal()
        starts, rows = lower.indptr, lower.indices
        n = len(diagonal)
        ordinary = (
            np.array_equal(factor.perm_r, factor.perm_c)
            and len(rows) < 2**31
            and np.array_equal(rows[starts[:-1]], np.arange(n))
            and bool((diagonal > 0).all())
        )
        if not ordinary:
            return None
        self._factor = None  # the other half is not needed any more
        return starts.astype(np.int32, copy=False), rows.astype(np.int32, copy=False), lower.data, 1 / diagonal

    def __call__(self, X: Array) -> Array:
        """`A^{-1} X` for `[n, b]`."""
        if self._parts is None:
            return np.asarray(self._factor.solve(np.asfortranarray(X)))
        work = np.empty_like(X)
        work[self.order] = X
        return self.in_order(work)[self.order]

    def in_order(self, X: Array) -> Array:
        """The same for rows in the order of elimination, in which nothing has to be moved."""
        triangle = self._parts
        if triangle is None:
            out = np.empty_like(X)
            out[self.order] = self(X[self.order])
            return out
        from graphtf.solvers.triangular_numba import COLUMNS, substitute, substitute_half

        threads = torch.get_num_threads()
        width = COLUMNS if threads == 1 or X.shape[1] > COLUMNS * (threads - 1) else COLUMNS // 2
        run = substitute if width == COLUMNS else substitute_half
        out = np.empty_like(X)

        def part(first: int) -> None:
            wanted = min(width, X.shape[1] - first)
            work = np.zeros((len(X), width)) if wanted < width else np.empty((len(X), width))
            work[:, :wanted] = X[:, first : first + width]
            run(*triangle, work)
            out[:, first : first + width] = work[:, :wanted]

        pieces = range(0, X.shape[1], width)
        if threads == 1 or len(pieces) == 1:
            for first in pieces:
                part(first)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, pieces))
        return out
