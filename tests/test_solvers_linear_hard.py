"""Electric potentials on large and hard graphs: what is chosen, and how a tolerance that is not reached is reported."""

import pytest
import torch

from graphtf import Incidence
from graphtf.convert import disjoint_union
from graphtf.solvers import ConvergenceError, electric_flow, electric_potential
from graphtf.testing import (
    graph_zoo,
)

ZOO = graph_zoo()


def demands(graph, k=None, seed=0, dtype=torch.float64):
    shape = (graph.num_nodes,) if k is None else (graph.num_nodes, k)
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def residual(graph, psi, x):
    centered = graph.center(psi)
    left = torch.linalg.vector_norm(centered - graph.laplacian @ x, dim=0)
    norm = torch.linalg.vector_norm(centered, dim=0)
    return torch.where(norm > 0, left / torch.where(norm > 0, norm, 1.0), left)


def random_regular(n, seed=0):
    import networkx as nx

    return Incidence.from_networkx(nx.random_regular_graph(3, n, seed=seed))


def random_weights(graph, orders, seed=0):
    w = 10 ** (orders * (torch.rand(graph.num_edges, dtype=torch.float64, generator=torch.manual_seed(seed)) - 0.5))
    return Incidence(graph.index, w, graph.num_nodes)


HARD = {
    "path": lambda: Incidence(torch.stack([torch.arange(4999), torch.arange(1, 5000)]), torch.ones(4999).double()),
    "star": lambda: Incidence(
        torch.stack([torch.zeros(3000).long(), torch.arange(1, 3001)]), torch.ones(3000).double()
    ),
    "complete": lambda: Incidence(torch.triu_indices(80, 80, 1), torch.ones(3160).double()),
    "regular": lambda: random_regular(2500),
    "weighted": lambda: random_weights(random_regular(2500), 3),
    "union": lambda: disjoint_union([random_regular(2500), ZOO["no edges"], random_regular(2200, 1)]),
}


@pytest.mark.parametrize("method", ["auto", "memory", "preconditioned"])
@pytest.mark.parametrize("name", HARD)
def test_large_and_hard_graphs(name, method):
    graph = HARD[name]()
    graph = Incidence(graph.index, graph.weight, graph.num_nodes)  # the union as one disconnected graph
    psi = demands(graph)
    x = electric_potential(graph, psi, method=method, tol=1e-8)
    assert float(x.residual) <= 1e-8
    assert float(residual(graph, psi, x.value)) <= 1.1e-8
    assert abs(float(graph.center(x.value).sub(x.value).abs().max())) <= 1e-10 * float(x.value.abs().max())
    assert ("preconditioned" in x.method) if method == "preconditioned" else True


def test_path_of_5000_is_exact():
    graph = HARD["path"]()
    psi = graph.center(demands(graph))
    flow = psi.cumsum(0)[:-1]  # what has entered so far
    f = electric_flow(graph, psi, tol=1e-10)
    torch.testing.assert_close(f.value, flow, rtol=1e-6, atol=1e-6 * float(flow.abs().max()))


def test_auto_says_what_it_chose():
    psi = demands(ZOO["grid"])
    assert electric_potential(ZOO["grid"], psi).method == "dense"
    expander = random_regular(3000)
    assert electric_potential(expander, demands(expander)).method == "preconditioned (Gauss-Seidel)"


def test_auto_takes_approximate_cholesky_where_jacobi_is_slow():
    pytest.importorskip("approx_chol")
    nodes = torch.arange(10_000).view(100, 100)
    pairs = [(nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:])]
    index = torch.cat([torch.stack([u.flatten(), v.flatten()]) for u, v in pairs], 1)
    grid = Incidence(index, torch.ones(index.shape[1], dtype=torch.float64))
    x = electric_potential(grid, demands(grid, 2), tol=1e-8)
    assert x.method == "preconditioned (approximate Cholesky)"
    assert x.num_layers < 60


def grid_of(n):
    nodes = torch.arange(n * n).view(n, n)
    ends = [(nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:])]
    return Incidence(torch.cat([torch.stack([u.flatten(), v.flatten()]) for u, v in ends], 1), num_nodes=n * n)


