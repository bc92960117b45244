"""Sparse recovery and shortest paths: layers against plain shrinkage, on matrices and on graphs."""

import math
from itertools import pairwise

import networkx as nx
import pytest
import torch

from graphtf import Incidence, reference
from graphtf.bipartite_layout import EdgeLayout, MatrixLayout
from graphtf.incontext import (
    ShortestPathTransformer,
    SparseRecoveryPrompt,
    UnrolledLasso,
    analytic_dictionary,
    nmse_db,
)
from graphtf.prox import SoftThreshold
from graphtf.testing import graph_zoo

LAM = 0.05


def prompts(count: int = 4, **options: object) -> object:
    task = SparseRecoveryPrompt(**options)  # type: ignore[arg-type]
    return task.sample(count, torch.Generator().manual_seed(0), torch.float64)


@pytest.mark.parametrize("size", [10, 40])
def test_untrained_layers_are_iterative_soft_thresholding(size: int) -> None:
    prompt = prompts(m=size, n=2 * size)
    for A, y in zip(prompt.A, prompt.y, strict=True):
        step = float(1 / torch.linalg.matrix_norm(A, 2) ** 2)
        model = UnrolledLasso(8, "transpose", memory=False, step=step, threshold=step * LAM).double()
        found = model(A.unsqueeze(0), y.unsqueeze(0), return_all=True)[:, 0]
        torch.testing.assert_close(found, reference.ista(A, y, LAM, 8, step), rtol=1e-5, atol=1e-7)
        objective = 0.5 * (found @ A.T - y).square().sum(-1) + LAM * found.abs().sum(-1)
        assert (objective.diff() < 1e-9).all()


def test_memory_is_momentum_before_shrinkage() -> None:
    prompt = prompts()
    model = UnrolledLasso(3, step=0.5, threshold=0.125).double()
    for layer in list(model.transformer.layers)[1::2]:
        skip = layer.skip.clone()
        skip[0, 0], skip[1, 0] = 0.25, -0.25
        layer.skip = skip
    W = analytic_dictionary(prompt.A)
    x = last = torch.zeros_like(prompt.x)
    for _ in range(3):
        residual = (prompt.A @ x.unsqueeze(-1)).squeeze(-1) - prompt.y
        z = x - 0.5 * (W.mT @ residual.unsqueeze(-1)).squeeze(-1) + 0.25 * (x - last)
        x, last = reference.soft_threshold(z, 0.125), x
    torch.testing.assert_close(model(prompt.A, prompt.y), x, rtol=1e-12, atol=1e-12)


