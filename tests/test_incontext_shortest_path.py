"""Shortest paths in context: exact flows against NetworkX, paths read off flows, and the model's two ways to run."""

import json
from itertools import pairwise
from pathlib import Path

import networkx as nx
import pytest
import torch

from graphtf import Incidence
from graphtf.bipartite_layout import EdgeLayout
from graphtf.incontext import ShortestPathTransformer
from graphtf.incontext.shortest_path import (
    TOPOLOGIES,
    PathProblem,
    ShortestPathPrompt,
    exact_flow,
    path_rate,
    read_path,
    support_rate,
)
from graphtf.incontext.sparse import REGISTERS

topologies = pytest.mark.parametrize("topology", TOPOLOGIES)


def problems(count: int = 6, n: int = 12, topology: str = "random", seed: int = 0, **options: float) -> PathProblem:
    prompt = ShortestPathPrompt(n, topology, **options)  # type: ignore[arg-type]
    return prompt.sample(count, torch.Generator().manual_seed(seed), torch.float64)


def networkx_graph(problem: PathProblem) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(problem.graph.num_nodes))
    for (u, v), length in zip(problem.graph.index.T.tolist(), problem.length.tolist(), strict=True):
        assert not graph.has_edge(u, v)
        graph.add_edge(u, v, length=length)
    return graph


def weights(steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.2, 0.05, 0.5], dtype=torch.float64)
    return scale * torch.rand(steps, 3, generator=generator, dtype=torch.float64)


@topologies
def test_exact_flows_are_the_paths_of_networkx(topology: str) -> None:
    problem = problems(8, 14, topology)
    graph = networkx_graph(problem)
    expected = torch.zeros_like(problem.flow)
    edges = {tuple(edge): i for i, edge in enumerate(problem.graph.index.T.tolist())}
    for s, t in zip(problem.source.tolist(), problem.target.tolist(), strict=True):
        for u, v in pairwise(nx.shortest_path(graph, s, t, weight="length")):
            expected[edges.get((u, v), edges.get((v, u)))] = 1.0 if (u, v) in edges else -1.0
    assert torch.equal(problem.flow, expected)
    assert torch.equal(problem.graph @ problem.flow, problem.demand)
    assert path_rate(problem, problem.flow) == support_rate(problem, problem.flow) == 1.0


