"""Electric potentials and flows: every method against dense references, on the zoo and on hard graphs."""

import pytest
import torch

from graphtf import Incidence
from graphtf.constructions import conjugate_gradient
from graphtf.convert import disjoint_union
from graphtf.solvers import electric_potential
from graphtf.solvers.linear_cg import conjugate_gradient as fused
from graphtf.testing import (
    assert_orientation_invariant,
    assert_permutation_equivariant,
    graph_zoo,
)

ZOO = graph_zoo()
ADAPTIVE = ["auto", "dense", "memory", "preconditioned"]
FIXED = ["gradient", "chebyshev", "multiplicative"]


def demands(graph, k=None, seed=0, dtype=torch.float64):
    shape = (graph.num_nodes,) if k is None else (graph.num_nodes, k)
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def reference(graph, psi):
    """Pseudo-inverse by eigenvalues, component by component, so that a spread of weights costs no more than it must."""
    x = torch.zeros_like(psi)
    L, labels = graph.laplacian_dense(), graph.components()
    for c in range(int(labels.max()) + 1 if labels.numel() else 0):
        nodes = (labels == c).nonzero().squeeze(1)
        values, vectors = torch.linalg.eigh(L[nodes][:, nodes])
        part = vectors[:, 1:]
        columns = psi[nodes].view(len(nodes), -1)
        x[nodes] = (part @ ((part.mT @ columns) / values[1:, None])).view_as(psi[nodes])
    return x


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


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("name", [name for name in ZOO if name != "weighted"])
def test_adaptive_methods_keep_tol_on_the_zoo(name, method):
    graph = ZOO[name]
    psi = demands(graph, 3)
    x = electric_potential(graph, psi, method=method, tol=1e-10)
    assert x.residual.shape == (3,)
    assert (x.residual <= 1e-10).all()
    assert (residual(graph, psi, x.value) <= 1.1e-10).all()
    torch.testing.assert_close(x.value, reference(graph, graph.center(psi)), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(graph.center(x.value), x.value, rtol=0, atol=1e-12)  # zero mean on every component


@pytest.mark.parametrize("method", ADAPTIVE)
def test_eight_orders_of_magnitude(method):
    graph = ZOO["weighted"]
    psi = demands(graph)
    x = electric_potential(graph, psi, method=method, tol=1e-7)
    expected = reference(graph, graph.center(psi))
    assert float((x.value - expected).norm() / expected.norm()) < 1e-7


@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("name", [name for name in ZOO if name != "weighted"])
def test_float32_at_1e_4(name, method):
    graph = ZOO[name].to(torch.float32)
    psi = demands(graph, dtype=torch.float32)
    x = electric_potential(graph, psi, method=method, tol=1e-4)
    assert x.value.dtype == torch.float32
    assert x.residual.shape == ()
    assert float(x.residual) <= 1e-4
    expected = reference(graph.to(torch.float64), graph.center(psi).double())
    error = (x.value.double() - expected).norm()
    assert float(error) <= 1e-3 * float(expected.norm()) + 1e-12


@pytest.mark.parametrize("method", FIXED)
@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("weighted", "no nodes")])
def test_fixed_depth_keeps_its_bound(name, method):
    graph = ZOO[name]
    psi = demands(graph, 2)
    expected = reference(graph, graph.center(psi))
    for layers in (1, 4, 7):
        x = electric_potential(graph, psi, method=method, max_layers=layers, history=True)
        assert x.num_layers == layers
        assert x.method == method
        assert x.history.shape == (layers + 1, 2)
        error = (x.value - expected).norm(dim=0)
        assert (error <= float(x.bound) * expected.norm(dim=0) + 1e-9).all()
        assert (x.residual <= float(x.bound) + 1e-9).all()


@pytest.mark.parametrize("method", FIXED)
@pytest.mark.parametrize("name", ["path", "cycle", "complete", "two components", "skip-links", "single edge"])
def test_fixed_depth_from_tol(name, method):
    graph = ZOO[name]
    psi = demands(graph)
    x = electric_potential(graph, psi, method=method, tol=1e-6)
    assert float(x.bound) <= 1e-6
    assert float(x.residual) <= 1e-6


def test_too_deep_says_what_to_do():
    path = Incidence(torch.stack([torch.arange(4999), torch.arange(1, 5000)]))
    with pytest.raises(ValueError, match="use method='memory'"):
        electric_potential(path, torch.randn(5000), method="gradient")
    with pytest.raises(ValueError, match="at most 2048 nodes"):
        electric_potential(path, torch.randn(5000), method="multiplicative", max_layers=3)


