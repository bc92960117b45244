"""Memformers on incidence matrices: coefficients from spectra and moments, learned ones, as a method of solvers."""

import math

import networkx as nx
import pytest
import torch

from graphtf import Incidence, chebyshev, reference, subspace_iteration
from graphtf.incontext import GraphMemformer
from graphtf.incontext.graph_memformer import error_measure
from graphtf.momentum import Momentum
from graphtf.solvers import ConvergenceError, effective_resistance, electric_flow, electric_potential
from graphtf.solvers.graphs import as_incidence

DEPTHS = (1, 3, 5, 7)


def circulants(count, seed, low=2, size=10):
    """A batch of weighted skip-link graphs as an operator, and demands."""
    generator = torch.Generator().manual_seed(seed)
    edges, weights, batch = [], [], []
    for i in range(count):
        graph = nx.circulant_graph(size, [1, low + i % 3])
        one = torch.tensor(list(graph.edges)).T
        edges.append(one + size * i)
        weights.append(torch.exp(2 * torch.rand(one.shape[1], generator=generator, dtype=torch.float64) - 1))
        batch.append(torch.full((size,), i))
    number = size * count
    B, _ = as_incidence(torch.cat(edges, 1), torch.cat(weights), number, torch.cat(batch), torch.float64)
    psi = torch.randn(number, 8, generator=generator, dtype=torch.float64)
    return B, B.center(psi)


def relative_error(B, psi, x):
    """Mean relative squared error, against dense solutions."""
    exact = solutions(B, psi)
    ratios = [((x[s] - exact[s]).square().sum(0) / exact[s].square().sum(0)) for s in blocks(B)]
    return float(torch.cat(ratios).mean())


def solutions(B, psi):
    return torch.cat([torch.linalg.pinv(B.dense()[s] @ B.dense()[s].T, hermitian=True) @ psi[s] for s in blocks(B)])


def blocks(B):
    sizes = torch.bincount(B.batch).tolist()
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [slice(a, a + n) for a, n in zip(starts, sizes, strict=True)]


def best_polynomial(values, weights, degree):
    """Least-squares problem of the best polynomial, in Chebyshev polynomials of the interval: an independent way."""
    high = float(values.max())
    t = 2 * values / high - 1
    columns = torch.stack([values / high * torch.cos(k * torch.acos(t.clamp(-1, 1))) for k in range(degree)], 1)
    root = weights.sqrt().unsqueeze(1)
    c = torch.linalg.lstsq(root * columns, -root).solution
    return float((root + root * columns @ c).square().sum())


