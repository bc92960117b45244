"""What the constructions compute, against dense and other libraries' answers, and the input that they refuse."""

import math

import networkx as nx
import pytest
import torch
from scipy.sparse.linalg import expm_multiply
from scipy.special import ive

from graphtf import Incidence
from graphtf.constructions import (
    CONSTRUCTIONS,
    chebyshev,
    chebyshev_subspace_iteration,
    conjugate_gradient,
    fast_inverse,
    heat_kernel,
    heat_kernel_squaring,
    heavy_ball,
    inverse_registers,
    one_hot,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.constructions import bounds as proven
from graphtf.constructions.heat import chebyshev_coefficients
from graphtf.polynomial import polynomial_coefficients
from graphtf.testing import (
    assert_orientation_invariant,
    assert_permutation_equivariant,
    disjoint_union,
    graph_zoo,
)

ZOO = graph_zoo()


def pinv(graph):
    return torch.linalg.pinv(graph.laplacian_dense(), hermitian=True)


@torch.no_grad()
def test_resistive_embedding_gives_networkx_resistances():
    G = nx.random_regular_graph(3, 20, seed=0)
    for i, (u, v) in enumerate(G.edges):
        G[u][v]["weight"] = 0.5 + i % 3
    graph = Incidence.from_networkx(G).to(torch.float64)
    identity = graph.center(torch.eye(20, dtype=torch.float64))
    x = resistive_embedding(1500, delta=1 / float(graph.lambda_bound()))(graph, psi=identity)
    expected = nx.resistance_distance(G, weight="weight", invert_weight=False)
    expected = torch.tensor([[expected[u][v] for v in G.nodes] for u in G.nodes], dtype=torch.float64)
    found = (x.unsqueeze(2) - x.unsqueeze(1)).square().sum(0)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "weighted"])
@torch.no_grad()
def test_fast_inverse_of_the_projector_is_the_pseudo_inverse(name):
    graph = ZOO[name]
    delta = 1 / max(float(graph.lambda_bound().max()) if graph.num_graphs else 1.0, 1.0)
    x = fast_inverse(12)(graph, **inverse_registers(graph, delta))
    torch.testing.assert_close(x, pinv(graph) if graph.num_nodes else x, atol=1e-10, rtol=1e-10)


