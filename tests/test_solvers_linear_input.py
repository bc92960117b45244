"""Electric solvers: what they take, what they refuse, and gradients."""

import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import ConvergenceError, electric_flow, electric_potential
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
METHODS = ["auto", "dense", "memory", "preconditioned", "gradient", "chebyshev", "multiplicative"]
TRIANGLE = torch.tensor([[0, 1, 0], [1, 2, 2]])


def test_kirchhoff():
    for name, graph in ZOO.items():
        psi = torch.randn(graph.num_nodes, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        f = electric_flow(graph, psi, tol=1e-7)
        u, v = graph.index
        net = torch.zeros_like(psi).index_add(0, u, f.value).index_add(0, v, -f.value)
        torch.testing.assert_close(net, graph.center(psi), rtol=0, atol=1e-6, msg=name)


def test_flow_follows_the_list():
    both = torch.tensor([[0, 1, 1, 2, 0, 2, 1], [1, 0, 2, 1, 2, 0, 1]])
    f = electric_flow(both, torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(f.value, torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0, -2.0, 0.0]) / 3)
    parallel = torch.tensor([[0, 0, 1], [1, 1, 2]])
    f = electric_flow(parallel, torch.tensor([1.0, 0.0, -1.0]), edge_weight=torch.tensor([1.0, 3.0, 5.0]))
    torch.testing.assert_close(f.value, torch.tensor([0.25, 0.75, 1.0]))
    turned = electric_flow(parallel.flip(0), torch.tensor([1.0, 0.0, -1.0]), edge_weight=torch.tensor([1.0, 3.0, 5.0]))
    torch.testing.assert_close(turned.value, -f.value)


def test_every_kind_of_graph():
    nx = pytest.importorskip("networkx")
    scipy_sparse = pytest.importorskip("scipy.sparse")
    from torch_geometric.data import Batch, Data

    from graphtf.transforms import AddIncidence

    w = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    psi = torch.tensor([1.0, 1.0, -2.0], dtype=torch.float64)
    expected = electric_potential(TRIANGLE, psi, edge_weight=w)
    flow = electric_flow(TRIANGLE, psi, edge_weight=w).value
    G = nx.Graph()
    G.add_weighted_edges_from([(0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0)])
    data = Data(edge_index=TRIANGLE, edge_weight=w, num_nodes=3)
    A = scipy_sparse.csr_array(nx.to_numpy_array(G))
    for graph in (G, data, A, Incidence(TRIANGLE, w), AddIncidence()(data)):
        torch.testing.assert_close(electric_potential(graph, psi).value, expected.value)
    position = {edge: i for i, edge in enumerate([(0, 1), (1, 2), (0, 2)])}
    order = [position[edge] for edge in G.edges]
    torch.testing.assert_close(electric_flow(G, psi).value, flow[order])
    torch.testing.assert_close(electric_flow(data, psi).value, flow)
    torch.testing.assert_close(electric_flow(AddIncidence()(data), psi).value, flow)
    batch = Batch.from_data_list([data, data])
    torch.testing.assert_close(electric_potential(batch, psi.repeat(2)).value, expected.value.repeat(2))


