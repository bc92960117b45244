"""Large graphs: elimination of trees and chains, complete sparse factors, and several right-hand sides at once."""

import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import ConvergenceError, effective_resistance, electric_potential
from graphtf.solvers.separators import has_small_separators

pytest.importorskip("numba")
pytest.importorskip("scipy")


def weighted(index, orders=1.0, n=None):
    generator = torch.Generator().manual_seed(0)
    spread = orders * (torch.rand(index.shape[1], dtype=torch.float64, generator=generator) - 0.5)
    return Incidence.from_edge_index(index, 10**spread, n, directions="once")


def mesh(rows, columns):
    nodes = torch.arange(rows * columns).view(rows, columns)
    pairs = [(nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:])]
    return torch.cat([torch.stack([u.flatten(), v.flatten()]) for u, v in pairs], 1)


def subdivided(index, times):
    """Every edge becomes a chain."""
    n, m = int(index.max()) + 1, index.shape[1]
    inner = n + torch.arange(m * times).view(m, times)
    chain = torch.cat([index[0].unsqueeze(1), inner, index[1].unsqueeze(1)], 1)
    return torch.stack([chain[:, :-1].flatten(), chain[:, 1:].flatten()])


def tree(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    parents = (torch.rand(n - 1, generator=generator) * torch.arange(1, n)).long()
    return torch.stack([parents, torch.arange(1, n)])


def with_trees(index, extra):
    """Every other node gets a tree of its own; the last nodes have no edge."""
    n = int(index.max()) + 1
    branches = tree(extra) + n
    return torch.cat([index, branches, torch.tensor([[0], [n]])], 1)


GRAPHS = {
    "path": lambda: weighted(torch.stack([torch.arange(2999), torch.arange(1, 3000)])),
    "cycle": lambda: weighted(torch.stack([torch.arange(3000), (torch.arange(3000) + 1) % 3000])),
    "star": lambda: weighted(torch.stack([torch.zeros(3000).long(), torch.arange(1, 3001)])),
    "tree over 4 orders": lambda: weighted(tree(4000), 4.0),
    "roads": lambda: weighted(subdivided(mesh(15, 30), 3)),
    "two meshes with branches, and lonely nodes": lambda: weighted(
        torch.cat([with_trees(mesh(40, 40), 900), mesh(30, 40) + 3000], 1), n=4500
    ),
    "parallel chains": lambda: weighted(
        torch.cat([torch.stack([torch.zeros(1500).long(), torch.arange(2, 1502)]),
                   torch.stack([torch.arange(2, 1502), torch.ones(1500).long()]),
                   torch.stack([torch.arange(1502, 2600), torch.zeros(1098).long()])], 1)),
}  # fmt: skip


@pytest.mark.parametrize("columns", [1, 6])
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("method", ["auto", "preconditioned"])
def test_potentials_are_those_of_scipys_factor(name, method, columns):
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    graph = GRAPHS[name]()
    generator = torch.Generator().manual_seed(1)
    psi = graph.center(torch.randn(graph.num_nodes, columns, dtype=torch.float64, generator=generator))
    x = electric_potential(graph, psi, method=method, tol=1e-10)
    assert float(x.residual.max()) <= 1e-10
    torch.testing.assert_close(graph.center(x.value), x.value)
    ground = torch.zeros(graph.num_nodes, dtype=torch.float64)
    ground[torch.tensor([int((graph.components() == c).nonzero()[0]) for c in graph.components().unique()])] = 1.0
    expected = torch.from_numpy(splu((graph.laplacian_scipy() + diags(ground.numpy())).tocsc()).solve(psi.numpy()))
    expected = graph.center(expected)
    assert float((x.value - expected).norm() / expected.norm()) < 1e-6
    if method == "preconditioned":
        assert x.method.startswith("preconditioned (elimination")


def test_what_the_elimination_leaves_is_the_schur_complement():
    from graphtf.solvers.elimination import Elimination

    graph = GRAPHS["roads"]()
    elimination = Elimination(graph)
    assert elimination.worth
    kept = elimination.nodes
    assert graph.num_nodes > 3 * len(kept)
    gone = torch.ones(graph.num_nodes, dtype=torch.bool)
    gone[kept] = False
    L = graph.laplacian_dense()
    schur = L[kept][:, kept] - L[kept][:, gone] @ torch.linalg.solve(L[gone][:, gone], L[gone][:, kept])
    torch.testing.assert_close(elimination.rest.laplacian_dense(), schur, rtol=1e-9, atol=1e-9)


def test_the_elimination_keeps_conductances_over_12_orders():
    from graphtf.solvers.elimination import Elimination

    chain = torch.stack([torch.arange(2500), torch.arange(1, 2501)])
    triangle = torch.tensor([[0, 0, 2500, 0, 1250], [2500, 2501, 2501, 2502, 2502]])
    last = torch.tensor([[2500, 2501, 1250], [2502, 2502, 2501]])
    index = torch.cat([chain, triangle, last], 1)
    spread = torch.rand(index.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = Incidence(index, 10 ** (12 * spread - 6))
    elimination = Elimination(graph)
    assert elimination.nodes.tolist() == [0, 1250, 2500, 2501, 2502]
    for half, ends in ((slice(0, 1250), (0, 1)), (slice(1250, 2500), (1, 2))):
        edge = (elimination.rest.index.sort(0)[0] == torch.tensor(ends).unsqueeze(1)).all(0)
        series = 1 / (1 / graph.weight[half]).sum()
        torch.testing.assert_close(elimination.rest.weight[edge].sum(), series, rtol=1e-12, atol=0.0)


def test_a_tree_is_solved_without_any_iteration():
    graph = GRAPHS["tree over 4 orders"]()
    x = electric_potential(graph, torch.randn(4000, dtype=torch.float64), method="preconditioned", tol=1e-9)
    assert (x.method, x.num_layers) == ("preconditioned (elimination)", 1)


def test_many_right_hand_sides_take_a_complete_factor_of_a_mesh_only():
    graph = weighted(mesh(60, 60))
    psi = torch.randn(3600, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    many = electric_potential(graph, psi, tol=1e-9)
    assert (many.method, many.num_layers) == ("preconditioned (sparse factor)", 1)
    one = electric_potential(graph, psi[:, 0], tol=1e-9)
    assert "sparse factor" not in one.method or not _has_approx_chol()
    torch.testing.assert_close(many.value[:, 0], one.value, rtol=1e-5, atol=1e-5 * float(one.value.abs().max()))
    generator = torch.Generator().manual_seed(0)
    expander = torch.randint(3000, (2, 9000), generator=generator)
    assert has_small_separators(graph.laplacian_scipy())
    assert not has_small_separators(weighted(expander[:, expander[0] != expander[1]], n=3000).laplacian_scipy())


def _has_approx_chol():
    from graphtf.solvers.preconditioner import has_approximate_cholesky

    return has_approximate_cholesky()


def test_without_approximate_cholesky_a_mesh_has_its_complete_factor(monkeypatch):
    from graphtf.solvers import linear_system

    monkeypatch.setattr(linear_system, "has_approximate_cholesky", lambda: False)
    graph = weighted(mesh(60, 60))
    psi = torch.randn(3600, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = electric_potential(graph, psi, method="preconditioned", tol=1e-9)
    assert x.method == "preconditioned (sparse factor)"
    assert float(x.residual) <= 1e-9


def test_columns_in_single_precision_reach_the_tolerance_of_double():
    generator = torch.Generator().manual_seed(0)
    ends = torch.stack([torch.arange(6000) % 3000, torch.randint(3000, (6000,), generator=generator)])
    graph = weighted(torch.cat([ends, ends.flip(0).roll(1, 1)], 1)[:, (torch.arange(12_000) >= 0)], n=3000)
    psi = torch.randn(3000, 40, dtype=torch.float64, generator=generator)
    psi[:, 7] = 0.0
    psi[:, 8] *= 1e30
    x = electric_potential(graph, psi, tol=1e-12)
    assert x.method == "preconditioned (Gauss-Seidel)"
    assert float(x.residual.max()) <= 1e-12
    left = graph.center(psi) - graph.laplacian @ x.value
    assert float((left.norm(dim=0) / graph.center(psi).norm(dim=0).clamp(min=1e-300)).max()) < 2e-12
    assert bool((x.value[:, 7] == 0).all())
    alone = electric_potential(graph, psi[:, 20], tol=1e-12).value
    torch.testing.assert_close(x.value[:, 20], alone, rtol=1e-9, atol=1e-9 * float(alone.abs().max()))


@pytest.mark.parametrize("columns", [1, 3])
def test_too_few_layers_carry_the_iterate_of_least_residual(columns):
    graph = weighted(torch.cat([mesh(50, 60), torch.tensor([[0], [2999]])], 1), 6.0)
    psi = graph.center(torch.randn(3000, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ConvergenceError, match="max_layers=70") as raised:
        electric_potential(graph, psi, method="memory", tol=1e-10, max_layers=70, history=True)
    best = raised.value.solution
    torch.testing.assert_close(best.residual, best.history.amin(0), rtol=1e-6, atol=0.0)
    assert bool((best.history[-1] > best.history.amin(0)).any())  # the last one was not the best one


def test_gradients_through_the_elimination():
    index = GRAPHS["roads"]().index
    weight = torch.ones(index.shape[1], dtype=torch.float64, requires_grad=True)
    resistance = effective_resistance(Incidence(index, weight), torch.tensor([[0], [29]]), method="preconditioned")
    resistance.sum().backward()
    # A network of unit resistors: R is homogeneous of degree -1 in the conductances.
    torch.testing.assert_close((weight.grad * weight).sum(), -resistance.value.sum().detach(), rtol=1e-5, atol=1e-8)


def test_an_easy_first_column_does_not_decide_for_hard_ones():
    path = GRAPHS["path"]()
    pairs = path.index.t().flip(0).t()[:, :40]
    x = effective_resistance(path.to(torch.float32), pairs)  # the ends of the path are done in a step or two
    assert x.num_layers < 200
    psi = torch.zeros(3000, 5, dtype=torch.float64)
    psi[0, :], psi[1, 0], psi[-1, 1:] = 1.0, -1.0, -1.0
    y = electric_potential(path, psi, tol=1e-9)
    assert "elimination" in y.method
    assert float(y.residual.max()) <= 1e-9


def test_float32_flows_are_exact_where_potentials_are_large():
    from graphtf.solvers import electric_flow

    graph = weighted(torch.stack([torch.arange(4999), torch.arange(1, 5000)]), 8.0)
    psi = graph.center(torch.randn(5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    flow = electric_flow(graph.to(torch.float32), psi.float(), tol=1e-5)
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow.value.double(), psi.cumsum(0)[:-1], rtol=1e-4, atol=1e-4)