@torch.no_grad()
def test_fast_inverse_of_a_batch_and_of_more_demands_than_nodes():
    graphs = [ZOO[name] for name in ("grid", "single node", "two components", "no edges", "cycle")]
    union = disjoint_union(graphs)
    psi = torch.randn(union.num_nodes, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    psi = union.center(psi)
    start = inverse_registers(union, 0.1, psi)
    assert start["identity"].shape == (union.num_nodes, 15)
    x = fast_inverse(12)(union, **start)
    torch.testing.assert_close(x, pinv(union) @ psi, atol=1e-10, rtol=1e-10)
    one = fast_inverse(12)(union, **inverse_registers(union, 0.1, psi[:, 0]))
    torch.testing.assert_close(one[:, 0], x[:, 0])
    assert one.shape == (union.num_nodes, 12)
    assert (one[:, 1:] == 0).all()


@pytest.mark.parametrize("s", [0.2, 5.0, 60.0])
@torch.no_grad()
def test_heat_kernel_is_that_of_scipy(s):
    graph = ZOO["skip-links"]
    high = float(graph.lambda_bound())
    psi = torch.randn(10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(expm_multiply(-s * graph.laplacian_scipy(), psi.numpy()))
    depth = proven.depth_for(lambda layers: proven.heat_kernel_bound(layers, s, high), 1e-12)
    x = heat_kernel(depth, s, high)(graph, psi=psi)
    assert float((x - expected).norm() / psi.norm()) < 2e-12
    squarings = max(0, math.ceil(math.log2(s * high)))
    M = heat_kernel_squaring(16, squarings, s)(graph, identity=one_hot(graph), psi=one_hot(graph))
    torch.testing.assert_close(M @ psi, expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_heat_at_long_times_is_the_mean_of_every_component():
    graph = ZOO["two components"]
    psi = torch.arange(10, dtype=torch.float64)
    x = heat_kernel(500, s=1e3, lambda_max=4.0)(graph, psi=psi)
    torch.testing.assert_close(x, psi - graph.center(psi), atol=1e-12, rtol=0)


@torch.no_grad()
def test_squared_heat_kernel_of_a_batch():
    union = disjoint_union([ZOO[name] for name in ("grid", "no edges", "cycle")])
    start = one_hot(union)
    M = heat_kernel_squaring(16, 4, s=1.0)(union, identity=start, psi=start)
    torch.testing.assert_close(M, torch.linalg.matrix_exp(-union.laplacian_dense()) @ start, atol=1e-12, rtol=0)


@pytest.mark.parametrize("z", [1e-3, 1.0, 30.0, 5e3])
def test_chebyshev_coefficients_are_bessel_functions(z):
    c = chebyshev_coefficients(200, s=2 * z, lambda_max=1.0)
    j = torch.arange(201)
    expected = 2.0 * (-1.0) ** j * torch.from_numpy(ive(j.numpy(), z))
    expected[0] /= 2
    torch.testing.assert_close(c, expected.double(), atol=1e-300, rtol=1e-11)


@torch.no_grad()
def test_polynomial_constructions_share_their_powers():
    graph = ZOO["skip-links"].normalized("spectral")
    T = torch.eye(10, dtype=torch.float64) - graph.laplacian_dense()
    powers = torch.stack([torch.linalg.matrix_power(T, j) for j in range(9)])
    for transformer in (
        resistive_embedding(8, 1.0),
        heat_kernel(8, 2.0, 1.0),
        heat_kernel(8, 2.0, 1.0, form="taylor"),
        chebyshev(8, 0.05, 1.0),
        heavy_ball(8, 0.05, 1.0),
    ):
        start = torch.zeros(len(transformer.registers), dtype=torch.float64)
        start[0] = 1.0
        states = transformer(graph, psi=torch.eye(10, dtype=torch.float64), return_all=True)
        c = polynomial_coefficients(transformer, start)
        torch.testing.assert_close(torch.einsum("lj,jab->lab", c, powers), states, atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="polynomials in L"):
        polynomial_coefficients(fast_inverse(2), torch.ones(3))


LOCAL = {
    "resistive": resistive_embedding(8, 0.05),
    "heat": heat_kernel(8, 0.5, 20.0),
    "taylor": heat_kernel(8, 0.05, 20.0, form="taylor"),
    "chebyshev": chebyshev(8, 0.3, 20.0),
    "heavy-ball": heavy_ball(8, 0.3, 20.0),
}


@pytest.mark.parametrize("name", LOCAL)
@torch.no_grad()
def test_node_order_orientation_and_dtype_do_not_matter(name):
    def run(graph):
        psi = graph.center(graph.degree.square().unsqueeze(1))
        return LOCAL[name](graph, psi=psi)

    for graph in (ZOO[key] for key in ("grid", "tree", "skip-links", "two components")):
        assert_permutation_equivariant(run, graph)
        assert_orientation_invariant(run, graph)
        single = run(graph.to(torch.float32))
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), run(graph), atol=1e-4, rtol=1e-4)


def test_constructions_of_float32_weights_and_without_gradients():
    for name, make in CONSTRUCTIONS.items():
        options = {
            "electric": {"delta": 0.1},
            "resistive": {"delta": 0.1},
            "heat": {"s": 1.0, "lambda_max": 2.0},
            "heat-squaring": {"num_squarings": 2, "s": 1.0},
            "chebyshev": {"lambda_min": 0.1, "lambda_max": 2.0},
            "heavy-ball": {"lambda_min": 0.1, "lambda_max": 2.0},
            "eigenvectors": {"mu": 2.0},
            "eigenvectors-chebyshev": {"degree": 2, "cut": 0.3, "lambda_max": 2.0},
        }.get(name, {})
        transformer = make(3, dtype=torch.float32, **options)
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in transformer.parameters()), name