@pytest.mark.parametrize("columns", [None, 3])
def test_medium_graphs_where_jacobi_is_slow_get_dense_factors(columns):
    hard, easy = random_weights(grid_of(30), 12), random_regular(900)
    batch = disjoint_union([easy, hard, ZOO["grid"], random_weights(grid_of(24), 12, 1)])
    psi = demands(batch, columns)
    x = electric_potential(batch, psi, tol=1e-8, history=True)
    assert x.method == "dense and preconditioned (Jacobi) and dense"
    assert float(x.residual.max()) <= 1e-8
    assert len(x.history) == x.num_layers + 1
    for number in range(batch.num_graphs):
        part = batch.batch == number
        graph = [easy, hard, ZOO["grid"], random_weights(grid_of(24), 12, 1)][number]
        assert float(residual(graph, psi[part], x.value[part]).max()) <= 1.1e-8
    alone = electric_potential(easy, psi[batch.batch == 0], tol=1e-8)
    assert alone.method == "preconditioned (Jacobi)"
    torch.testing.assert_close(x.value[batch.batch == 0], alone.value, rtol=1e-6, atol=1e-8)


def test_medium_graphs_stop_at_max_layers_and_have_gradients():
    graph = random_weights(grid_of(24), 8)
    psi = demands(graph)
    with pytest.raises(ConvergenceError, match="max_layers=9 was reached"):
        electric_potential(graph, psi, tol=1e-8, max_layers=9)
    w = graph.weight.clone().requires_grad_()
    other = demands(graph, seed=1)
    (electric_potential(Incidence(graph.index, w, graph.num_nodes), psi, tol=1e-10).value * other).sum().backward()
    x, y = (electric_potential(graph, each, method="dense").value for each in (psi, other))
    u, v = graph.index
    torch.testing.assert_close(w.grad, -(x[u] - x[v]) * (y[u] - y[v]), rtol=1e-4, atol=1e-9 * float(w.grad.abs().max()))


def test_twelve_orders_of_magnitude_reach_tol_or_say_so():
    graph = random_weights(ZOO["skip-links"], 12)
    psi = graph.center(demands(graph))
    exact = exact_potential(graph, psi)
    for method in ("dense", "memory", "preconditioned"):
        x, message = best(lambda method=method: electric_potential(graph, psi, method=method, tol=1e-10))
        assert (float(x.residual) > 1e-10) == ("tol=1.0e-10" in message)
        assert float((x.value - exact).norm() / exact.norm()) < 1e-4


def best(solve):
    """The answer, or the best one that an error carries, and its message."""
    try:
        return solve(), ""
    except ConvergenceError as error:
        return error.solution, str(error)


def exact_potential(graph, psi):
    """Gaussian elimination in rational numbers."""
    from fractions import Fraction

    n = graph.num_nodes
    A = [[Fraction(0)] * n for _ in range(n)]
    for (u, v), w in zip(graph.index.t().tolist(), graph.weight.tolist(), strict=True):
        A[u][u] += Fraction(w)
        A[v][v] += Fraction(w)
        A[u][v] -= Fraction(w)
        A[v][u] -= Fraction(w)
    b = [Fraction(value) for value in psi.tolist()]
    for k in range(1, n):  # node 0 is grounded
        for i in range(k + 1, n):
            factor = A[i][k] / A[k][k]
            A[i] = [p - factor * q for p, q in zip(A[i], A[k], strict=True)]
            b[i] -= factor * b[k]
    x = [Fraction(0)] * n
    for k in reversed(range(1, n)):
        x[k] = (b[k] - sum(A[k][j] * x[j] for j in range(k + 1, n))) / A[k][k]
    mean = sum(x) / n
    return torch.tensor([float(value - mean) for value in x], dtype=torch.float64)


def test_max_layers_carries_the_best_answer():
    graph = HARD["path"]()
    psi = demands(graph)
    with pytest.raises(ConvergenceError, match="max_layers=7 was reached") as caught:
        electric_potential(graph, psi, method="memory", tol=1e-8, max_layers=7, history=True)
    solution = caught.value.solution
    assert solution.num_layers == 7
    assert solution.history.shape == (8,)
    assert float(solution.residual) > 1e-8
    torch.testing.assert_close(solution.residual, residual(graph, psi, solution.value), rtol=1e-6, atol=0)