def test_learned_dictionaries_multiply_what_comes_to_columns() -> None:
    prompt = prompts(m=6, n=10)
    model = UnrolledLasso(1, "learned", memory=False, n=10, step=0.5, threshold=0.0).double()
    M = torch.randn(10, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model.transformer.layers[1].data.data[0] = M
    expected = 0.5 * (M @ prompt.A.mT @ prompt.y.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(model(prompt.A, prompt.y), expected, rtol=1e-12, atol=1e-12)


def test_analytic_dictionaries_have_unit_diagonal_and_least_coherence() -> None:
    A = prompts().A
    W = analytic_dictionary(A)
    torch.testing.assert_close((W * A).sum(1), torch.ones(4, 50).double())
    best = (W.mT @ A).square().sum((1, 2))
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        other = W + 0.01 * torch.randn(W.shape, generator=generator, dtype=W.dtype)
        other = other / (other * A).sum(1, keepdim=True)
        assert ((other.mT @ A).square().sum((1, 2)) > best).all()


def test_a_short_training_beats_shrinkage_and_carries_over_to_new_matrices() -> None:
    task = SparseRecoveryPrompt(m=15, n=30)
    model = UnrolledLasso(8)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        batch = task.sample(64, generator)
        loss = (model(batch.A, batch.y) - batch.x).square().sum() / batch.x.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test = task.sample(300, torch.Generator().manual_seed(9))
    with torch.no_grad():
        trained = nmse_db(model(test.A, test.y), test.x)
    fista = reference.fista(test.A, test.y, 0.02, 8)[-1]
    assert trained < nmse_db(fista, test.x) - 2


def test_prompts_are_as_described() -> None:
    varying = prompts(200)
    assert not torch.equal(varying.A[0], varying.A[1])
    torch.testing.assert_close(varying.A.norm(dim=1), torch.ones(200, 50).double())
    assert float((varying.x != 0).double().mean()) == pytest.approx(0.1, abs=0.01)
    fixed = prompts(3, vary=False, support=5)
    assert torch.equal(fixed.A[0], fixed.A[1])
    assert not fixed.x[:, 5:].any()


@pytest.mark.parametrize("name", ["weighted", "cycle", "path"])
def test_edges_and_nodes_are_columns_and_rows(name: str) -> None:
    zoo = graph_zoo()
    graph = zoo.get(name, next(iter(zoo.values())))
    n, m = graph.num_nodes, graph.num_edges
    x = torch.randn(n + m, 3, generator=torch.Generator().manual_seed(0), dtype=graph.dtype)
    found, expected = EdgeLayout(graph).laplacian(x), MatrixLayout(graph.dense()).laplacian(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def problem() -> tuple[Incidence, torch.Tensor, torch.Tensor, list[int]]:
    """A random graph with lengths, a demand between two nodes, and the edges of the shortest path."""
    graph = nx.gnm_random_graph(12, 22, seed=4)
    lengths = torch.rand(22, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.2
    edges = list(graph.edges)
    for (u, v), length in zip(edges, lengths.tolist(), strict=True):
        graph.edges[u, v]["length"] = length
    path = nx.shortest_path(graph, 0, 11, weight="length")
    on = {frozenset(pair) for pair in pairwise(path)}
    demand = torch.zeros(12, dtype=torch.float64)
    demand[0], demand[11] = 1.0, -1.0
    B = Incidence(torch.tensor(edges).T, torch.ones(22, dtype=torch.float64))
    return B, lengths, demand, [i for i, edge in enumerate(edges) if frozenset(edge) in on]


def test_many_steps_find_the_shortest_path() -> None:
    B, lengths, demand, path = problem()
    model = ShortestPathTransformer(1000, max_degree=12, threshold=0.004).double()
    for layer in list(model.transformer.layers)[1::2]:  # momentum 0.9
        skip = layer.skip.clone()
        skip[0, 0], skip[1, 0] = 0.9, -0.9
        layer.skip = skip
    with torch.no_grad():
        flow = model(B, lengths, demand).abs()
    assert sorted((flow > 0.5).nonzero().flatten().tolist()) == path
    assert float(flow[[i for i in range(22) if i not in path]].max()) < 0.004 * 12  # lambda: the price of demands


def test_flows_follow_orientation_order_and_do_not_see_other_graphs() -> None:
    B, lengths, demand, _ = problem()
    model = ShortestPathTransformer(6).double()
    flow = model(B, lengths, demand)
    assert flow.abs().max() > 0.01
    flipped = Incidence(B.index.flip(0), B.weight)
    torch.testing.assert_close(model(flipped, lengths, demand), -flow, rtol=1e-12, atol=1e-14)
    order = torch.randperm(22, generator=torch.Generator().manual_seed(1))
    reordered = Incidence(B.index[:, order], B.weight)
    torch.testing.assert_close(model(reordered, lengths[order], demand), flow[order], rtol=1e-12, atol=1e-14)
    both = Incidence(
        torch.cat([B.index, B.index + 12], 1), torch.cat([B.weight] * 2), batch=torch.tensor([0] * 12 + [1] * 12)
    )
    twice = model(both, torch.cat([lengths, 2 * lengths]), torch.cat([demand, demand]))
    torch.testing.assert_close(twice[:22], flow, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UnrolledLasso(2, "learned"), "dictionary='learned', and that needs it"),
        (lambda: UnrolledLasso(2, "lista"), "dictionary must be one of"),
        (lambda: UnrolledLasso(2)(torch.ones(1, 3, 4), torch.ones(1, 4)), "a number for every row"),
        (lambda: MatrixLayout(torch.full((2, 2), torch.nan)), "not finite"),
        (
            lambda: UnrolledLasso(2)(torch.ones(2, 2), torch.tensor([1.0, torch.nan])),
            "y holds numbers that are not finite",
        ),
        (lambda: MatrixLayout(torch.ones(2, 2), torch.ones(2, 3)), "analysis must have the shape"),
        (lambda: SoftThreshold(0, -1.0), "threshold must be at least 0"),
        (lambda: SparseRecoveryPrompt(support=60), "support must be at most"),
        (lambda: SparseRecoveryPrompt(sparsity=0.0), "probability above 0"),
        (
            lambda: ShortestPathTransformer(2)(
                Incidence(torch.tensor([[0], [1]])), torch.tensor([-1.0]), torch.tensor([1.0, -1.0])
            ),
            "must not be negative",
        ),
        (
            lambda: ShortestPathTransformer(2)(
                Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0])), torch.ones(1), torch.tensor([1.0, -1.0])
            ),
            "weights 1",
        ),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_numbers_of_other_types_and_empty_truths_are_refused() -> None:
    with pytest.raises(TypeError, match="floating-point tensors of one type"):
        UnrolledLasso(2)(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.float64))
    edge = Incidence(torch.tensor([[0], [1]]))
    with pytest.raises(TypeError, match="length and demand must be floating-point"):
        ShortestPathTransformer(2)(edge, torch.tensor([1]), torch.tensor([1, -1]))
    truth = torch.ones(1, 3)
    assert nmse_db(truth, truth) == -math.inf
    with pytest.raises(ValueError, match="zero everywhere"):
        nmse_db(truth, 0 * truth)
