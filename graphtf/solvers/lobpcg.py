"""LOBPCG: gradient descent on the Rayleigh quotient with one step of memory and a preconditioner in the value map."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from graphtf.solvers.eigen_problem import Pairs, Problem, rayleigh_ritz
from graphtf.solvers.sparse_inverse import Array


def lobpcg(
    problem: Problem,
    count: int,
    tol: float,
    max_layers: int,
    rng: np.random.Generator,
    degree: Array,
    history: bool = False,
) -> Pairs:
    """Eigenpairs of the smallest positive eigenvalues, preconditioned by approximate Cholesky.

    Args:
        problem: the graph.
        count: number of pairs.
        tol: bound of the residual, relative to `problem.bound`.
        max_layers: largest number of iterations.
        rng: for the start.
        degree: `[n]` weighted degrees if `problem.L` is normalized, else ones: :math:`D^{1/2} L D^{1/2}` is factored.
        history: keep the residuals after every iteration.

    Raises:
        ImportError: the package approx-chol is not installed.

    Source: Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23, 2001; Gao, Kyng,
    Spielman, "Robust and practical solution of Laplacian equations by approximate elimination", 2023.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import LinearOperator
    from scipy.sparse.linalg import lobpcg as iterate

    if importlib.util.find_spec("approx_chol") is None:
        raise ImportError(
            "method='preconditioned' needs the package approx-chol for graphs without small separators; install it "
            "with: pip install approx-chol, or use method='memory'"
        )
    import approx_chol

    n, root = len(degree), np.sqrt(degree)
    plain = (diags(root) @ problem.L @ diags(root)).tocsr()
    plain.indices, plain.indptr = plain.indices.astype(np.uint32), plain.indptr.astype(np.uint32)
    factor = approx_chol.factorize(plain, approx_chol.Config(seed=int(rng.integers(2**31))))
    products = [0]

    def precondition(X: Array) -> Array:
        columns = X.reshape(n, -1)
        products[0] += 1
        Y = [root * np.asarray(factor.solve(np.ascontiguousarray(root * x))) for x in problem.center(columns).T]
        return problem.center(np.stack(Y, 1)).reshape(X.shape)

    guard = max(2, count // 4)
    X = problem.center(rng.normal(size=(n, count + guard)))
    goal = tol * problem.bound
    M: Any = LinearOperator((n, n), matvec=precondition, matmat=precondition, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the residuals are measured below
        kept: list[tuple[int, Array]] = []
        while True:
            before = products[0]
            steps = max(1, min(20, max_layers - before))
            _, X, norms = iterate(
                problem.L, X, M=M, tol=goal / 2, maxiter=steps, largest=False, retResidualNormsHistory=True
            )
            if history:
                norms = [np.asarray(row)[:count] for row in norms]
                kept += [(before + i, row) for i, row in enumerate(norms[: products[0] - before]) if len(row) == count]
            pairs = rayleigh_ritz(problem, X, largest=False)
            if pairs.residuals[:count].max() <= goal or products[0] >= max_layers or products[0] == before:
                break
    done = bool(pairs.residuals[:count].max() <= goal)
    c = count
    return Pairs(pairs.values[:c], pairs.vectors[:, :c], pairs.residuals[:c], products[0], done, kept)
