"""Spectral functions of the NetworkX backend: signs, repeated eigenvalues, orderings, large graphs."""

import networkx as nx
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def no_cache_warning(monkeypatch):
    monkeypatch.setattr(nx.config, "warnings_to_ignore", {*nx.config.warnings_to_ignore, "cache"})


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("nodes", [8, 200])
@pytest.mark.parametrize("method", ["tracemin_pcg", "tracemin_lu", "lanczos", "lobpcg"])
def test_fiedler_vector(method, nodes, normalized):
    G = nx.path_graph(nodes)
    G.add_edge(0, nodes // 3, weight=0.1)
    x = nx.fiedler_vector(G, backend="graphtf", method=method, normalized=normalized, seed=1)
    L = (nx.normalized_laplacian_matrix if normalized else nx.laplacian_matrix)(G).toarray().astype(float)
    value = np.linalg.eigvalsh(L)[1]
    np.testing.assert_allclose(L @ x, value * x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(x), 1, rtol=1e-12)
    connectivity = nx.algebraic_connectivity(G, backend="graphtf", method=method, normalized=normalized)
    np.testing.assert_allclose(connectivity, value, rtol=1e-9)
    np.testing.assert_array_equal(
        x, nx.fiedler_vector(G, backend="graphtf", method=method, normalized=normalized, seed=1)
    )


@pytest.mark.parametrize("nodes", [6, 150])
def test_sign_is_that_of_networkx(nodes):
    G = nx.barbell_graph(nodes // 2, 1)
    for seed in range(5):
        ours, theirs = (nx.fiedler_vector(G, seed=seed, backend=backend) for backend in ("graphtf", "networkx"))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_repeated_eigenvalue():
    # The Fiedler vectors of a cycle are a plane. Small graphs get the random vector's projection on it.
    for nodes in (12, 240):
        x = nx.fiedler_vector(nx.cycle_graph(nodes), backend="graphtf", seed=5)
        angle = 2 * np.pi * np.arange(nodes) / nodes
        plane = np.stack([np.cos(angle), np.sin(angle)]) * np.sqrt(2 / nodes)
        np.testing.assert_allclose(plane.T @ (plane @ x), x, atol=1e-10)
        np.testing.assert_array_equal(x, nx.fiedler_vector(nx.cycle_graph(nodes), backend="graphtf", seed=5))
        if nodes == 12:
            expected = plane.T @ (plane @ np.random.RandomState(5).normal(size=nodes))
            np.testing.assert_allclose(x, -np.sign(expected[0]) * expected / np.linalg.norm(expected), atol=1e-10)
    complete = nx.fiedler_vector(nx.complete_graph(200), backend="graphtf", seed=5)
    assert abs(complete.sum()) < 1e-10
    np.testing.assert_allclose(np.linalg.norm(complete), 1, rtol=1e-12)


def test_large_graphs_take_the_sparse_solvers():
    G = nx.grid_2d_graph(4, 800)
    expected = 2 - 2 * np.cos(np.pi / 800)
    for method in ("tracemin_lu", "tracemin_pcg"):
        value = nx.algebraic_connectivity(G, backend="graphtf", method=method)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    path = nx.path_graph(4000)
    assert nx.resistance_distance(path, 3, 3999, backend="graphtf") == pytest.approx(3996, rel=1e-9)


def test_spectral_ordering():
    order = ["c", "a", "d", "b", "e"]
    G = nx.path_graph(order)
    nx.add_path(G, ["x", "y"])
    found = nx.spectral_ordering(G, backend="graphtf")
    assert found[:5] in (order, order[::-1])
    assert found[5:] == ["x", "y"]
    arcs = nx.DiGraph([("a", "b"), ("c", "b"), ("c", "d")])
    assert nx.spectral_ordering(arcs, backend="graphtf") in (list("abcd"), list("dcba"))


def test_weights_by_absolute_value_and_parallel_edges():
    G = nx.MultiGraph([(0, 1, {"w": 1.0}), (0, 1, {"w": -2.0}), (1, 2, {"w": 0.5}), (0, 2, {"w": 0.0})])
    for normalized in (False, True):
        ours, theirs = (
            nx.algebraic_connectivity(G, "w", normalized, method="lanczos", backend=backend)
            for backend in ("graphtf", "networkx")
        )
        assert ours == pytest.approx(theirs, rel=1e-9)
