import networkx as nx
import numpy as np
import pytest
import torch
from scipy.sparse import diags
from scipy.sparse.linalg import cg

from graphtf import Incidence, LinearTransformer, conjugate_gradient
from graphtf.attention import Layer
from graphtf.literal import literal_layers
from graphtf.memory import ConjugateGradient, Memory, conjugate_gradient_step
from graphtf.testing import (
    assert_orientation_invariant,
    assert_permutation_equivariant,
    disjoint_union,
    graph_zoo,
)

ZOO = graph_zoo()
both = pytest.mark.parametrize("preconditioner", ["none", "jacobi"])


def weighted(G, spread, seed=0):
    """Conductances exp(U[-spread, spread])."""
    G = nx.convert_node_labels_to_integers(G)
    random = np.random.default_rng(seed)
    for u, v in G.edges:
        G[u][v]["weight"] = float(np.exp(random.uniform(-spread, spread)))
    return Incidence.from_networkx(G).to(torch.float64)


LARGER = {
    "large grid": weighted(nx.grid_2d_graph(20, 20), 0),
    "weighted grid": weighted(nx.grid_2d_graph(20, 20), 1),
    "random regular": weighted(nx.random_regular_graph(3, 60, seed=0), 1),
    "preferential attachment": weighted(nx.barabasi_albert_graph(300, 4, seed=0), 1),
    "long path": weighted(nx.path_graph(400), 1),
    "twelve orders": weighted(nx.barabasi_albert_graph(300, 3, seed=0), 14),
}