def test_projection_or_error():
    psi = torch.tensor([1.0, 0.0, 0.0])
    x = electric_potential(TRIANGLE, psi)
    torch.testing.assert_close(x.value, electric_potential(TRIANGLE, psi - 1 / 3).value)
    with pytest.raises(ValueError, match="must sum to zero on every component"):
        electric_potential(TRIANGLE, psi, uncentered="raise")
    electric_potential(TRIANGLE, torch.tensor([1.0, 1.0, -2.0]), uncentered="raise")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "magic"}, ValueError, "method must be one of"),
        ({"tol": 0.0}, ValueError, "tol is a relative residual between 0 and 1"),
        ({"tol": "small"}, TypeError, "tol must be a number"),
        ({"max_layers": 0}, ValueError, "max_layers must be at least 1"),
        ({"max_layers": 1.5}, TypeError, "max_layers must be an int"),
        ({"generator": 3}, TypeError, "generator must be a torch.Generator"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating type"),
        ({"uncentered": "maybe"}, ValueError, "uncentered must be one of"),
        ({"edge_weight": torch.tensor([1.0, -1.0, 1.0])}, ValueError, "must be finite and positive"),
        ({"edge_weight": torch.tensor([1.0, float("nan"), 1.0])}, ValueError, "must be finite and positive"),
        ({"demands": torch.zeros(4)}, ValueError, r"shape \[3\] or \[3, k\]"),
        ({"demands": [1.0, 0.0, -1.0]}, TypeError, "must be a torch.Tensor"),
        ({"demands": torch.tensor([1.0, float("nan"), 0.0])}, ValueError, "demands must be finite"),
        ({"demands": torch.zeros(3, dtype=torch.complex64)}, TypeError, "demands must be real"),
    ],
)
def test_bad_input(change, error, message):
    keywords = {"demands": torch.tensor([1.0, 0.0, -1.0]), **change}
    with pytest.raises(error, match=message):
        electric_potential(TRIANGLE, **keywords)


def test_what_is_no_graph_is_told_what_is_one():
    with pytest.raises(TypeError, match=r"Incidence.*edge_index.*NetworkX.*SciPy.*but got ndarray; wrap"):
        electric_potential(TRIANGLE.numpy(), torch.zeros(3))


def test_normalized_and_directed_graphs_are_refused():
    with pytest.raises(ValueError, match="normalized"):
        electric_potential(Incidence(TRIANGLE).normalized("sym"), torch.zeros(3))
    with pytest.raises(ValueError, match="directed"):
        electric_potential(torch.tensor([[0, 1, 1], [1, 0, 2]]), torch.zeros(3))


@pytest.mark.parametrize("method", METHODS)
def test_degenerate_graphs(method):
    for graph, n in ((ZOO["no nodes"], 0), (ZOO["single node"], 1), (ZOO["no edges"], 3)):
        x = electric_potential(graph, torch.ones(n, 2, dtype=torch.float64), method=method, history=True)
        assert x.shape == (n, 2)
        assert float(x.abs().sum()) == 0.0
        assert x.residual.shape == (2,)
        assert float(x.residual.sum()) == 0.0
        f = electric_flow(graph, torch.ones(n, dtype=torch.float64), method=method)
        assert f.shape == (0,)


def test_types():
    double = electric_potential(TRIANGLE, torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64))
    assert double.dtype == torch.float64
    assert electric_potential(TRIANGLE, torch.tensor([1, 0, -1])).dtype == torch.float32
    assert electric_potential(TRIANGLE, torch.tensor([1, 0, -1]), dtype=torch.float64).dtype == torch.float64
    wide = electric_potential(TRIANGLE, torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64), dtype=torch.float32)
    assert wide.dtype == torch.float32
    strided = torch.arange(12).view(2, 6)[:, ::2].to(torch.int32)  # neither contiguous nor int64
    assert electric_potential(strided, torch.zeros(11)).shape == (11,)


def test_history_ends_at_the_residual():
    graph = ZOO["grid"]
    psi = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = electric_potential(graph, psi, method="memory", history=True)
    assert x.history.shape == (x.num_layers + 1, 2)
    torch.testing.assert_close(x.history[0], torch.ones(2, dtype=torch.float64))
    assert (x.history[-1] <= 1e-8).all()
    assert electric_potential(graph, psi, method="memory").history is None