@topologies
@pytest.mark.parametrize("n", [3, 12, 35])
def test_graphs_are_as_described(topology: str, n: int) -> None:
    problem = problems(20, n, topology)
    graph, number = networkx_graph(problem), problem.graph.num_edges / 20
    assert torch.equal(problem.graph.batch[problem.source], torch.arange(20))
    assert torch.equal(problem.graph.batch[problem.target], torch.arange(20))
    assert not (problem.source == problem.target).any()
    assert all(nx.has_path(graph, s, t) for s, t in zip(problem.source.tolist(), problem.target.tolist(), strict=True))
    first = graph.subgraph(range(n))
    if topology == "grid":
        rows = {3: 1, 12: 3, 35: 5}[n]
        assert nx.is_isomorphic(first, nx.grid_2d_graph(rows, n // rows))
    elif topology == "ring":
        assert all(first.has_edge(i, (i + 1) % n) for i in range(n))
    elif topology == "preferential":
        assert number == 2 * n - 3
        assert nx.is_connected(first)
    else:
        assert number == min(n * (n - 1) // 2, round(n * 11 / 6))


def test_lengths_spread_as_asked_and_draws_repeat() -> None:
    lengths = problems(200, spread=2.0).length.log()
    assert -2 < float(lengths.min()) < -1.95
    assert 1.95 < float(lengths.max()) < 2
    assert torch.equal(problems(3, spread=0.0).length, torch.ones(66).double())
    assert torch.equal(problems(3).flow, problems(3).flow)
    assert not torch.equal(problems(3).graph.index, problems(3, seed=1).graph.index)


def test_ends_are_uniform_over_connected_pairs() -> None:
    problem = problems(4000, 4, num_edges=2)  # two edges apart, or a path and a lonely node
    graph = networkx_graph(problem)
    ends = list(zip(problem.source.tolist(), problem.target.tolist(), strict=True))
    hops = torch.tensor([nx.shortest_path_length(graph, s, t) for s, t in ends])
    assert set(hops.tolist()) == {1, 2}
    path = torch.tensor([len(nx.node_connected_component(graph, s)) == 3 for s in problem.source.tolist()])
    assert float((hops == 2)[path].double().mean()) == pytest.approx(1 / 3, abs=0.04)


def test_paths_follow_the_largest_flow_whatever_the_orientation() -> None:
    problem = problems(30)
    noise = 0.4 * torch.rand(problem.flow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    flow = problem.flow + torch.where(problem.flow == 0, noise, 0.0)
    assert torch.equal(read_path(problem.graph, flow, problem.source, problem.target), problem.flow)
    back = read_path(problem.graph, -flow, problem.target, problem.source)
    assert float((back == -problem.flow).double().mean()) > 0.5
    flipped = Incidence(problem.graph.index.flip(0), problem.graph.weight, batch=problem.graph.batch)
    assert torch.equal(read_path(flipped, -flow, problem.source, problem.target), -problem.flow)


def test_walks_that_do_not_arrive_are_no_paths() -> None:
    square = Incidence(torch.tensor([[0, 1, 2, 0], [1, 2, 3, 3]]))
    ends = torch.tensor([0]), torch.tensor([3])
    assert not read_path(square, torch.zeros(4), *ends).any()  # nothing flows
    assert not read_path(square, torch.tensor([1.0, 0.5, 0.0, 0.9]), *ends).any()  # it ends at node 2
    assert not read_path(square, torch.tensor([1.0, 0.0, 0.0, -1.0]), *ends).any()  # and at node 1
    triangle = Incidence(torch.tensor([[0, 1, 0, 2], [1, 2, 2, 3]]))
    assert not read_path(triangle, torch.tensor([1.0, 1.0, -1.0, 0.5]), *ends).any()  # it goes round
    assert read_path(triangle, torch.tensor([1.0, 1.0, -1.0, 1.5]), *ends).tolist() == [1, 1, 0, 1]


def test_any_of_several_shortest_paths_counts() -> None:
    square = Incidence(torch.tensor([[0, 1, 0, 3], [1, 2, 3, 2]]))
    s, t = torch.tensor([0]), torch.tensor([2])
    demand = torch.tensor([1.0, 0.0, -1.0, 0.0])
    problem = PathProblem(square, torch.ones(4), demand, torch.tensor([1.0, 1.0, 0.0, 0.0]), s, t)
    other = torch.tensor([0.4, 0.4, 0.6, 0.6])
    assert path_rate(problem, other) == 1.0
    assert support_rate(problem, other) == 0.0
    longer = problem._replace(length=torch.tensor([1.0, 1.0, 1.0, 1.1]))
    assert path_rate(longer, other) == 0.0


@pytest.mark.parametrize("memory", [True, False])
def test_the_short_form_is_the_layers(memory: bool) -> None:
    problem, numbers = problems(), weights(5)
    model = ShortestPathTransformer.from_coefficients(numbers)
    if not memory:
        numbers[:, 2] = 0.0
        plain = ShortestPathTransformer(5, memory=False).double()
        for layer, (gamma, theta, _) in zip(plain.transformer.stack[1::2], numbers, strict=True):
            layer.value = layer.value.clone().index_put(
                tuple(torch.tensor([[0], [REGISTERS.index("residual")], [0], [0]])), -gamma
            )
            layer.prox.threshold.data.fill_(theta)
        model = plain
    torch.testing.assert_close(model.coefficients(), numbers)
    n, m = problem.graph.shape
    state = torch.zeros(n + m, len(REGISTERS), 1, dtype=torch.float64)
    state[:n, REGISTERS.index("y"), 0], state[n:, REGISTERS.index("weight"), 0] = problem.demand, problem.length
    states = model.transformer.run(EdgeLayout(problem.graph), state)
    found = model(problem.graph, problem.length, problem.demand, return_all=True)
    torch.testing.assert_close(found, torch.stack([s[n:, 0, 0] for s in states[::2]]), rtol=1e-12, atol=1e-13)
    assert found[-1].abs().max() > 0.1
    assert model.num_parameters == (15 if memory else 10)


def test_gradients_reach_every_number() -> None:
    problem, model = problems(), ShortestPathTransformer(3).double()
    (model(problem.graph, problem.length, problem.demand) - problem.flow).square().sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == 9
    first = model.transformer.stack[1].parametrizations.skip.original  # before the first step there is no last one
    assert all((p.grad != 0).any() for p in trained if p is not first)


def test_columns_are_demands_of_their_own() -> None:
    problem, model = problems(), ShortestPathTransformer.from_coefficients(weights(6))
    demands = torch.randn(problem.graph.num_nodes, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = model(problem.graph, problem.length, demands)
    for column, demand in enumerate(demands.T):
        torch.testing.assert_close(together[:, column], model(problem.graph, problem.length, demand))


def test_the_weights_that_come_along_find_paths_in_unseen_graphs() -> None:
    model = ShortestPathTransformer.from_pretrained("shortest-path")
    assert model.num_parameters == 96
    problem = ShortestPathPrompt(12, num_edges=22).sample(500, torch.Generator().manual_seed(123_456))
    with torch.no_grad():
        flow = model(problem.graph, problem.length, problem.demand)
    assert support_rate(problem, flow) > 0.95
    assert path_rate(problem, flow) > 0.95


def test_many_layers_with_decreasing_thresholds_need_no_training() -> None:
    rates = []
    for depth, last in ((32, 0.01), (400, 1e-4)):
        model = ShortestPathTransformer.with_decreasing_thresholds(depth, last=last)
        problem = ShortestPathPrompt(40).sample(60, torch.Generator().manual_seed(3))
        with torch.no_grad():
            rates.append(support_rate(problem, model(problem.graph, problem.length, problem.demand)))
    assert rates[1] > 0.9
    assert rates[1] > 2 * rates[0]


def test_weights_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"coefficients": weights(2).tolist()}))
    torch.testing.assert_close(ShortestPathTransformer.from_pretrained(file).coefficients(), weights(2).float())
    file.write_text("[]")
    with pytest.raises(ValueError, match="has no 'coefficients'"):
        ShortestPathTransformer.from_pretrained(file)
    with pytest.raises(FileNotFoundError, match="give 'shortest-path' or the path"):
        ShortestPathTransformer.from_pretrained("longest-path")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShortestPathPrompt(2), "n must be at least 3"),
        (lambda: ShortestPathPrompt(topology="star"), "topology must be one of"),
        (lambda: ShortestPathPrompt(5, num_edges=11), "5 nodes have 1 to 10 edges"),
        (lambda: ShortestPathPrompt(5, "ring", num_edges=4), "5 nodes have 5 to 10 edges"),
        (lambda: ShortestPathPrompt(topology="grid", num_edges=4), "follows from n"),
        (lambda: ShortestPathPrompt(spread=-1.0), "spread must be at least 0"),
        (lambda: ShortestPathTransformer.from_coefficients(torch.ones(3, 2)), r"must be \[L, 3\]"),
        (lambda: ShortestPathTransformer.with_decreasing_thresholds(2, last=0.2), "0 < last <= first"),
        (lambda: ShortestPathTransformer(2)(problems().graph, torch.ones(3), torch.ones(72)), "length must be 132"),
        (lambda: ShortestPathTransformer(2)(problems().graph, torch.ones(132), torch.ones(3)), "demand must be 72"),
        (
            lambda: read_path(problems().graph, torch.ones(3), torch.tensor([0]), torch.tensor([1])),
            r"flow must be \[132\]",
        ),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_no_way_is_no_flow() -> None:
    apart = Incidence(torch.tensor([[0], [1]]), num_nodes=3)
    assert exact_flow(apart, torch.ones(1), torch.tensor([0]), torch.tensor([2])).tolist() == [0.0]