def test_coefficients_from_graphs_are_the_best_polynomial_at_every_depth():
    B, psi = circulants(12, seed=0)
    S = B.normalized("spectral")
    values, weights = error_measure(S, psi)
    assert float(weights.sum()) == pytest.approx(1.0)
    iterates = GraphMemformer.from_graphs(max(DEPTHS), S, psi)(S, psi=psi, return_all=True)
    for depth in DEPTHS:
        found = relative_error(S, psi, iterates[depth].detach())
        assert found == pytest.approx(best_polynomial(values, weights, depth), rel=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_moments_and_graphs_give_the_same_coefficients(depth):
    B, psi = circulants(6, seed=1)
    S = B.normalized("spectral")
    values, weights = error_measure(S, psi)
    for scale in (1.0, 30.0):  # the recurrence knows units
        moments = [float((weights * (scale * values) ** k).sum()) for k in range(2 * depth + 1)]
        found = GraphMemformer.from_moments(depth, moments).coefficients()
        for (a, b), (c, d) in zip(found, GraphMemformer.from_graphs(depth, S, psi).coefficients(), strict=True):
            assert (a * scale, b) == pytest.approx((c, d), rel=1e-7, abs=1e-9)


def test_moments_of_white_demands_are_traces():
    B, _ = circulants(1, seed=2)
    L = B.dense() @ B.dense().T
    values = torch.linalg.eigvalsh(L)[1:]
    moments = [float((values ** (k - 2)).sum()) for k in range(7)]
    model = GraphMemformer.from_moments(3, moments)
    error = torch.linalg.pinv(L, hermitian=True) - model(B, psi=B.center(torch.eye(10, dtype=torch.float64))).detach()
    weights = values**-2 / (values**-2).sum()
    expected = best_polynomial(values, weights, 3) * float((values**-2).sum())
    assert float(error.square().sum()) == pytest.approx(expected, rel=1e-7)


def test_spectrum_gives_the_chebyshev_iteration_and_its_literal_twin():
    B, psi = circulants(1, seed=3)
    model, known = GraphMemformer.from_spectrum(9, 0.5, 20.0), chebyshev(9, 0.5, 20.0)
    assert torch.allclose(model(B, psi=psi), known(B, psi=psi), rtol=1e-12, atol=1e-12)
    assert model.num_layers == 9
    assert sum(p.numel() for p in model.parameters()) == 18
    twin = model.literal(B.num_edges, psi.shape[1])
    tokens = twin(model.tokens(B, psi=psi))[:, B.num_edges :].view(-1, 3, psi.shape[1])
    assert torch.allclose(tokens[:, 1], model(B, psi=psi), atol=1e-12)


def test_training_lands_between_the_best_polynomial_and_conjugate_gradients_on_unseen_graphs():
    depth = 5
    B, psi = circulants(24, seed=4)
    S = B.normalized("spectral")
    model = GraphMemformer.from_spectrum(depth, 0.02)
    exact = solutions(S, psi)
    square = torch.zeros(B.num_graphs, psi.shape[1], dtype=torch.float64).index_add(0, B.batch, exact.square())

    def loss(x):
        error = torch.zeros_like(square).index_add(0, B.batch, (x - exact).square())
        return (error / square).mean()

    before = float(loss(model(S, psi=psi)).detach())
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(model(S, psi=psi))
        value.backward()
        return value

    optimizer.step(closure)
    unseen, demands = circulants(60, seed=5)
    T = unseen.normalized("spectral")
    values, weights = error_measure(T, demands)
    best = best_polynomial(values, weights, depth)
    learned = relative_error(T, demands, model(T, psi=demands).detach())
    assert before > 2 * float(loss(model(S, psi=psi)).detach())
    assert best <= learned < 1.3 * best
    cg = torch.cat([conjugate_gradients(T, s, demands[s], depth) for s in blocks(T)])
    assert relative_error(T, demands, cg) < learned


def conjugate_gradients(B, block, psi, steps):
    matrix = B.dense()[block] @ B.dense()[block].T
    iterates = reference.conjugate_gradient(matrix.expand(psi.shape[1], -1, -1), psi.T, steps)
    return iterates[-1].T


def test_a_model_is_a_method_of_the_solvers():
    B, psi = circulants(3, seed=6)
    model = GraphMemformer.from_spectrum(60, 0.02)
    arguments = {"edge_weight": B.weight, "num_nodes": B.num_nodes, "batch": B.batch}
    x = electric_potential(B.index, psi, method=model, history=True, **arguments)
    exact = electric_potential(B.index, psi, method="dense", **arguments)
    assert (x.method, x.num_layers, x.bound) == ("learned", 60, None)
    assert torch.allclose(x.value, exact.value, atol=1e-5)
    assert float(x.residual.max()) < 1e-4
    assert x.history.shape == (61, 8)
    assert torch.allclose(x.history[-1], x.residual)
    flow = electric_flow(B.index, psi, method=model, **arguments)
    assert torch.allclose(flow.value, electric_flow(B.index, psi, method="dense", **arguments).value, atol=1e-4)
    R = effective_resistance(B.index, method=model, **arguments)
    assert torch.allclose(R.value, effective_resistance(B.index, **arguments).value, atol=1e-4)
    # Gradients reach the coefficients and the conductances.
    weight = B.weight.clone().requires_grad_()
    electric_potential(B.index, psi, method=model, **(arguments | {"edge_weight": weight})).square().sum().backward()
    assert float(weight.grad.abs().max()) > 0
    assert all(float(layer.alpha.grad.abs()) > 0 and layer.beta.grad is not None for layer in model.layers)


def test_one_batch_gives_what_its_graphs_give():
    B, psi = circulants(3, seed=7)
    model = GraphMemformer.from_spectrum(4, 0.05)
    arguments = {"edge_weight": B.weight, "num_nodes": B.num_nodes, "batch": B.batch}
    together = electric_potential(B.index, psi, method=model, **arguments)
    edges = B.index.shape[1] // 3
    for i, s in enumerate(blocks(B)):
        part = slice(i * edges, (i + 1) * edges)
        alone = electric_potential(B.index[:, part] - 10 * i, psi[s], method=model, edge_weight=B.weight[part])
        assert torch.allclose(alone.value, together.value[s], atol=1e-12)


def test_what_does_not_fit_is_said():
    B, psi = circulants(1, seed=8)
    arguments = {"edge_weight": B.weight, "num_nodes": B.num_nodes}
    model = GraphMemformer.from_spectrum(3, 0.05)
    with pytest.raises(ValueError, match="has a depth of its own"):
        electric_potential(B.index, psi, method=model, max_layers=3, **arguments)
    with pytest.raises(ConvergenceError, match=r"3 layers of method reached a relative residual of .* but tol=1.0e-10"):
        electric_potential(B.index, psi, method=model, tol=1e-10, **arguments)
    wild = GraphMemformer([(50.0, 9.0)] * 400)
    with pytest.raises(ConvergenceError, match="diverge on this graph"):
        electric_potential(B.index, psi, method=wild, **arguments)
    with pytest.raises(ValueError, match="3 layers need 7 moments"):
        GraphMemformer.from_moments(3, [1.0] * 6)
    with pytest.raises(ValueError, match="use at most 1 layers"):
        GraphMemformer.from_moments(2, [1.0] * 5)  # a single eigenvalue
    with pytest.raises(ValueError, match="positive and finite"):
        GraphMemformer.from_moments(1, [1.0, -1.0, 1.0])
    with pytest.raises(ValueError, match="only 1 different eigenvalues"):
        GraphMemformer.from_graphs(2, B._replace(index=torch.tensor([[0], [1]]), weight=B.weight[:1]), psi)
    with pytest.raises(ValueError, match="finite pairs"):
        GraphMemformer([(math.nan, 0.0)])
    with pytest.raises(ValueError, match="must be a single number"):
        Momentum(torch.ones(2), torch.ones(()))
    with pytest.raises(ValueError, match="must read demands from a register 'psi'"):
        electric_potential(B.index, psi, method=subspace_iteration(3, 0.1), **arguments)


def test_demands_that_are_not_finite() -> None:
    path = Incidence(torch.tensor([[0, 1], [1, 2]]))
    model = GraphMemformer([(0.5, 0.0)] * 50)
    with pytest.raises(ValueError, match="psi holds numbers that are not finite"):
        model(path, psi=torch.tensor([1.0, torch.nan, -1.0]))
    assert bool(torch.isfinite(model(path, psi=torch.tensor([1.0, 0.0, -1.0]))).all())