def test_interval_of_a_single_eigenvalue():
    graph = ZOO["complete"]  # eigenvalues 0 and 5
    psi = graph.center(torch.arange(5, dtype=torch.float64))
    for make in (chebyshev, heavy_ball):
        torch.testing.assert_close(make(3, 5.0, 5.0)(graph, psi=psi), psi / 5)
    assert proven.chebyshev_bound(1, 5.0, 5.0) == 0.0
    assert proven.filter_rate(3, 0.0, 5.0, 5.0) == 0.0


def test_bound_of_the_published_condition_number():
    for depth, stated in {10: 0.041, 20: 4.4e-4, 40: 4.7e-8}.items():
        assert proven.chebyshev_bound(depth, 1.0, 77.5) == pytest.approx(stated, rel=0.02)


def test_depth_for_a_tolerance():
    def bound(depth):
        return proven.gradient_bound(depth, 0.1, 1.0)

    for tol in (0.9, 0.5, 1e-3, 1e-9):
        depth = proven.depth_for(bound, tol)
        assert bound(depth) <= tol
        assert depth == 1 or bound(depth - 1) > tol
    with pytest.raises(ValueError, match=r"10 layers reach 3\.5e-01, but tol is 1e-09"):
        proven.depth_for(bound, 1e-9, max_layers=10)
    with pytest.raises(ValueError, match="tol must be positive"):
        proven.depth_for(bound, 0.0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_numbers(value):
    for call in (
        lambda: resistive_embedding(2, delta=value),
        lambda: heat_kernel(2, s=value, lambda_max=1.0),
        lambda: heat_kernel(2, s=1.0, lambda_max=value),
        lambda: heat_kernel_squaring(2, 1, s=value),
        lambda: inverse_registers(ZOO["cycle"], delta=value),
        lambda: proven.gradient_bound(2, delta=value, lambda_min=1.0),
    ):
        with pytest.raises(ValueError, match="must be positive and finite"):
            call()
    for make in (chebyshev, heavy_ball, proven.chebyshev_bound, proven.heavy_ball_bound):
        with pytest.raises(ValueError, match="0 < lambda_min <= lambda_max"):
            make(2, value, 1.0)
        with pytest.raises(ValueError, match="0 < lambda_min <= lambda_max"):
            make(2, 1.0, value)


def test_bad_options():
    with pytest.raises(ValueError, match="form must be one of 'chebyshev', 'taylor', but got 'pade'"):
        heat_kernel(2, 1.0, 1.0, form="pade")
    with pytest.raises(ValueError, match="which must be one of 'smallest', 'largest'"):
        subspace_iteration(2, 1.0, which="LM")
    with pytest.raises(ValueError, match=r"psi must be \[6\] or \[6, k\], but has shape \[5, 1\]"):
        inverse_registers(ZOO["cycle"], 0.1, torch.ones(5))
    with pytest.raises(ValueError, match="num_squarings must be at least 0"):
        heat_kernel_squaring(2, -1, 1.0)
    with pytest.raises(ValueError, match="degree must be at least 1"):
        chebyshev_subspace_iteration(2, 0, 1.0, 2.0)
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        conjugate_gradient(0)
    with pytest.raises(TypeError, match="num_layers must be an int"):
        fast_inverse(2.0)
    with pytest.raises(ValueError, match="delta must be at most 1 / lambda_max"):
        proven.squaring_bound(2, 1.0, 2.0)
    with pytest.raises(ValueError, match="the wanted eigenvalues must end before"):
        proven.subspace_rate(2.0, 1.0, 4.0)