@pytest.mark.parametrize("name", ["path", "grid", "barbell", "skip-links", "two components", "weighted"])
def test_conjugate_gradient_is_the_transformer_iterate_by_iterate(name):
    graph = ZOO[name]
    psi = graph.center(demands(graph, 2))
    layers = 5
    states = conjugate_gradient(layers)(graph, psi=psi, return_all=True)
    for step in range(layers + 1):
        x, _, _ = fused(graph, psi, 1e-30, step)
        torch.testing.assert_close(x, states[step], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("columns", [1, 3])
def test_compiled_loops_are_the_transformer_iterate_by_iterate(columns):
    pytest.importorskip("numba")
    from graphtf.solvers.kernels import CompiledLaplacian

    for name in ("grid", "skip-links", "two components"):
        graph = ZOO[name]
        psi = graph.center(demands(graph, columns))
        states = conjugate_gradient(5)(graph, psi=psi, return_all=True)
        scaled = conjugate_gradient(5, "jacobi")(graph, psi=psi, return_all=True)
        L = CompiledLaplacian(graph)
        torch.testing.assert_close(L.components(), graph.components())
        torch.testing.assert_close(L.matmul(psi), graph.laplacian @ psi)
        for step in range(6):
            x, steps, history = L.conjugate_gradient(psi, 1e-30, step)
            assert (steps, history.shape) == (step, (step + 1, columns))
            torch.testing.assert_close(x, states[step], rtol=1e-9, atol=1e-12)
            x = L.conjugate_gradient(psi, 1e-30, step, jacobi=True)[0]
            torch.testing.assert_close(graph.center(x), graph.center(scaled[step]), rtol=1e-9, atol=1e-12)


def test_memory_is_scipys_conjugate_gradient():
    sparse = pytest.importorskip("scipy.sparse.linalg")
    graph = random_weights(random_regular(60), 2)
    psi = graph.center(demands(graph))
    L, iterates = graph.laplacian_scipy(), []
    sparse.cg(L, psi.numpy(), rtol=1e-12, maxiter=25, callback=lambda x: iterates.append(x.copy()))
    for step, expected in enumerate(iterates[:20], 1):
        x = fused(graph, psi.unsqueeze(1), 1e-30, step)[0].squeeze(1)
        torch.testing.assert_close(x, torch.from_numpy(expected), rtol=1e-8, atol=1e-10)


def test_without_numba_the_answer_is_the_same(monkeypatch):
    from graphtf.solvers import kernels

    graph = random_weights(random_regular(3000), 2)
    psi = demands(graph, 2)
    first = electric_potential(graph, psi, method="memory", tol=1e-9)
    monkeypatch.setattr(kernels, "has_numba", lambda: False)
    plain = Incidence(graph.index, graph.weight, graph.num_nodes)
    second = electric_potential(plain, psi, method="memory", tol=1e-9)
    torch.testing.assert_close(first.value, second.value, rtol=1e-6, atol=1e-7)
    assert abs(first.num_layers - second.num_layers) <= 2


@pytest.mark.parametrize("method", ["auto", "memory", "gradient", "multiplicative"])
@pytest.mark.parametrize("name", ["grid", "two components", "skip-links"])
def test_symmetries(name, method):
    def potential(graph):  # demands that follow the nodes
        return electric_potential(graph, graph.center(graph.degree**2), method=method, tol=1e-9).value

    assert_permutation_equivariant(potential, ZOO[name], tolerance=1e-6)
    assert_orientation_invariant(potential, ZOO[name], tolerance=1e-6)


@pytest.mark.parametrize("method", ["auto", "dense", "memory", "preconditioned"])
def test_a_batch_is_its_graphs(method):
    graphs = [ZOO[name] for name in ("path", "no edges", "complete", "skip-links", "single node", "two components")]
    batch = disjoint_union(graphs)
    psi = demands(batch, 2)
    x = electric_potential(batch, psi, method=method, tol=1e-11).value
    start = 0
    for graph in graphs:
        part = slice(start, start + graph.num_nodes)
        alone = electric_potential(graph, psi[part], method=method, tol=1e-11).value
        torch.testing.assert_close(x[part], alone, rtol=1e-12, atol=1e-12)
        start += graph.num_nodes


def test_a_batch_of_small_and_large_graphs():
    graphs = [ZOO["grid"], random_regular(2100), ZOO["no edges"], random_regular(700), ZOO["tree"]]
    batch = disjoint_union(graphs)
    psi = demands(batch)
    x = electric_potential(batch, psi, tol=1e-9)
    assert x.method.startswith("dense and preconditioned")
    assert float(residual(batch, psi, x.value)) < 2e-9
    for number in range(len(graphs)):
        nodes = batch.batch == number
        alone = electric_potential(graphs[number], psi[nodes], tol=1e-9).value
        torch.testing.assert_close(x.value[nodes], alone, rtol=1e-12, atol=1e-12)
