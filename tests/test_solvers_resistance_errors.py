"""What the errors of the resistance solvers carry, and what they refuse."""

import networkx as nx
import numpy as np
import pytest
import torch

from graphtf.solvers import (
    ConvergenceError,
    effective_graph_resistance,
    effective_resistance,
    leverage_scores,
    resistive_embedding,
)

EDGES = torch.tensor(list(nx.gnm_random_graph(30, 70, seed=1).edges)).t()
BOTH = torch.cat([EDGES, EDGES.flip(0)], 1)
SHORT = {"method": "memory", "max_layers": 1, "num_nodes": 30}


@pytest.mark.parametrize("solver", [effective_resistance, leverage_scores])
def test_the_best_answer_has_a_value_for_every_listed_edge(solver):
    with pytest.raises(ConvergenceError, match="max_layers=1 was reached") as caught:
        solver(BOTH, history=True, **SHORT)
    solution = caught.value.solution
    assert (solution.shape, solution.residual.shape, solution.history.shape) == ((140,), (140,), (2, 140))
    torch.testing.assert_close(solution.value[:70], solution.value[70:])


def test_the_best_answer_has_a_value_for_every_pair():
    edges = torch.tensor([[0, 1, 3, 3], [1, 2, 4, 5]])
    pairs = torch.tensor([[0, 0, 1, 3], [0, 1, 0, 4]])
    with pytest.raises(ConvergenceError) as caught:
        effective_resistance(edges, pairs, method="memory", max_layers=1)
    solution = caught.value.solution
    assert solution.shape == solution.residual.shape == (4,)
    assert float(solution[0]) == 0.0
    assert float(solution[1]) == float(solution[2])


def test_the_best_answer_has_a_value_for_every_graph():
    batch = torch.arange(30) // 30
    with pytest.raises(ConvergenceError) as caught:
        effective_graph_resistance(BOTH, history=True, batch=batch, **SHORT)
    solution = caught.value.solution
    assert (solution.shape, solution.residual.shape, solution.history.shape) == ((1,), (1,), (2, 1))
    assert float(solution.history[-1]) >= float(solution.residual) * 0.999


def test_history_of_the_graph_resistance_is_per_graph():
    two = torch.cat([EDGES, EDGES + 30], 1)
    x = effective_graph_resistance(two, batch=torch.arange(60) // 30, method="memory", history=True)
    assert x.history.shape == (x.num_layers + 1, 2)
    assert x.residual.shape == (2,)


def test_second_derivatives_of_the_embedding_are_refused():
    w = torch.ones(70, dtype=torch.float64, requires_grad=True)
    psi = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = resistive_embedding(EDGES, psi, edge_weight=w, num_nodes=30)
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(X.value.square().sum(), w, create_graph=True)


def test_numpy_scalars():
    options = {"num_nodes": 30, "tol": np.float32(1e-3), "max_layers": np.int64(90)}
    assert resistive_embedding(EDGES, np.int64(2), **options).shape == (30, 2)
    with pytest.raises(TypeError, match="must be an int"):
        resistive_embedding(EDGES, np.float64(2), num_nodes=30)
