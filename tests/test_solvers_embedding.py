"""Resistive embeddings: the square root of the inverse Laplacian on demands, and random ones."""

import networkx as nx
import numpy as np
import pytest
import torch

from graphtf import Incidence
from graphtf.convert import disjoint_union
from graphtf.solvers import (
    ConvergenceError,
    effective_resistance,
    electric_potential,
    resistive_embedding,
)
from graphtf.solvers.dense import laplacian_pinv
from graphtf.solvers.root_quadrature import inverse_root_quadrature
from graphtf.testing import assert_orientation_invariant, assert_permutation_equivariant, graph_zoo

ZOO = graph_zoo()


def demands(graph, k=3, seed=0):
    psi = torch.randn(graph.num_nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return graph.center(psi)


def weighted(edges, n, seed=0, orders=1.0):
    uniform = torch.rand(edges.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Incidence(edges, 10 ** (orders * (uniform - 0.5)), n)


def grid(side, tail=0):
    """A square grid with a pendant path of `tail` nodes."""
    index = torch.arange(side * side).view(side, side)
    across = torch.stack([index[:, :-1].flatten(), index[:, 1:].flatten()])
    down = torch.stack([index[:-1].flatten(), index[1:].flatten()])
    path = torch.arange(side * side - 1, side * side + tail)
    edges = torch.cat([across, down, torch.stack([path[:-1], path[1:]])], 1)
    return weighted(edges, side * side + tail)


@pytest.mark.parametrize("method", ["auto", "memory", "gradient"])
@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("weighted", "no nodes", "barbell", "tree")])
def test_embedding_of_demands(name, method):
    graph = ZOO[name]
    psi = torch.eye(graph.num_nodes, dtype=torch.float64)
    tol = 1e-8 if method == "gradient" else 1e-10
    X = resistive_embedding(graph, psi, method=method, tol=tol)
    assert (X.residual <= 4 * tol).all()
    torch.testing.assert_close(X.value @ X.value, laplacian_pinv(graph), rtol=1e-6, atol=1e-7)
    for u, v in graph.index.t().tolist():
        distance = (X.value[u] - X.value[v]).square().sum()
        assert float(distance) == pytest.approx(
            float(effective_resistance(graph, torch.tensor([[u], [v]]), method="dense")), rel=1e-6
        )


