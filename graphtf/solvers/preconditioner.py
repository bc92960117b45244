"""Preconditioners of the value map: an approximate Cholesky factor (package approx-chol), or a complete one (SciPy)."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.sparse_inverse import SparseInverse

INSTALL = "approximate Cholesky needs the package approx-chol: pip install 'graphtf[solvers]'"


@cache
def has_approximate_cholesky() -> bool:
    """Whether the package approx-chol is installed."""
    return importlib.util.find_spec("approx_chol") is not None


@cache
def has_scipy() -> bool:
    """Whether SciPy is installed, for complete factors."""
    return importlib.util.find_spec("scipy") is not None


class ApproximateCholesky:
    r"""Randomised sparse factor :math:`\mathcal{L} D \mathcal{L}^\top \approx L`, to precondition with.

    Nodes are eliminated in the order of their degree; the clique that elimination would leave is sampled down to a
    tree, so that the factor has O(m log n) entries in expectation.

    Args:
        graph: plain operator on the CPU.
        seed: of the sampling.

    Raises:
        ImportError: approx-chol is not installed.
        ValueError: the graph is on another device.

    Example:
        >>> import torch
        >>> path = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))
        >>> ApproximateCholesky(path)(torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)).flatten().round()
        tensor([ 1.,  0., -1.], dtype=torch.float64)

    Source: Gao, Kyng, Spielman, "AC(k): robust solution of Laplacian equations by randomized approximate Cholesky
    factorization", SIAM J. Scientific Computing 2025.
    """

    def __init__(self, graph: Incidence, seed: int = 0) -> None:
        if not has_approximate_cholesky():
            raise ImportError(INSTALL)
        if graph.device.type != "cpu":
            raise ValueError(f"approximate Cholesky runs on the CPU, but the graph is on {graph.device}; move it")
        import approx_chol

        self.graph = graph
        starts, columns, values = _rows(graph)
        self._factor: Any = approx_chol.factorize_raw(
            starts, columns, values, graph.num_nodes, approx_chol.Config(seed=seed)
        )

    def apply(self, r: Any) -> Any:
        """The preconditioned residual of one column, NumPy in and out."""
        return self._factor.solve(r)

    def __call__(self, r: Tensor) -> Tensor:
        """The preconditioned `[n, k]` residuals."""
        columns = [torch.from_numpy(self.apply(column.contiguous().numpy())) for column in r.double().unbind(1)]
        return torch.stack(columns, 1).to(r.dtype) if columns else r


class SparseFactor:
    r"""The complete sparse factor of `L` with one node of every component grounded: the preconditioner is `L^+`.

    It stays sparse on graphs with small separators only (meshes, roads), see
    :func:`graphtf.solvers.separators.has_small_separators`. Then all right-hand sides together are cheap.

    Args:
        graph: plain operator on the CPU.

    Raises:
        ImportError: SciPy is not installed.

    Example:
        >>> import torch
        >>> path = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))
        >>> x = SparseFactor(path)(torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64))
        >>> (x - x.mean()).flatten().round(decimals=6) + 0.0
        tensor([ 1.,  0., -1.], dtype=torch.float64)

    Source: Li, "An overview of SuperLU", ACM Trans. Math. Software 31, 2005.
    """

    def __init__(self, graph: Incidence) -> None:
        from scipy.sparse import diags

        L = graph.laplacian_scipy().astype("float64")
        labels = graph.components().numpy()
        roots = np.zeros(graph.num_nodes)
        first = np.unique(labels, return_index=True)[1]
        roots[first] = np.where(L.diagonal()[first] > 0, L.diagonal()[first], 1.0)  # resistors to the ground
        self._inverse = SparseInverse(L + diags(roots))

    def __call__(self, psi: Tensor) -> Tensor:
        """`[n, k]` potentials for demands that sum to zero on every component."""
        return torch.from_numpy(self._inverse(psi.double().contiguous().numpy())).to(psi.dtype)


def _rows(graph: Incidence) -> tuple[Any, Any, Any]:
    """Compressed rows of `L` with uint32 indices."""
    from graphtf.solvers.kernels import compiled_laplacian

    compiled = compiled_laplacian(graph) if graph.num_graphs == 1 else None
    if compiled is not None:
        return compiled.full_matrix()
    L = graph.laplacian_scipy()  # scipy comes with approx-chol
    return L.indptr.astype("uint32"), L.indices.astype("uint32"), L.data.astype("float64")
