"""The heat kernel against the matrix exponential, its semigroup, and its gradients."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from graphtf import Incidence
from graphtf.constructions import heat_kernel as heat_layers
from graphtf.solvers import ConvergenceError, heat_kernel
from graphtf.solvers.filters import expansion
from graphtf.testing import assert_orientation_invariant, assert_permutation_equivariant, disjoint_union, graph_zoo

ZOO = graph_zoo()
TIMES = [0.0, 0.3, 2.0]


def start(n, k=2):
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def matrix(B, normalization):
    L = (B if normalization is None else B.normalized("sym")).laplacian_dense()
    if normalization == "rw":
        root = torch.where(B.degree > 0, B.degree, 1.0).sqrt()
        L = L / root[:, None] * root[None, :]
    return L


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("method", ["dense", "memory", "gradient"])
@pytest.mark.parametrize("name", ZOO)
def test_against_the_matrix_exponential(name, method, normalization):
    B, x = ZOO[name], start(ZOO[name].num_nodes)
    times = TIMES if normalization else [t / max(1.0, float(B.degree.max()) if B.num_nodes else 1.0) for t in TIMES]
    K = torch.stack([torch.matrix_exp(-t * matrix(B, normalization)) for t in times])
    depth = 80 if method == "gradient" else None
    y = heat_kernel(B, x, times, normalization=normalization, method=method, max_layers=depth)
    diagonal = heat_kernel(B, None, times, normalization=normalization, method=method, max_layers=depth)
    torch.testing.assert_close(y.value, K @ x, rtol=0, atol=1e-10)
    torch.testing.assert_close(diagonal.value, K.diagonal(dim1=1, dim2=2).T, rtol=0, atol=1e-10)
    assert y.method == method
    assert y.residual.shape == (3,)
    assert float(y.residual.max()) <= 1e-10


def large():
    graph = nx.barabasi_albert_graph(1500, 3, seed=0)
    weight = 10 ** (2 * torch.rand(graph.number_of_edges(), generator=torch.Generator().manual_seed(1)).double() - 1)
    return Incidence(torch.tensor(list(graph.edges)).T.contiguous(), weight, 1500)


def test_against_scipy():
    B = large()
    x = start(1500, 3)
    y = heat_kernel(B, x, [0.01, 0.5])
    assert y.method == "memory"
    for t, found in zip([0.01, 0.5], y.value, strict=True):
        expected = scipy.sparse.linalg.expm_multiply(-t * B.laplacian_scipy(), x.numpy())
        assert np.linalg.norm(found.numpy() - expected) <= 1e-10 * np.linalg.norm(x.numpy())


@pytest.mark.parametrize("method", ["dense", "memory"])
def test_semigroup_trace_and_sums(method):
    B = ZOO["skip-links"]
    x = start(10)
    once = heat_kernel(B, x, 1.0, method=method)
    twice = heat_kernel(B, heat_kernel(B, x, 0.3, method=method).value, 0.7, method=method)
    torch.testing.assert_close(once.value, twice.value, rtol=0, atol=1e-10)
    ones = heat_kernel(B, torch.ones(10, dtype=torch.float64), [0.1, 5.0], method=method)
    torch.testing.assert_close(ones.value, torch.ones(2, 10, dtype=torch.float64), rtol=0, atol=1e-10)
    trace = heat_kernel(B, None, 0.7, method=method).value.sum()
    torch.testing.assert_close(trace, torch.exp(-0.7 * torch.linalg.eigvalsh(B.laplacian_dense())).sum())


@pytest.mark.parametrize("method", ["dense", "memory"])
def test_batch_is_one_by_one(method):
    graphs = list(ZOO.values())
    union = disjoint_union(graphs)
    x = start(union.num_nodes)
    tol = 1e-8  # weights up to 1e4
    y = heat_kernel(union, x, TIMES, method=method, tol=tol)
    diagonal = heat_kernel(union, None, TIMES, method=method, tol=tol)
    first = 0
    for B in graphs:
        rows = slice(first, first + B.num_nodes)
        first += B.num_nodes
        one = heat_kernel(B, x[rows], TIMES, method=method, tol=tol)
        torch.testing.assert_close(y[:, rows], one.value, rtol=0, atol=1e-11)
        alone = heat_kernel(B, None, TIMES, method=method, tol=tol)
        torch.testing.assert_close(diagonal[rows], alone.value, rtol=0, atol=1e-11)


def test_it_is_what_the_transformer_computes():
    B = ZOO["grid"]
    x = start(12)
    y = heat_kernel(B, x, 0.8, method="memory")
    layers = heat_layers(y.num_layers, 0.8, float(B.lambda_bound()))
    torch.testing.assert_close(y.value, layers(B, psi=x), rtol=0, atol=1e-13)
    tokens = layers.tokens(B, psi=x)
    literal = layers.literal(B.num_edges, 2)(tokens)[:, -2:]
    torch.testing.assert_close(y.value, literal, rtol=0, atol=1e-12)


@pytest.mark.parametrize("z", [1e-6, 0.5, 30.0, 4000.0])
def test_the_bound_of_the_expansion_is_kept_and_not_far_off(z):
    points = np.linspace(-1, 1, 4001)
    for tol in (1e-3, 1e-8):
        c, bound = expansion(z, tol)
        error = np.abs(np.polynomial.chebyshev.chebval(points, c.numpy()) - np.exp(-z * (1 + points))).max()
        assert bound <= tol
        assert error <= bound + 1e-13
        assert error >= 0.1 * bound - 1e-13
        if len(c) > 1:
            assert expansion(z, tol, len(c) - 2)[1] > tol  # the degree is the smallest one


@pytest.mark.parametrize("depth", [3, 8])
def test_taylor_keeps_its_bound(depth):
    B, x = ZOO["cycle"], start(6, 1)
    y = heat_kernel(B, x, 0.4, method="gradient", max_layers=depth)
    error = (y.value - torch.matrix_exp(-0.4 * B.laplacian_dense()) @ x).norm() / x.norm()
    assert float(error) <= float(y.bound)
    assert float(error) > 1e-12


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("method", ["dense", "memory"])
@pytest.mark.parametrize("name", ["cycle", "complete", "two components"])
def test_gradients_of_symmetric_graphs(name, method, normalization):
    B = ZOO[name]
    weight = torch.ones(B.num_edges, dtype=torch.float64, requires_grad=True)
    x = start(B.num_nodes).requires_grad_()

    def heat(w, x):
        graph = Incidence(B.index, w, B.num_nodes)
        options = {"normalization": normalization, "method": method, "tol": 1e-12}
        return heat_kernel(graph, x, [0.5, 1.5], **options).value, heat_kernel(graph, None, 0.5, **options).value

    assert torch.autograd.gradcheck(heat, (weight, x))


def test_gradients_through_the_layers():
    B = ZOO["complete"]
    weight = torch.ones(B.num_edges, dtype=torch.float64, requires_grad=True)

    def heat(w):
        return heat_kernel(Incidence(B.index, w, 5), start(5), 0.2, method="gradient", max_layers=12).value

    assert torch.autograd.gradcheck(heat, (weight,))


def test_the_adjoint_of_a_large_graph_is_that_of_the_dense_one():
    B = large()
    found = []
    for method in ("memory", "dense"):
        weight = B.weight.clone().requires_grad_()
        x = start(1500, 1).requires_grad_()
        y = heat_kernel(Incidence(B.index, weight, 1500), x, [0.2, 1.0], method=method).value
        found.append(torch.autograd.grad((y * start(3000, 1).view(2, 1500, 1)).sum(), (weight, x)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def test_permutation_and_orientation():
    for method in ("dense", "memory"):
        assert_permutation_equivariant(lambda B, m=method: heat_kernel(B, None, 0.6, method=m).value, ZOO["barbell"])
        assert_orientation_invariant(lambda B, m=method: heat_kernel(B, None, 0.6, method=m).value, ZOO["barbell"])


def test_shapes():
    B = ZOO["path"]
    x = start(7)
    assert heat_kernel(B, x, 1.0).shape == (7, 2)
    assert heat_kernel(B, x[:, 0], 1.0).shape == (7,)
    assert heat_kernel(B, x[:, 0], [1.0]).shape == (1, 7)
    assert heat_kernel(B, x, torch.tensor([1.0, 2.0])).shape == (2, 7, 2)
    assert heat_kernel(B, None, 1.0).shape == (7,)
    assert heat_kernel(B, None, [1.0, 2.0, 3.0]).shape == (7, 3)
    assert heat_kernel(B.to(torch.float32), x.float(), 1.0).dtype == torch.float32


def test_a_limit_of_layers_is_kept():
    B, x = ZOO["path"], start(7)
    with pytest.raises(ConvergenceError, match="max_layers") as caught:
        heat_kernel(B, x, 3.0, method="memory", max_layers=6)
    best = caught.value.solution
    error = (best.value - torch.matrix_exp(-3 * B.laplacian_dense()) @ x).norm() / x.norm()
    assert float(error) <= float(best.residual)
    assert best.num_layers == 6
    with pytest.raises(ConvergenceError, match="float64"):
        heat_kernel(B.to(torch.float32), x.float(), 3.0, tol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": -1.0}, "not negative"),
        ({"times": float("nan")}, "finite"),
        ({"times": [[1.0]]}, "one number or a sequence"),
        ({"times": torch.ones(1, requires_grad=True)}, "gradients"),
        ({"normalization": "spectral"}, "normalization"),
        ({"method": "taylor"}, "method"),
        ({"tol": 0.0}, "tol"),
        ({"max_layers": 0}, "max_layers"),
        ({"x": torch.ones(3)}, "7 rows"),
        ({"x": torch.ones(7, 1, 1)}, "shape"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        heat_kernel(ZOO["path"], **options)
    with pytest.raises(TypeError, match="times"):
        heat_kernel(ZOO["path"], times="soon")


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_float32_at_long_times(normalization):
    path, x = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, -2.0, 4.0])
    times = [0.0, 300.0, 1e6]
    y = heat_kernel(path, x, times, normalization=normalization)
    exact = heat_kernel(path, x.double(), times, normalization=normalization)
    assert (y.dtype, y.residual.dtype) == (torch.float32, torch.float32)
    assert float(y.residual.max()) < 1e-6
    torch.testing.assert_close(y.value.double(), exact.value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tol", [1e-4, 1e-5, 1e-6])
def test_float32_chebyshev_keeps_tight_tolerances_at_long_times(tol):
    B = large()
    x = start(1500, 2)
    time = 1e6 / float(B.lambda_bound())
    single = B.to(torch.float32)
    y = heat_kernel(single, x.float(), [0.1, time], method="memory", tol=tol)
    exact = heat_kernel(single.to(torch.float64), x.float().double(), [0.1, time], method="dense", tol=1e-9).value
    assert y.num_layers > 2000
    assert float(y.residual.max()) <= tol
    error = (y.value.double() - exact).norm(dim=(1, 2)) / x.norm()
    assert bool((error <= y.residual).all())
    with pytest.raises(ConvergenceError, match="float64"):
        heat_kernel(single, x.float(), time, method="memory", tol=1e-8)


def test_float64_starts_are_promoted():
    path, x = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    for method in ("dense", "memory", "gradient"):
        y = heat_kernel(path, x, 1.0, method=method)
        assert y.dtype == torch.float64
        expected = heat_kernel(path, x, 1.0, method=method, dtype=torch.float64)
        torch.testing.assert_close(y.value, expected.value)
        assert heat_kernel(path, x, 1.0, method=method, dtype=torch.float32).dtype == torch.float32
    with pytest.raises(TypeError, match="dtype must be a floating type"):
        heat_kernel(path, x, 1.0, dtype="float64")
    assert heat_kernel(path, x, 1.0, tol=np.float32(1e-3), max_layers=np.int64(50), method="memory").shape == (3,)


def test_gradient_of_float32_weights():
    path, x = torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, -2.0, 4.0])
    gradients = []
    for dtype in (torch.float32, torch.float64):
        w = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
        heat_kernel(path, x.to(dtype), 0.5, edge_weight=w).value[0].backward()
        gradients.append(w.grad)
    assert gradients[0].dtype == torch.float32
    torch.testing.assert_close(gradients[0].double(), gradients[1], rtol=1e-5, atol=1e-6)


def test_second_derivatives_of_the_dense_kernel_are_refused():
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    y = heat_kernel(torch.tensor([[0, 1], [1, 2]]), None, 1.0, edge_weight=w, method="dense")
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(y.value.sum(), w, create_graph=True)