def test_embedding_keeps_its_bound_at_fixed_depth():
    graph = ZOO["grid"]
    psi = graph.center(torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    exact = resistive_embedding(graph, psi, tol=1e-12).value
    for layers in (1, 5, 30):
        X = resistive_embedding(graph, psi, method="gradient", max_layers=layers, history=True)
        assert X.history.shape == (layers + 1, 3)
        torch.testing.assert_close(X.history[-1], X.residual)
        assert ((X.value - exact).norm(dim=0) <= float(X.bound) * exact.norm(dim=0)).all()


@pytest.mark.parametrize("method", ["dense", "memory"])
@pytest.mark.parametrize("name", ["cycle", "complete", "skip-links", "two components"])
def test_gradcheck_of_the_embedding(name, method):
    zoo = ZOO[name]
    psi = torch.randn(zoo.num_nodes, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def embedding(w, psi):
        return resistive_embedding(Incidence(zoo.index, w, zoo.num_nodes), psi, method=method, tol=1e-10).value

    inputs = (zoo.weight.clone().requires_grad_(), psi.requires_grad_())
    assert torch.autograd.gradcheck(embedding, inputs)  # unit weights: repeated eigenvalues
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(embedding(*inputs).square().sum(), inputs))


def test_random_embedding():
    graph = disjoint_union([ZOO["grid"], ZOO["barbell"]])
    k = 4000
    Z = resistive_embedding(graph, k, generator=torch.Generator().manual_seed(0))
    assert Z.shape == (22, k)
    u, v = graph.index
    distance = (Z.value[u] - Z.value[v]).square().sum(1)
    ratio = distance / effective_resistance(graph).value
    assert float((ratio - 1).abs().max()) < 5 * (2 / k) ** 0.5
    again = resistive_embedding(graph, 5, generator=torch.Generator().manual_seed(3)).value
    assert torch.equal(again, resistive_embedding(graph, 5, generator=torch.Generator().manual_seed(3)).value)
    assert not torch.equal(again, resistive_embedding(graph, 5, generator=torch.Generator().manual_seed(4)).value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ZOO)
def test_memory_is_the_dense_root(name, dtype):
    graph = ZOO[name].to(dtype)
    tol = 1e-10 if dtype == torch.float64 else 1e-4
    psi = demands(ZOO[name])
    X = resistive_embedding(graph, psi.to(dtype), method="memory", tol=tol)
    exact = resistive_embedding(ZOO[name], psi, method="dense", tol=1e-8 if name == "weighted" else 1e-10).value
    assert (X.dtype, X.method) == (dtype, "memory")
    assert float(X.residual.max()) <= tol
    # What the residual bounds: psi - L^{1/2} X, with L^{1/2} = L (L^+)^{1/2}.
    left = psi - ZOO[name].laplacian @ resistive_embedding(ZOO[name], X.value.double(), method="dense", tol=0.5).value
    rounding = 0.0 if dtype == torch.float64 else 1e-6 * float(ZOO[name].degree.max()) if graph.num_edges else 0.0
    assert (left.norm(dim=0) <= (tol + rounding) * psi.norm(dim=0) + 1e-12).all()
    size = exact.norm(dim=0)
    assert ((X.value - exact).norm(dim=0) <= (1e-7 if dtype == torch.float64 else 1e-2) * size).all()


def test_large_graph():
    graph = grid(140, tail=400)  # 20,000 nodes
    pairs = torch.tensor([[0, 19_999], [5000, 7]])
    unit = torch.zeros(graph.num_nodes, 2, dtype=torch.float64)
    unit[pairs[0], torch.arange(2)], unit[pairs[1], torch.arange(2)] = 1.0, -1.0
    psi = torch.cat([demands(graph, 1), unit], 1)
    X = resistive_embedding(graph, psi, tol=1e-9)
    assert X.method == "memory"
    assert X.num_layers < 5000
    assert float(X.residual.max()) <= 1e-9
    energy = (psi * electric_potential(graph, psi, tol=1e-11).value).sum(0)
    torch.testing.assert_close(X.value.square().sum(0), energy, rtol=2e-9, atol=0)
    R = effective_resistance(graph, pairs, tol=1e-11).value
    torch.testing.assert_close(X.value[:, 1:].square().sum(0), R, rtol=2e-9, atol=0)


def test_a_disconnected_graph_with_isolated_nodes():
    ladder = torch.tensor(list(nx.circular_ladder_graph(200).edges)).T
    graph = weighted(torch.cat([ladder, ladder[:, :150] + 410], 1), 1000, orders=4.0)
    assert int(graph.components().max()) + 1 > 100
    psi = demands(graph, 2)
    X = resistive_embedding(graph, psi, method="memory", tol=1e-10)
    assert float(X.residual.max()) <= 1e-10  # rounding errors of the long run are corrected
    exact = resistive_embedding(graph, psi, method="dense", tol=1e-8).value
    torch.testing.assert_close(X.value, exact, rtol=0, atol=1e-7 * float(exact.abs().max()))
    isolated = graph.degree == 0
    assert bool(isolated.any())
    assert bool((X.value[isolated] == 0).all())
    torch.testing.assert_close(X.value, graph.center(X.value), rtol=0, atol=1e-12 * float(exact.abs().max()))


def test_memory_of_a_batch_is_that_of_its_graphs():
    graphs = [ZOO["grid"], grid(25), ZOO["no edges"], ZOO["weighted"], grid(24, tail=3), ZOO["single node"]]
    union = disjoint_union(graphs)
    psi = demands(union, 2)
    for method in ("memory", "auto"):
        X = resistive_embedding(union, psi, method=method, tol=1e-9)
        assert float(X.residual.max()) <= 1e-9
        first = 0
        for graph in graphs:
            rows = slice(first, first + graph.num_nodes)
            first += graph.num_nodes
            alone = resistive_embedding(graph, psi[rows], method=method, tol=1e-9).value
            torch.testing.assert_close(X.value[rows], alone, rtol=0, atol=1e-7 * float(alone.abs().max()) + 1e-30)
    assert X.method == "dense and memory"


@pytest.mark.parametrize("name", ["grid", "skip-links", "two components"])
def test_symmetries_of_the_root(name):
    def distances(graph):
        unit = torch.eye(graph.num_nodes, dtype=torch.float64)
        X = resistive_embedding(graph, unit, method="memory", tol=1e-12).value
        return (X @ X).diagonal()

    assert_permutation_equivariant(distances, ZOO[name])
    assert_orientation_invariant(distances, ZOO[name])


def test_memory_says_when_it_gives_up_and_carries_its_best_answer():
    graph = grid(30)
    psi = demands(graph, 2)
    errors = []
    for layers in (20, 60):
        with pytest.raises(ConvergenceError, match=f"max_layers={layers} was reached") as caught:
            resistive_embedding(graph, psi.clone().requires_grad_(), method="memory", tol=1e-10, max_layers=layers)
        best = caught.value.solution
        assert best.num_layers == layers
        left = psi - graph.laplacian @ resistive_embedding(graph, best.value, method="dense").value
        assert (left.norm(dim=0) <= best.residual * psi.norm(dim=0)).all()
        errors.append(float(best.residual.max()))
    assert errors[1] < errors[0] / 5
    X = resistive_embedding(graph, psi, method="memory", tol=1e-8, history=True)
    assert X.history.shape == (X.num_layers + 1, 2)
    assert bool((X.history[-1] <= 1e-8).all())
    assert bool((X.history[0] >= 1).all())


def test_gradients_of_a_large_graph_are_those_of_the_dense_root():
    graph = grid(26)
    found = []
    for method in ("memory", "dense"):
        w, psi = graph.weight.clone().requires_grad_(), demands(graph, 2).requires_grad_()
        X = resistive_embedding(Incidence(graph.index, w, graph.num_nodes), psi, method=method, tol=1e-11)
        found.append(torch.autograd.grad((X.value * demands(graph, 2, seed=1)).sum(), (w, psi)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    w = graph.weight.clone().requires_grad_()
    total = resistive_embedding(Incidence(graph.index, w, graph.num_nodes), demands(graph), method="memory").value.sum()
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(total, w, create_graph=True)


def test_auto_falls_back_on_eigenvalues():
    path = torch.stack([torch.arange(699), torch.arange(1, 700)])
    graph = weighted(path, 700, orders=2.0)
    psi = demands(graph, 1)
    with pytest.raises(ConvergenceError, match="max_layers=50"):
        resistive_embedding(graph, psi, method="memory", max_layers=50)
    assert resistive_embedding(graph, psi, max_layers=50, tol=1e-6).method == "dense"


@pytest.mark.parametrize("width", [1.0, 50.0, 1e6, 1e19])
def test_the_quadrature_keeps_its_tolerance_with_few_poles(width):
    points = np.geomspace(1 / width, 1.0, 7001)
    for tol in (1e-3, 1e-8, 1e-12):
        rule = inverse_root_quadrature(width, tol)
        found = (rule.weights / (points[:, None] + rule.shifts)).sum(1)
        error = np.abs(found * np.sqrt(points) - 1).max()
        assert error <= rule.error <= tol
        assert len(rule.shifts) <= 2 + np.log(8 / tol) * (np.log(width) + 3) / (2 * np.pi**2)
        assert bool((rule.shifts > 0).all())
        assert bool((rule.weights > 0).all())
