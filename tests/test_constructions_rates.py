"""The error of every construction over the depth, against the proven bound and rate."""

import math

import numpy as np
import pytest
import torch

from graphtf import Incidence
from graphtf.constructions import bounds as proven
from graphtf.constructions import (
    chebyshev,
    chebyshev_subspace_iteration,
    conjugate_gradient,
    electric_flow,
    fast_inverse,
    heat_kernel,
    heavy_ball,
    inverse_registers,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
NAMES = ["path", "cycle", "star", "grid", "barbell", "tree", "skip-links", "two components"]
named = pytest.mark.parametrize("name", NAMES)


def positive_spectrum(graph):
    values, vectors = torch.linalg.eigh(graph.laplacian_dense())
    keep = values > 1e-9 * values[-1]
    return values[keep], vectors[:, keep]


def random_demands(graph, columns=3):
    generator = torch.Generator().manual_seed(0)
    return graph.center(torch.randn(graph.num_nodes, columns, dtype=torch.float64, generator=generator))


def function_of(values, vectors, function, psi):
    return vectors @ (function(values).unsqueeze(1) * (vectors.T @ psi))


def norm_errors(states, exact):
    """`[layers + 1, k]` relative errors of every column."""
    return (states - exact).norm(dim=1) / exact.norm(dim=0)


def energy_errors(graph, states, exact):
    """`[layers + 1, k]` squared errors in the norm of `L`, relative to that of the answer."""
    L = graph.laplacian_dense()
    return torch.einsum("lik,ij,ljk->lk", states - exact, L, states - exact) / torch.einsum(
        "ik,ij,jk->k", exact, L, exact
    )


def fitted_rate(errors, floor=1e-11):
    """Factor a layer, from a straight line through the logarithms of the last half of the errors above rounding."""
    logs = np.log([float(e) for e in errors if e > floor])
    tail = logs[len(logs) // 2 :]
    return float(np.exp(np.polyfit(np.arange(len(tail)), tail, 1)[0]))


@named
@torch.no_grad()
def test_resistive_embedding(name):
    graph = ZOO[name]
    values, vectors = positive_spectrum(graph)
    delta = 1 / float(values[-1])
    psi = torch.cat([random_demands(graph), vectors[:, :1]], 1)
    exact = function_of(values, vectors, torch.rsqrt, psi)
    errors = norm_errors(resistive_embedding(200, delta)(graph, psi=psi, return_all=True), exact)
    for depth in range(1, 201):
        assert (errors[depth] <= proven.gradient_bound(depth, delta, float(values[0])) + 1e-12).all()
    # The slowest column: sum_{j >= l} a_j rate^j, so errors fall as a_l rate^l.
    rate = 1 - delta * float(values[0])
    a = np.cumprod([1.0, *((2 * j + 1) / (2 * j + 2) for j in range(200))])
    assert fitted_rate(errors[:, -1].numpy() / a) == pytest.approx(rate, rel=2e-3)


@named
@torch.no_grad()
def test_fast_inverse(name):
    graph = ZOO[name]
    values, vectors = positive_spectrum(graph)
    delta = 1 / float(values[-1])
    psi = torch.cat([random_demands(graph), vectors[:, :1]], 1)
    exact = function_of(values, vectors, torch.reciprocal, psi)
    states = fast_inverse(14)(graph, **inverse_registers(graph, delta, psi), return_all=True)
    errors = norm_errors(states[:, :, :4], exact)
    for depth in range(1, 15):
        bound = proven.squaring_bound(depth, delta, float(values[0]))
        assert (errors[depth] <= bound + 1e-12).all()
        assert float(errors[depth, -1]) == pytest.approx(bound, rel=1e-6, abs=1e-12)  # the slowest vector attains it


@named
@pytest.mark.parametrize("slack", [1.0, 2.0])
@torch.no_grad()
def test_chebyshev(name, slack):
    graph = ZOO[name]
    values, vectors = positive_spectrum(graph)
    low, high = float(values[0]) / slack, float(values[-1]) * slack
    psi = torch.cat([random_demands(graph), vectors[:, :1]], 1)
    exact = function_of(values, vectors, torch.reciprocal, psi)
    errors = energy_errors(graph, chebyshev(40, low, high)(graph, psi=psi, return_all=True), exact)
    for depth in range(1, 41):
        bound = math.sqrt(proven.chebyshev_bound(depth, low, high))  # roots: rounding adds to the error, not its square
        assert (errors[depth].sqrt() <= bound * (1 + 1e-9) + 1e-13).all()
        if slack == 1.0:  # the slowest vector attains it
            assert math.sqrt(errors[depth, -1]) == pytest.approx(bound, rel=1e-6, abs=1e-13)
    if slack == 1.0:
        kappa = high / low
        q = (math.sqrt(kappa) - 1) / (math.sqrt(kappa) + 1)
        assert fitted_rate(errors[1:, -1], floor=1e-22) == pytest.approx(q**2, rel=1e-2)


@named
@torch.no_grad()
def test_heavy_ball(name):
    graph = ZOO[name]
    values, vectors = positive_spectrum(graph)
    low, high = float(values[0]), float(values[-1])
    psi = torch.cat([random_demands(graph), vectors[:, :1]], 1)
    exact = function_of(values, vectors, torch.reciprocal, psi)
    errors = norm_errors(heavy_ball(120, low, high)(graph, psi=psi, return_all=True), exact)
    for depth in range(1, 121):
        assert (errors[depth] <= proven.heavy_ball_bound(depth, low, high) + 1e-12).all()
    q = (math.sqrt(high / low) - 1) / (math.sqrt(high / low) + 1)
    slowest = errors[:, -1].numpy() / (1 + np.arange(121) * (1 - q))  # q^l (1 + l (1 - q))
    assert fitted_rate(slowest) == pytest.approx(q, rel=1e-3)


@named
@torch.no_grad()
def test_conjugate_gradient_is_optimal(name):
    graph = ZOO[name]
    values, vectors = positive_spectrum(graph)
    low, high = float(values[0]), float(values[-1])
    psi = random_demands(graph)
    exact = function_of(values, vectors, torch.reciprocal, psi)
    errors = energy_errors(graph, conjugate_gradient(40)(graph, psi=psi, return_all=True), exact)
    fixed = energy_errors(graph, chebyshev(40, low, high)(graph, psi=psi, return_all=True), exact)
    for depth in range(1, 41):
        assert (errors[depth] <= proven.chebyshev_bound(depth, low, high) * (1 + 1e-9) + 1e-24).all()
        assert (errors[depth] <= fixed[depth] * (1 + 1e-9) + 1e-24).all()
    distinct = 1 + int((values.diff() > 1e-9 * high).sum())
    assert (errors[distinct:] < 1e-24).all()
    assert (errors[distinct - 1] > 1e-20).all()


@named
@pytest.mark.parametrize("s", [0.1, 1.0, 30.0])
@torch.no_grad()
def test_heat_kernel_chebyshev(name, s):
    graph = ZOO[name]
    values, vectors = torch.linalg.eigh(graph.laplacian_dense())
    psi = torch.cat([torch.randn(graph.num_nodes, 2, dtype=torch.float64), torch.ones(graph.num_nodes, 1)], 1)
    exact = function_of(values, vectors, lambda x: torch.exp(-s * x), psi)
    high = float(values[-1])
    for depth in (1, 2, 5, 10, 20, 40, 80):
        error = (heat_kernel(depth, s, high)(graph, psi=psi) - exact).norm(dim=0) / psi.norm(dim=0)
        bound = proven.heat_kernel_bound(depth, s, high)
        assert (error <= bound * (1 + 1e-9) + 1e-13).all()
        assert float(error[-1]) == pytest.approx(bound, rel=1e-6, abs=1e-13)  # at eigenvalue zero all terms add up


@named
@torch.no_grad()
def test_heat_kernel_taylor(name):
    graph, s = ZOO[name], 0.5
    values, vectors = torch.linalg.eigh(graph.laplacian_dense())
    high = float(values[-1])
    psi = torch.cat([torch.randn(graph.num_nodes, 2, dtype=torch.float64), vectors[:, -1:]], 1)
    exact = function_of(values, vectors, lambda x: torch.exp(-s * x), psi)
    states = heat_kernel(60, s, high, form="taylor")(graph, psi=psi, return_all=True)
    errors = (states - exact).norm(dim=1) / psi.norm(dim=0)
    rounding = 1e-14 * math.exp(s * high)  # the terms grow that large before they cancel
    for depth in range(1, 61):
        bound = proven.heat_kernel_bound(depth, s, high, form="taylor")
        assert (errors[depth] <= bound * (1 + 1e-9) + rounding).all()
        if bound > 1e3 * rounding:  # the largest eigenvalue comes near, by Jensen's inequality for the remainder
            assert float(errors[depth, -1]) >= 0.99 * bound * math.exp(-s * high / (depth + 2))


@pytest.mark.parametrize("name", ["path", "grid", "tree", "skip-links"])
@pytest.mark.parametrize("k", [1, 2, 3])
@torch.no_grad()
def test_largest_eigenvectors(name, k):
    graph = ZOO[name]
    values, vectors = (t.flip(-1) for t in torch.linalg.eigh(graph.laplacian_dense()))
    if float(values[k - 1] - values[k]) < 1e-9:
        pytest.skip("the eigenvalue is repeated, the subspace of k columns is not unique")
    start = torch.randn(graph.num_nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = subspace_iteration(400, float(values[0]), which="largest")(graph, phi=start, return_all=True)[1:]
    tangents = [tangent(vectors, state) for state in states]
    assert tangents[-1] < 1e-3
    assert fitted_rate(tangents) == pytest.approx(float(values[k] / values[k - 1]), rel=2e-3)


@pytest.mark.parametrize("name", ["path", "grid", "tree", "barbell", "skip-links"])
@pytest.mark.parametrize(("k", "degree"), [(2, 4), (2, 8), (3, 6)])
@torch.no_grad()
def test_chebyshev_filter(name, k, degree):
    graph = ZOO[name]
    values, vectors = torch.linalg.eigh(graph.laplacian_dense())
    if float(values[k] - values[k - 1]) < 1e-9:
        pytest.skip("the eigenvalue is repeated, the subspace of k columns is not unique")
    rate = proven.filter_rate(degree, float(values[k - 1]), float(values[k]), float(values[-1]))
    start = torch.randn(graph.num_nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    transformer = chebyshev_subspace_iteration(6, degree, float(values[k]), float(values[-1]))
    states = transformer(graph, phi=start, return_all=True)
    for i in range(1, 7):
        assert tangent(vectors, states[i * degree]) <= rate**i * tangent(vectors, start) * (1 + 1e-6) + 1e-12
    assert rate < proven.subspace_rate(float(values[k - 1]), float(values[k]), float(values[-1])) ** degree


def tangent(vectors, state):
    """Tangent of the largest angle between the columns of `state` and the first eigenvectors."""
    k = state.shape[1]
    return float(torch.linalg.matrix_norm(vectors[:, k:].T @ state @ torch.linalg.inv(vectors[:, :k].T @ state), 2))


@torch.no_grad()
def test_published_numbers():
    """Ten nodes on a circle with skip links, conductances exp(U[-2, 2]): the errors that the specification states.

    It states neither graph nor demands; these have nearly the same spectral gap.
    """
    generator = torch.Generator().manual_seed(225)
    index = torch.tensor([[i, (i + skip) % 10] for i in range(10) for skip in (1, 4)]).T
    graph = Incidence(index, torch.exp(2 * (2 * torch.rand(20, generator=generator) - 1)).double(), 10)
    psi = graph.center(torch.randn(10, 8, generator=generator).double())
    values, vectors = positive_spectrum(graph)
    delta = 1 / float(values[-1])

    def error(transformer, function, **registers):
        exact = function_of(values, vectors, function, psi)
        return float((transformer(graph, **registers)[:, :8] - exact).norm() / exact.norm())

    for depth, stated in {10: 2.5e-1, 50: 7.0e-3, 200: 1.9e-8}.items():
        assert error(electric_flow(depth, delta), torch.reciprocal, psi=psi) == pytest.approx(stated, rel=0.15)
    for depth, stated in {10: 7.9e-2, 50: 1.2e-3, 200: 1.7e-9}.items():
        assert error(resistive_embedding(depth, delta), torch.rsqrt, psi=psi) == pytest.approx(stated, rel=0.25)
    start = inverse_registers(graph, delta, psi)
    for depth, stated in {5: 3.4e-2, 6: 2.1e-3, 7: 8.8e-6, 8: 1.6e-10}.items():
        assert error(fast_inverse(depth), torch.reciprocal, **start) == pytest.approx(stated, rel=0.15)
    assert error(fast_inverse(9), torch.reciprocal, **start) < 1e-14
    s = 10 / float(values[-1])
    assert error(heat_kernel(40, s, 1 / delta, form="taylor"), lambda x: torch.exp(-s * x), psi=psi) < 2e-7
    assert error(heat_kernel(40, s, 1 / delta), lambda x: torch.exp(-s * x), psi=psi) < 1e-14
