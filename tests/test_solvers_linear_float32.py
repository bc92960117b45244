"""Demands in float32, the best iterate, and copies of solutions."""

import copy
import io

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphtf import Incidence
from graphtf.solvers import ConvergenceError, electric_potential, laplacian_eigenvectors
from graphtf.solvers.linear_cg import conjugate_gradient, relative_residual
from graphtf.solvers.solution import Solution

EDGES = torch.tensor(list(nx.gnm_random_graph(30, 90, seed=1).edges)).t()
PSI = torch.randn(30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", ["auto", "dense", "memory", "preconditioned"])
def test_an_offset_of_float32_demands_does_no_harm(method):
    psi = PSI + 1e3
    exact = electric_potential(EDGES, psi.double(), num_nodes=30, tol=1e-12)
    for tol in (None, 1e-9):
        x = electric_potential(EDGES, psi, num_nodes=30, method=method, tol=tol)
        assert float(x.residual) <= (tol or 1e-5)
        assert float((x.value - exact.value).norm() / exact.norm()) < (1e-4 if tol is None else 1e-6)


def test_gradients_of_float32_demands():
    psi, w = (PSI + 1e3).requires_grad_(), torch.ones(90, requires_grad=True)
    electric_potential(EDGES, psi, edge_weight=w, num_nodes=30, tol=1e-9).value.square().sum().backward()
    psi64, w64 = psi.detach().double().requires_grad_(), w.detach().double().requires_grad_()
    electric_potential(EDGES, psi64, edge_weight=w64, num_nodes=30).value.square().sum().backward()
    torch.testing.assert_close(psi.grad.double(), psi64.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(w.grad.double(), w64.grad, rtol=1e-4, atol=1e-5)


def test_the_iterate_of_least_residual_is_kept():
    w = torch.logspace(-4, 4, 90, dtype=torch.float64)
    graph = Incidence(EDGES, w, 30)
    psi = graph.center(torch.stack([PSI, PSI.flip(0), PSI.square()], 1).double())
    rose = False
    for layers in range(1, 20):
        x, _, history = conjugate_gradient(graph, psi, 1e-30, layers, keep_best=True)
        torch.testing.assert_close(relative_residual(graph, psi, x), history.amin(0), rtol=1e-6, atol=1e-9)
        rose = rose or bool((history[-1] > history.amin(0)).any())
    assert rose


def test_only_weights_that_spread_too_far_are_blamed():
    with pytest.raises(ConvergenceError, match="cannot come closer on this graph; loosen tol"):
        electric_potential(EDGES, PSI.double(), num_nodes=30, tol=1e-17)
    w = torch.logspace(-6, 6, 90, dtype=torch.float64)
    with pytest.raises(ConvergenceError, match="spread too far; loosen tol"):
        electric_potential(EDGES, PSI.double(), edge_weight=w, num_nodes=30, tol=1e-17)


def test_numpy_scalars_and_dtypes():
    x = electric_potential(EDGES, PSI, num_nodes=30, tol=np.float32(1e-3), max_layers=np.int64(500), method="memory")
    assert float(x.residual) <= 1.001e-3
    for dtype in ("float64", float):
        with pytest.raises(TypeError, match="dtype must be a floating type"):
            electric_potential(EDGES, PSI, num_nodes=30, dtype=dtype)


def test_deep_copies():
    x = electric_potential(EDGES, PSI, num_nodes=30, history=True)
    y, again = copy.deepcopy([x, x])
    assert y is again
    assert isinstance(y, Solution)
    assert (y.method, y.num_layers, y.bound) == (x.method, x.num_layers, x.bound)
    for one, other in ((x.value, y.value), (x.residual, y.residual), (x.history, y.history)):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()
    assert isinstance(copy.deepcopy(Data(potential=x)).potential, Solution)
    module = torch.nn.Linear(1, 1)
    module.register_buffer("potential", x)
    assert torch.equal(copy.deepcopy(module).potential.value, x.value)
    leaf = electric_potential(EDGES, PSI, num_nodes=30).requires_grad_()
    assert copy.deepcopy(leaf).requires_grad
    with pytest.raises(RuntimeError, match="history of gradients"):
        copy.deepcopy(electric_potential(EDGES, PSI.clone().requires_grad_(), num_nodes=30))


@pytest.mark.parametrize("weights_only", [True, False])
def test_saved_solutions(weights_only):
    x = electric_potential(EDGES, PSI, num_nodes=30, history=True)
    file = io.BytesIO()
    torch.save({"x": x}, file)
    file.seek(0)
    y = torch.load(file, weights_only=weights_only)["x"]
    assert isinstance(y, Solution)
    assert torch.equal(x.value, y.value)
    assert torch.equal(x.residual, y.residual)
    assert y.method == x.method
    vectors = laplacian_eigenvectors(EDGES, 3, num_nodes=30)
    file = io.BytesIO()
    torch.save(vectors, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=weights_only)
    assert type(loaded) is type(vectors)
    assert torch.equal(loaded.eigenvalues, vectors.eigenvalues)
