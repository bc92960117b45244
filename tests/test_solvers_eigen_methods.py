"""The parts of the large eigensolvers: filters, inverses, block Krylov spaces, histories, and fallbacks of "auto"."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from graphtf import Incidence
from graphtf.constructions import chebyshev_subspace_iteration
from graphtf.solvers import ConvergenceError, laplacian_eigenvectors
from graphtf.solvers.eigen_block import BlockKrylov
from graphtf.solvers.eigen_filter import chebyshev_filter
from graphtf.solvers.eigen_problem import Problem, rayleigh_ritz
from graphtf.solvers.sparse_inverse import SparseInverse
from graphtf.testing import disjoint_union, graph_zoo

ZOO = {name: graph for name, graph in graph_zoo().items() if graph.num_edges}


def problem_of(graph):
    null, labels = graph.null_vector().numpy(), graph.components().numpy()
    return Problem(graph.laplacian_scipy(), null, labels, float(graph.lambda_bound().max()))


@pytest.mark.parametrize("normalization", ["spectral", "sym"])
@pytest.mark.parametrize("name", ZOO)
@torch.no_grad()
def test_the_filter_is_the_transformer(name, normalization):
    graph = ZOO[name].normalized(normalization)
    problem = problem_of(graph)
    x = graph.center(torch.randn(graph.num_nodes, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    for cut in (0.02, 0.3, 0.8):
        cut = cut * problem.bound
        f = chebyshev_filter(problem, cut, problem.bound, largest=False)
        layers = chebyshev_subspace_iteration(1, f.cost, cut, problem.bound)
        layers.layers[-1].norm = "none"  # Gram-Schmidt comes after the polynomial
        expected = layers(graph, phi=x)
        torch.testing.assert_close(torch.from_numpy(f.step(x.numpy())), expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("columns", [1, 8, 11])
@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_sparse_inverse(columns, numba, threads, monkeypatch):
    grid = Incidence.from_networkx(nx.grid_2d_graph(50, 45)).to(torch.float64)
    A = grid.laplacian_scipy() + scipy.sparse.identity(2250)
    if not numba:
        monkeypatch.setattr("graphtf.solvers.sparse_inverse.importlib.util.find_spec", lambda name: None)
    inverse = SparseInverse(A)
    assert (inverse._parts is not None) == numba
    X = np.random.default_rng(0).normal(size=(2250, columns))
    if threads != torch.get_num_threads():
        monkeypatch.setattr("graphtf.solvers.sparse_inverse.torch.get_num_threads", lambda: threads)
    np.testing.assert_allclose(A @ inverse(X), X, atol=1e-12)
    work = np.empty_like(X)
    work[inverse.order] = X
    np.testing.assert_allclose(inverse.in_order(work)[inverse.order], inverse(X), atol=1e-14)


def test_block_krylov_relation_and_restart():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(80, 80))
    A = A + A.T
    space = BlockKrylov(
        lambda x: A @ x, lambda b: rng.normal(size=(80, b)), width=3, capacity=30, dimension=80, size=80
    )

    def check():
        V, H, X = space.V[: space.size].numpy().T, space.H[: space.size, : space.size], space.block.numpy()
        np.testing.assert_allclose(A @ V, V @ H + X @ space.coupling, atol=1e-11)
        both = np.concatenate([V, X], 1)
        np.testing.assert_allclose(both.T @ both, np.eye(both.shape[1]), atol=1e-10)

    for _ in range(60):
        if space.full:
            space.restart(12)
            check()
        space.grow()
        check()
    theta, residuals, Y = space.ritz()
    np.testing.assert_allclose(theta[:4], np.linalg.eigvalsh(A)[::-1][:4], rtol=1e-10)
    x = space.vectors(Y[:, :4]).numpy()
    np.testing.assert_allclose(np.linalg.norm(A @ x - x * theta[:4], axis=0), residuals[:4], atol=1e-10)
    # A second space, orthogonal to what is kept of the first.
    space.restart(10)
    space.start()
    for _ in range(3):
        space.grow()
    V = space.V[: space.size].numpy().T
    np.testing.assert_allclose(space.H[: space.size, : space.size], V.T @ A @ V, atol=1e-10)
    np.testing.assert_allclose(V.T @ V, np.eye(space.size), atol=1e-10)


def test_block_krylov_of_a_projector_goes_on_and_ends():
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(40, 25)))[0]
    step = lambda x: Q @ (Q.T @ x)  # noqa: E731
    space = BlockKrylov(step, lambda b: rng.normal(size=(40, b)), width=8, capacity=40, dimension=40, size=40)
    while not space.exhausted:
        space.grow()
    theta, residuals, _ = space.ritz()
    np.testing.assert_allclose(theta, [1.0] * 25 + [0.0] * 15, atol=1e-12)
    assert residuals.max() == 0.0


def cycle(n=900):
    return Incidence.from_networkx(nx.cycle_graph(n)).to(torch.float64)


@pytest.mark.parametrize("method", ["memory", "preconditioned", "gradient", "dense", "auto"])
def test_history_ends_at_the_residual(method):
    regular = Incidence.from_networkx(nx.random_regular_graph(5, 700, seed=2)).to(torch.float64)
    for graph in (regular, cycle(), ZOO["skip-links"]):
        options = {"max_layers": 60} if method == "gradient" else {}
        v = laplacian_eigenvectors(graph, 3, "sym", method=method, history=True, **options)
        assert v.history.shape == (v.num_layers + 1, 3)
        torch.testing.assert_close(v.history[-1], v.residual, rtol=0, atol=1e-13)
        assert bool((v.history[:, 0] == 0).all())  # the constant vector is known
        assert laplacian_eigenvectors(graph, 3, "sym", method=method, **options).history is None
        if v.num_layers:
            assert float(v.history[-1].max()) < float(v.history[v.num_layers // 2].max())
            assert not v.history.isnan().any()
    both = laplacian_eigenvectors(disjoint_union([regular, ZOO["path"]]), 3, method=method, history=True)
    assert both.history.shape == (both.num_layers + 1, 2, 3)
    torch.testing.assert_close(both.history[-1], both.residual, rtol=0, atol=1e-13)
    with pytest.raises(TypeError, match="history must be"):
        laplacian_eigenvectors(cycle(), 3, history=1)


def test_auto_goes_on_where_a_method_refuses(monkeypatch):
    graph = cycle(2000)
    with pytest.raises(ConvergenceError):
        laplacian_eigenvectors(graph, 6, which="largest", method="memory", max_layers=80)
    exact = 2 - 2 * torch.cos(2 * torch.pi * torch.tensor([1000, 999, 1001, 998, 1002, 997]).double() / 2000)
    v = laplacian_eigenvectors(graph, 6, which="largest", max_layers=80)
    assert v.method == "preconditioned"
    torch.testing.assert_close(v.eigenvalues, exact, rtol=0, atol=1e-9)
    monkeypatch.setattr("graphtf.solvers.eigen_iterative.has_small_separators", lambda L: False)
    v = laplacian_eigenvectors(graph, 6, which="largest", max_layers=80)
    assert v.method == "dense"
    torch.testing.assert_close(v.eigenvalues, exact, rtol=0, atol=1e-9)


def stress(seed):
    """A graph of about 400 nodes with what is hard for iterations, a number of pairs, and the spread of the weights."""
    rng = np.random.default_rng(seed)
    parts = [
        lambda: nx.barabasi_albert_graph(int(rng.integers(60, 200)), int(rng.integers(1, 4)), seed=seed),
        lambda: nx.cycle_graph(int(rng.integers(50, 150))),
        lambda: nx.star_graph(int(rng.integers(20, 120))),
        lambda: nx.complete_graph(int(rng.integers(10, 60))),
        lambda: nx.grid_2d_graph(int(rng.integers(5, 12)), int(rng.integers(5, 12))),
        lambda: nx.random_regular_graph(3, 100, seed=seed),
    ]
    chosen = [parts[i]() for i in rng.integers(0, len(parts), size=4)]
    chosen += [chosen[0].copy() for _ in range(int(rng.integers(0, 3)))]  # copies of a component: repeated eigenvalues
    G = nx.convert_node_labels_to_integers(nx.disjoint_union_all(chosen))
    if rng.random() < 0.5:  # bridges
        ends = np.cumsum([0, *[len(part) for part in chosen]])[:-1]
        G.add_edges_from(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))
    spread = rng.choice([0.0, 0.0, 1.0, 4.0])
    for u, v in G.edges:
        G[u][v]["weight"] = float(10 ** rng.uniform(-spread, spread))
    limit = (G.number_of_nodes() - 41) // 4
    return Incidence.from_networkx(G).to(torch.float64), int(rng.choice([1, 3, 8, 20, limit])), spread


@pytest.mark.parametrize("seed", range(12))
def test_no_pair_is_missing_on_random_graphs(seed):
    graph, k, spread = stress(seed)
    for normalization in (None, "sym"):
        S = graph if normalization is None else graph.normalized("sym")
        E, bound = torch.linalg.eigvalsh(S.laplacian_dense()), float(S.lambda_bound())
        free = E[len(torch.unique(graph.components())) :]
        tol = [1e-8, 1e-5][seed % 2]
        for which, method in (("smallest", "memory"), ("largest", "memory"), ("smallest", "preconditioned")):
            expected = free.flip(0)[:k] if which == "largest" else free[:k]
            options = {"trivial": False, "tol": tol, "method": method, "max_layers": 20_000}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("graphtf.solvers.eigen_iterative.has_small_separators", lambda L: True)
                try:
                    v = laplacian_eigenvectors(graph, k, normalization, which, **options)
                except ConvergenceError:
                    assert method == "memory"
                    assert spread == 4  # weights over eight orders of magnitude, where it must not guess
                    continue
            slack = (2e-9 + tol**2 * 1e4) * bound
            torch.testing.assert_close(v.eigenvalues[: len(expected)], expected, rtol=0, atol=slack)


def test_rayleigh_ritz_orders_both_ends():
    problem = problem_of(cycle(50))
    V = np.random.default_rng(0).normal(size=(50, 10))
    low, high = rayleigh_ritz(problem, V, False), rayleigh_ritz(problem, V, True)
    np.testing.assert_allclose(low.values, high.values[::-1], atol=1e-12)
    np.testing.assert_allclose(problem.center(low.vectors), low.vectors, atol=1e-12)
