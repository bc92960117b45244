"""Gradients of eigenvalues and eigenvectors exist for simple eigenvalues and for whole eigenspaces."""

import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import algebraic_connectivity, heat_kernel, laplacian_eigenvectors
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


def with_fixed_sign(B, weight, k, normalization, which, method):
    v = laplacian_eigenvectors(Incidence(B.index, weight, B.num_nodes), k, normalization, which, method=method)
    probe = torch.arange(1.0, B.num_nodes + 1, dtype=torch.float64).cos()
    return v.eigenvalues, v.value * torch.sign(probe @ v.detach())


@pytest.mark.parametrize("largest_dense", [1024, 3])
@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
def test_simple_eigenvalues(monkeypatch, normalization, which, largest_dense):
    monkeypatch.setattr("graphtf.solvers.eigen_gradient.LARGEST_DENSE", largest_dense)
    B = ZOO["skip-links"]
    weight = B.weight.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: with_fixed_sign(B, w, 4, normalization, which, "dense"), (weight,))


def test_methods_have_the_same_gradient():
    B = ZOO["skip-links"]
    found = []
    for method in ("dense", "gradient"):
        weight = B.weight.clone().requires_grad_()
        v = laplacian_eigenvectors(
            Incidence(B.index, weight, 10), 3, "sym", method=method, max_layers=600 if method == "gradient" else None
        )
        P = v @ v.T
        (gradient,) = torch.autograd.grad((P * torch.arange(100.0).view(10, 10).double().cos()).sum(), weight)
        found.append(gradient)
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("largest_dense", [1024, 3])
@pytest.mark.parametrize(("name", "k"), [("cycle", 3), ("complete", 5), ("star", 5)])
def test_repeated_eigenvalues_are_refused_but_for_whole_eigenspaces(monkeypatch, name, k, largest_dense):
    monkeypatch.setattr("graphtf.solvers.eigen_gradient.LARGEST_DENSE", largest_dense)
    B = ZOO[name]
    weight = torch.ones(B.num_edges, dtype=torch.float64, requires_grad=True)

    def projector(w):
        v = laplacian_eigenvectors(Incidence(B.index, w, B.num_nodes), k)
        return v @ v.T, v.eigenvalues.sum()

    assert torch.autograd.gradcheck(projector, (weight,), atol=1e-6)
    v = laplacian_eigenvectors(Incidence(B.index, weight, B.num_nodes), k)
    probe = torch.arange(1.0, B.num_nodes + 1, dtype=torch.float64).sin()
    for single in (probe @ v[:, 1], v.eigenvalues[1]):
        with pytest.raises(RuntimeError, match="repeated"):
            torch.autograd.grad(single, weight, retain_graph=True)


@pytest.mark.parametrize("largest_dense", [1024, 3])
def test_an_eigenspace_cut_in_two_is_refused(monkeypatch, largest_dense):
    monkeypatch.setattr("graphtf.solvers.eigen_gradient.LARGEST_DENSE", largest_dense)
    B = ZOO["cycle"]
    weight = torch.ones(6, dtype=torch.float64, requires_grad=True)
    v = laplacian_eigenvectors(Incidence(B.index, weight, 6), 2)
    with pytest.raises(RuntimeError, match="repeated"):
        torch.autograd.grad(v.eigenvalues.sum(), weight)


def test_connectivity_gradient_is_the_squared_drop():
    B = ZOO["path"]
    weight = B.weight.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(algebraic_connectivity(Incidence(B.index, weight, 7)), weight)
    _, U = torch.linalg.eigh(B.laplacian_dense())
    torch.testing.assert_close(gradient, (U[B.index[0], 1] - U[B.index[1], 1]).square(), rtol=1e-10, atol=1e-12)


def test_second_derivatives_are_refused():
    B = ZOO["path"]
    weight = B.weight.clone().requires_grad_()
    graph = Incidence(B.index, weight, 7)
    for answer in (laplacian_eigenvectors(graph, 3).eigenvalues.sum(), heat_kernel(graph, method="memory").sum()):
        with pytest.raises(RuntimeError, match="no second derivatives"):
            torch.autograd.grad(answer, weight, create_graph=True)
