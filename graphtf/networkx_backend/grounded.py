"""Solves with the Laplacian of a connected graph, one node of which is held at potential zero."""

from __future__ import annotations

from typing import Any, Literal

import networkx as nx
import numpy as np
import numpy.typing as npt

from graphtf.incidence import Incidence

DENSE_NODES = 3000  # up to here a dense factorisation is an answer, whatever the fill of a sparse one
DENSE_SHARE = 0.02  # of all pairs being edges: from here on a sparse factorisation fills up

Solver = Literal["full", "lu", "cg"]


class GroundedLaplacian:
    r"""Potentials of a connected graph for given demands.

    .. math:: L x = \psi, \qquad x_g = 0, \qquad g = \text{a node of largest degree}.

    Args:
        graph: incidence operator of a connected graph, in float32 or float64.
        solver: `"full"`: dense Cholesky; `"lu"`: sparse factorisation; `"cg"`: conjugate gradient with a Jacobi
            preconditioner; `None`: sparse, or dense if the graph is small and dense.

    Example:
        >>> import torch
        >>> path = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))
        >>> float(np.ptp(GroundedLaplacian(path).solve(np.array([[1.0], [0.0], [-1.0]]))))
        2.0
    """

    def __init__(self, graph: Incidence, solver: Solver | None = None) -> None:
        import scipy.linalg
        import scipy.sparse.linalg

        n = graph.num_nodes
        if solver is None:
            small = n <= DENSE_NODES and graph.num_edges >= DENSE_SHARE * n * (n - 1) / 2
            solver = "full" if small else "lu"
        self.solver = solver
        keep = np.ones(n, dtype=bool)
        keep[int(graph.degree.argmax())] = False
        self.keep = keep
        matrix = graph.laplacian_scipy()[keep][:, keep].tocsc()
        if solver == "full":
            factor = scipy.linalg.cho_factor(
                matrix.toarray(order="F"), lower=True, overwrite_a=True, check_finite=False
            )
            self._solve = lambda b: scipy.linalg.cho_solve(factor, b, check_finite=False)
        elif solver == "lu":
            options = {"SymmetricMode": True}
            lu = scipy.sparse.linalg.splu(matrix, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            self._solve = lu.solve
        else:
            self.matrix = matrix
            self._solve = self._conjugate_gradient

    def solve(self, demand: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`[n, k]` potentials of `[n, k]` demands, whose columns sum to zero."""
        x = np.zeros_like(demand)
        if demand.shape[0] > 1 and demand.shape[1]:
            x[self.keep] = self._solve(demand[self.keep])
        return x

    def _conjugate_gradient(self, demand: npt.NDArray[Any]) -> npt.NDArray[Any]:
        import scipy.sparse
        import scipy.sparse.linalg

        n = self.matrix.shape[0]
        jacobi = scipy.sparse.dia_array((1 / self.matrix.diagonal()[None], [0]), shape=(n, n))
        tolerance = 1e-12 if self.matrix.dtype == np.float64 else 1e-6
        x = np.empty_like(demand)
        for column, b in enumerate(demand.T):
            x[:, column], info = scipy.sparse.linalg.cg(self.matrix, b, rtol=tolerance, maxiter=50 * n, M=jacobi)
            if info:
                raise nx.NetworkXError(
                    f"conjugate gradient did not reach a relative residual of {tolerance:.0e} in {info} iterations; "
                    "use a factorisation, solver='lu'"
                )
        return x