def demands(graph, columns, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return graph.center(torch.randn(graph.num_nodes, columns, dtype=torch.float64, generator=generator))


def scipy_iterates(graph, b, depth, preconditioner):
    """Iterates and relative residuals of SciPy, as many as it makes until its residual is rounding."""
    L, b = graph.laplacian_scipy(), b.numpy()
    M = diags(1 / L.diagonal()) if preconditioner == "jacobi" else None
    iterates = []
    cg(L, b, rtol=1e-12, atol=0, maxiter=depth, M=M, callback=lambda x: iterates.append(x.copy()))
    return torch.from_numpy(np.stack(iterates))


# Where the largest eigenvalues stand apart, the iterates without preconditioner soon depend on rounding: past these
# depths SciPy is as far from its own iterates in extended precision as from ours, though both converge.
DEPTH = {"preferential attachment": 24, "twelve orders": 24, "weighted grid": 45, "weighted": 8}


@both
@pytest.mark.parametrize("name", [*LARGER, *(name for name, graph in ZOO.items() if graph.num_edges)])
@torch.no_grad()
def test_iterates_are_those_of_scipy(name, preconditioner):
    graph = (ZOO | LARGER)[name]
    if preconditioner == "jacobi" and name == "two components":
        graph = Incidence(graph.index, graph.weight, 9)  # SciPy would divide by the degree of the isolated node
    depth = min(60, graph.num_nodes - 1)
    if preconditioner == "none":
        depth = DEPTH.get(name, depth)
    psi = demands(graph, 2)
    states = conjugate_gradient(depth, preconditioner)(graph, psi=psi, return_all=True)[1:]
    for column in range(2):
        expected = scipy_iterates(graph, psi[:, column], depth, preconditioner)
        found = states[: len(expected), :, column]
        assert ((found - expected).norm(dim=1) <= 1e-8 * expected.norm(dim=1)).all()
        # Where SciPy stops, nothing moves any more.
        if len(expected) < depth:
            torch.testing.assert_close(states[-1, :, column], expected[-1], rtol=1e-10, atol=1e-11)


@both
@pytest.mark.parametrize("layout", ["sparse", "padded"])
@torch.no_grad()
def test_columns_and_graphs_have_coefficients_of_their_own(preconditioner, layout):
    graphs = [ZOO[name] for name in ("grid", "complete", "no edges", "path", "two components", "skip-links")]
    union = disjoint_union(graphs)
    psi = [demands(graph, 3, seed=i) for i, graph in enumerate(graphs)]
    for x in psi:
        x[:, 1] = 0.0  # a column without demands
    transformer = conjugate_gradient(4, preconditioner)
    out = transformer(union, psi=torch.cat(psi), layout=layout)
    one_by_one = [
        torch.stack([transformer(graph, psi=column) for column in x.unbind(1)], 1)
        for graph, x in zip(graphs, psi, strict=True)
    ]
    torch.testing.assert_close(out, torch.cat(one_by_one), atol=1e-12, rtol=1e-12)
    assert (out[:, 1] == 0).all()


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_converged_columns_stay(preconditioner, dtype):
    for name in ("grid", "star", "complete", "two components", "skip-links", "single edge", "barbell"):
        graph = ZOO[name].to(dtype)
        psi = demands(ZOO[name], 2).to(dtype)
        psi[:, 1] = 0.0
        states = conjugate_gradient(80, preconditioner)(graph, psi=psi, return_all=True)
        assert torch.isfinite(states).all()
        assert torch.equal(states[50], states[80])
        exact = torch.linalg.pinv(ZOO[name].laplacian_dense(), hermitian=True) @ psi.double()
        tolerance = 2e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(graph.center(states[-1]).double(), exact, rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_weights_of_twelve_orders_and_a_long_path():
    for name, depth, tolerance in (("long path", 800, 1e-9), ("twelve orders", 500, 1e-9)):
        graph = LARGER[name]
        psi = demands(graph, 1)
        x = conjugate_gradient(depth, "jacobi")(graph, psi=psi)
        assert float((psi - graph.laplacian @ x).norm() / psi.norm()) < tolerance


@both
@torch.no_grad()
def test_register_psi_is_the_residual(preconditioner):
    graph, psi = ZOO["grid"], demands(ZOO["grid"], 2)
    cg6 = conjugate_gradient(6, preconditioner)
    residual = LinearTransformer(list(cg6.layers), ConjugateGradient.REGISTERS, "psi")(graph, psi=psi)
    torch.testing.assert_close(residual, psi - graph.laplacian @ cg6(graph, psi=psi), atol=1e-13, rtol=0)


@torch.no_grad()
def test_without_memory_it_is_steepest_descent():
    graph, psi = ZOO["skip-links"], demands(ZOO["skip-links"], 1)
    layers = [ConjugateGradient(torch.tensor(1.0).double(), torch.tensor(0.0).double()) for _ in range(5)]
    found = LinearTransformer(layers, ConjugateGradient.REGISTERS, "x")(graph, psi=psi)
    x, L = torch.zeros_like(psi), graph.laplacian_dense()
    for _ in range(5):
        r = psi - L @ x
        x = x + (r.T @ r) / (r.T @ L @ r) * r
    torch.testing.assert_close(found, x, atol=1e-13, rtol=1e-13)


@torch.no_grad()
def test_one_step_with_any_preconditioner():
    graph, psi = ZOO["skip-links"], demands(ZOO["skip-links"], 3)
    exact = torch.linalg.pinv(graph.laplacian_dense(), hermitian=True)
    start = Memory(psi, 0 * psi, 0 * psi, torch.zeros(3).double(), torch.zeros(3).double())
    step = conjugate_gradient_step(
        start, lambda p: graph.laplacian @ p, lambda a, b: (a * b).sum(0), precondition=lambda r: exact @ r
    )
    torch.testing.assert_close(step.x, exact @ psi, atol=1e-13, rtol=1e-13)
    assert step.residual.norm() < 1e-12


@both
def test_gradients(preconditioner):
    graph = ZOO["skip-links"]

    def solve(weight, psi):
        return conjugate_gradient(4, preconditioner)(Incidence(graph.index, weight, 10), psi=psi - psi.mean(0))

    psi = torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(solve, (graph.weight.clone().requires_grad_(), psi))


@both
@pytest.mark.parametrize("layout", ["sparse", "padded"])
def test_gradients_stay_finite_after_convergence(preconditioner, layout):
    for graph in ZOO.values():
        weight = graph.weight.clone().requires_grad_()
        psi = demands(graph, 2)
        psi[:, 1] = 0.0
        psi.requires_grad_()
        learned = Incidence(graph.index, weight, graph.num_nodes)
        transformer = conjugate_gradient(18, preconditioner).requires_grad_()
        transformer(learned, psi=psi, layout=layout).square().sum().backward()
        for leaf in (weight, psi, *transformer.parameters()):
            assert leaf.grad is not None
            assert torch.isfinite(leaf.grad).all()


@both
def test_node_order_and_orientation_do_not_matter(preconditioner):
    def solve(graph):
        psi = graph.center(torch.diag(graph.degree) - graph.laplacian_dense())  # demands made from the graph itself
        scale = psi.square().sum(1, keepdim=True)
        return conjugate_gradient(5, preconditioner)(graph, psi=graph.center(scale))

    for name in ("grid", "tree", "skip-links", "two components"):
        assert_permutation_equivariant(solve, ZOO[name])
        assert_orientation_invariant(solve, ZOO[name])


def test_bad_layers():
    one = torch.ones(())
    with pytest.raises(ValueError, match="preconditioner must be one of 'none', 'jacobi', but got 'ilu'"):
        conjugate_gradient(3, preconditioner="ilu")
    with pytest.raises(ValueError, match=r"gamma must be a single number, .* but has \[2\]"):
        ConjugateGradient(one, torch.ones(2))
    with pytest.raises(ValueError, match=r"layer 0 has 5 register\(s\)"):
        LinearTransformer([ConjugateGradient(one, one.clone())], ("psi", "x"), "x")
    with pytest.raises(TypeError, match="layer 0 is a ConjugateGradient"):
        conjugate_gradient(1).stack  # noqa: B018
    with pytest.raises(TypeError, match="but got Layer"):
        literal_layers(Layer(), 1, 1, torch.float64)
    assert not conjugate_gradient(1).is_polynomial
