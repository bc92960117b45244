import networkx as nx
import numpy as np
import pytest
import torch

from graphtf import Incidence, electric_flow, random_walk, subspace_iteration
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
CONNECTED = ["path", "cycle", "star", "complete", "grid", "barbell", "tree", "skip-links", "two components"]


def spectrum(graph):
    return torch.linalg.eigh(graph.laplacian_dense())


def fitted_rate(errors):
    """Factor a layer, from a straight line through the logarithms of the last half of the errors above rounding."""
    logs = np.log(np.asarray([e for e in errors if e > 1e-11]))
    tail = logs[len(logs) // 2 :]
    return float(np.exp(np.polyfit(np.arange(len(tail)), tail, 1)[0]))


@pytest.mark.parametrize("name", CONNECTED)
def test_electric_flow_keeps_its_bound_and_rate(name):
    graph = ZOO[name]
    eigenvalues, vectors = spectrum(graph)
    positive = eigenvalues > 1e-9
    delta = 1 / float(eigenvalues[-1])
    rate = 1 - delta * float(eigenvalues[positive][0])
    slowest = vectors[:, positive][:, 0]
    psi = graph.center(torch.randn(graph.num_nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    psi = psi + slowest * (1 - slowest @ psi)
    exact = torch.linalg.pinv(graph.laplacian_dense(), hermitian=True) @ psi
    with torch.no_grad():
        states = electric_flow(120, delta)(graph, psi=psi, return_all=True)
    errors = ((states - exact).norm(dim=1) / exact.norm()).numpy()
    layers = np.arange(len(errors))
    assert (errors <= rate**layers * (1 + 1e-9) + 1e-12).all()
    if rate > 1e-6:  # on the complete graph one layer is exact
        assert fitted_rate(errors[1:]) == pytest.approx(rate, rel=1e-3)


def test_electric_flow_reference_numbers():
    graph = ZOO["skip-links"]
    psi = graph.center(torch.randn(10, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    exact = torch.linalg.pinv(graph.laplacian_dense(), hermitian=True) @ psi
    delta = 1 / float(spectrum(graph)[0][-1])
    error = {
        depth: float((electric_flow(depth, delta)(graph, psi=psi) - exact).norm() / exact.norm())
        for depth in (10, 50, 200)
    }
    assert error[50] < 0.1 * error[10]
    assert error[200] < 1e-7


def test_electric_flow_is_that_of_networkx():
    G = nx.random_regular_graph(3, 20, seed=0)
    for i, (u, v) in enumerate(G.edges):
        G[u][v]["weight"] = 0.5 + i % 3
    B = Incidence.from_networkx(G)
    psi = torch.zeros(20, dtype=torch.float64)
    nodes = list(G.nodes)
    psi[0], psi[7] = 1.0, -1.0
    x = electric_flow(1500, delta=1 / float(B.lambda_bound()))(B, psi=psi)
    resistance = nx.resistance_distance(G, nodes[0], nodes[7], weight="weight", invert_weight=False)
    assert float(x[0] - x[7]) == pytest.approx(resistance, rel=1e-8)


def test_demands_are_served_component_by_component():
    graph = ZOO["two components"]
    psi = graph.center(torch.arange(10, dtype=torch.float64))
    x = electric_flow(2000, delta=0.25)(graph, psi=psi)
    torch.testing.assert_close(graph.laplacian @ x, psi, atol=1e-9, rtol=0)
    assert float(x[9]) == 0.0


@pytest.mark.parametrize("name", ["path", "grid", "barbell", "tree", "skip-links"])
@pytest.mark.parametrize("k", [2, 3])
def test_subspace_iteration_keeps_its_rate(name, k):
    graph = ZOO[name]
    eigenvalues, vectors = spectrum(graph)
    mu = float(eigenvalues[-1])
    rate = (mu - float(eigenvalues[k])) / (mu - float(eigenvalues[k - 1]))
    if rate > 0.999:
        pytest.skip("the eigenvalue is repeated, the subspace of k columns is not unique")
    start = torch.randn(graph.num_nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = subspace_iteration(150, mu)(graph, phi=start, return_all=True)[1:]
    outside = vectors[:, k:].T @ states  # sine of the angles
    errors = torch.linalg.matrix_norm(outside, 2).numpy()
    identity = torch.eye(k, dtype=torch.float64)
    torch.testing.assert_close(states[-1].T @ states[-1], identity, atol=1e-12, rtol=0)
    # The bound: tan(angle_l) <= rate^l tan(angle_0), the angle at the start measured on an orthonormal basis.
    basis = torch.linalg.qr(start)[0]
    overlap = torch.linalg.svdvals(vectors[:, :k].T @ basis)[-1]
    tangent0 = float(torch.linalg.svdvals(vectors[:, k:].T @ basis @ torch.linalg.inv(vectors[:, :k].T @ basis))[0])
    assert float(overlap) > 0
    layers = np.arange(1, len(errors) + 1)
    assert (errors <= rate**layers * tangent0 * (1 + 1e-6) + 1e-10).all()
    assert fitted_rate(errors) == pytest.approx(rate, rel=5e-3)


def test_subspace_of_a_repeated_eigenvalue_and_more_columns_than_nodes():
    cycle = ZOO["cycle"]  # eigenvalues 0, 1, 1, 3, 3, 4
    start = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    phi = subspace_iteration(200, mu=4.0)(cycle, phi=start)
    vectors = spectrum(cycle)[1][:, :3]
    torch.testing.assert_close(phi @ phi.T, vectors @ vectors.T, atol=1e-9, rtol=0)
    wide = torch.randn(6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    phi = subspace_iteration(50, mu=4.5)(cycle, phi=wide)
    torch.testing.assert_close(phi @ phi.T, torch.eye(6, dtype=torch.float64), atol=1e-9, rtol=0)
    assert phi[:, 6:].abs().max() == 0


def test_random_walk_returns():
    graph = ZOO["skip-links"].normalized("sym")
    adjacency = torch.diag(ZOO["skip-links"].degree) - ZOO["skip-links"].laplacian_dense()
    P = adjacency / adjacency.sum(1, keepdim=True)
    out = random_walk(7)(graph, phi=torch.eye(10, dtype=torch.float64), return_all=True)
    for steps in range(8):
        torch.testing.assert_close(out[steps].diagonal(), torch.linalg.matrix_power(P, steps).diagonal())


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_step(value):
    with pytest.raises(ValueError, match="delta must be positive and finite"):
        electric_flow(2, delta=value)
    with pytest.raises(ValueError, match="mu must be positive and finite"):
        subspace_iteration(2, mu=value)


def test_bad_depth():
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        electric_flow(0, 0.1)
    with pytest.raises(TypeError, match="num_layers must be an int"):
        random_walk(2.5)
