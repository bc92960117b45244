"""Resistances on graphs of thousands of nodes."""

import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import effective_resistance, electric_potential, leverage_scores


def test_large_graph():
    nx = pytest.importorskip("networkx")
    graph = Incidence.from_networkx(nx.random_regular_graph(3, 5000, seed=0))
    pairs = torch.randint(5000, (2, 12), generator=torch.Generator().manual_seed(0))
    R = effective_resistance(graph, pairs, tol=1e-9, history=True)
    assert R.history.shape[1] == 12
    psi = torch.zeros(5000, 12, dtype=torch.float64)
    psi[pairs[0], torch.arange(12)] += 1
    psi[pairs[1], torch.arange(12)] -= 1
    expected = (electric_potential(graph, psi, method="memory", tol=1e-11).value * psi).sum(0)
    torch.testing.assert_close(R.value, expected, rtol=1e-10, atol=1e-12)


def test_all_edges_of_a_large_graph_share_one_factor(monkeypatch):
    splu = pytest.importorskip("scipy.sparse.linalg").splu
    n = 66
    nodes = torch.arange(n * n).view(n, n)
    ends = [(nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:])]
    index = torch.cat([torch.stack([u.flatten(), v.flatten()]) for u, v in ends], 1)
    w = 0.5 + torch.rand(index.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    graph = Incidence(index, w)
    factors = []
    monkeypatch.setattr("scipy.sparse.linalg.splu", lambda *args, **kwargs: factors.append(1) or splu(*args, **kwargs))
    scores = leverage_scores(graph)
    assert 1 <= len(factors) <= 2  # not one for every few edges
    assert float(scores.residual.max()) <= 1e-8
    assert float(scores.value.sum()) == pytest.approx(n * n - 1, rel=1e-9)
    some = torch.arange(0, index.shape[1], 500)
    solve = splu(graph.laplacian_scipy()[1:, 1:].tocsc()).solve
    for edge in some.tolist():
        psi = torch.zeros(n * n, dtype=torch.float64)
        psi[index[0, edge]], psi[index[1, edge]] = 1.0, -1.0
        x = torch.cat([psi[:1] * 0, torch.from_numpy(solve(psi[1:].numpy()))])
        assert float(scores.value[edge]) == pytest.approx(float(w[edge] * (psi * x).sum()), rel=1e-9)


def test_gradients_of_many_resistances_of_a_large_graph():
    nx = pytest.importorskip("networkx")
    graph = Incidence.from_networkx(nx.random_regular_graph(3, 4200, seed=0))
    pairs = torch.randint(4200, (2, 40), generator=torch.Generator().manual_seed(0))  # more than are solved at a time
    w = graph.weight.clone().requires_grad_()
    effective_resistance(Incidence(graph.index, w, 4200), pairs, tol=1e-9).value.sum().backward()
    psi = torch.zeros(4200, 40, dtype=torch.float64)
    psi[pairs[0], torch.arange(40)] += 1
    psi[pairs[1], torch.arange(40)] -= 1
    x = electric_potential(graph, psi, tol=1e-11).value
    u, v = graph.index
    torch.testing.assert_close(w.grad, -(x[u] - x[v]).square().sum(1), rtol=1e-6, atol=1e-9)


def test_path_of_5000():
    path = Incidence(torch.stack([torch.arange(4999), torch.arange(1, 5000)]), torch.ones(4999, dtype=torch.float64))
    pairs = torch.tensor([[0, 10, 4999], [4999, 4000, 4990]])
    R = effective_resistance(path, pairs, tol=1e-8)
    torch.testing.assert_close(R.value, torch.tensor([4999.0, 3990.0, 9.0], dtype=torch.float64), rtol=1e-7, atol=0)