def test_generator_decides_the_factor():
    pytest.importorskip("approx_chol")
    n = 3000
    around = torch.arange(n)
    index = torch.cat([torch.stack([around, (around + step) % n]) for step in (1, 2)], 1)  # hard for Jacobi
    graph = Incidence.from_edge_index(index, directions="once")
    psi = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def solve(seed):
        generator = torch.Generator().manual_seed(seed)
        return electric_potential(graph, psi, method="preconditioned", generator=generator).value

    assert torch.equal(solve(0), solve(0))
    assert not torch.equal(solve(0), solve(1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["cycle", "complete", "two components", "skip-links"])
def test_gradcheck(name, method):
    zoo = ZOO[name]
    psi = torch.randn(zoo.num_nodes, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    depth = {"gradient": 9, "chebyshev": 9, "multiplicative": 4}.get(method)
    keywords = {"method": method, "max_layers": depth} if depth else {"method": method, "tol": 1e-12}
    if method == "chebyshev":  # its coefficients are read off the weights and are no part of the gradient
        function = lambda psi: electric_potential(zoo, psi, **keywords).value  # noqa: E731
        assert torch.autograd.gradcheck(function, (psi.requires_grad_(),))
        return

    def potential(w, psi):
        graph = Incidence(zoo.index, w, zoo.num_nodes)
        return electric_potential(graph, psi, **keywords).value

    # Weights of their own, so that the largest degree, and with it the step, is that of one node.
    w = (zoo.weight * torch.linspace(1, 1.3, zoo.num_edges, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(potential, (w, psi.requires_grad_()))


@pytest.mark.parametrize("method", ["dense", "memory", "preconditioned"])
def test_second_derivatives(method):
    zoo = ZOO["cycle"]
    psi = torch.randn(6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def energy(w, psi):
        graph = Incidence(zoo.index, w, 6)
        return (electric_potential(graph, psi, method=method, tol=1e-12).value * psi).sum()

    assert torch.autograd.gradgradcheck(energy, (zoo.weight.clone().requires_grad_(), psi))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_finite_on_symmetric_graphs(method):
    for name in ("cycle", "complete"):
        zoo = ZOO[name]
        w = zoo.weight.clone().requires_grad_()
        psi = torch.randn(
            zoo.num_nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        ).requires_grad_()
        graph = Incidence(zoo.index, w, zoo.num_nodes)
        electric_flow(graph, psi, method=method, tol=1e-6).value.square().sum().backward()
        assert torch.isfinite(w.grad).all()
        assert torch.isfinite(psi.grad).all()
        assert float(psi.grad.abs().max()) > 0


def test_gradient_of_a_large_graph_by_one_adjoint_solve():
    n = 2500
    index = torch.stack([torch.arange(n), (torch.arange(n) + 1) % n])
    index = torch.cat([index, torch.stack([torch.arange(n), (torch.arange(n) * 7 + 3) % n])], 1)
    index = Incidence.from_edge_index(index, directions="once").index
    w = torch.ones(index.shape[1], dtype=torch.float64, requires_grad=True)
    psi = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (electric_potential(index, psi, edge_weight=w, tol=1e-10).value * psi).sum().backward()
    # Of the energy psi^T L^+ psi the gradient is minus the squared potential differences.
    with torch.no_grad():
        x = electric_potential(index, psi, edge_weight=w, tol=1e-10).value
    torch.testing.assert_close(w.grad, -(x[index[0]] - x[index[1]]).square(), rtol=1e-6, atol=1e-8)


def test_a_gradient_that_cannot_be_had_is_an_error():
    n = 3000
    path = torch.stack([torch.arange(n - 1), torch.arange(1, n)])
    psi = torch.zeros(n, dtype=torch.float64)
    psi[:2] = torch.tensor([1.0, -1.0])  # one edge: solved at once
    x = torch.zeros(())
    w = torch.ones(n - 1, dtype=torch.float64, requires_grad=True)
    try:
        x = electric_potential(path, psi, edge_weight=w, method="memory", tol=0.5, max_layers=3).value
    except ConvergenceError as error:
        x = error.solution.value
        assert not x.requires_grad
        return
    with pytest.raises(ConvergenceError, match="adjoint system"):
        (x * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).sum().backward()
