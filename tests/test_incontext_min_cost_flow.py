"""Flows of least cost in context: optima against NetworkX, prices and scores by duality, two ways to run a model."""

import math

import networkx as nx
import pytest
import torch

from graphtf import Incidence
from graphtf.incontext import (
    FlowProblem,
    FlowTransformer,
    MinCostFlowPrompt,
    exact_min_cost_flow,
    exact_rate,
    flow_score,
)
from graphtf.incontext.random_graphs import TOPOLOGIES

topologies = pytest.mark.parametrize("topology", TOPOLOGIES)


def problems(count: int = 6, n: int = 12, topology: str = "random", seed: int = 0, **options: float) -> FlowProblem:
    prompt = MinCostFlowPrompt(n, topology, **options)  # type: ignore[arg-type]
    return prompt.sample(count, torch.Generator().manual_seed(seed), torch.float64)


def run(model: FlowTransformer, problem: FlowProblem, **options: bool) -> torch.Tensor:
    with torch.no_grad():
        return model(problem.graph, problem.length, problem.demand, problem.capacity, **options)


def random_flows(problem: FlowProblem, count: int, seed: int = 1) -> torch.Tensor:
    """`[count, m]` flows within the capacities."""
    shape = (count, problem.graph.num_edges)
    part = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return part * problem.capacity


@topologies
def test_costs_are_those_of_the_network_simplex(topology: str) -> None:
    drawn = problems(6, 14, topology)
    length = (1000 * drawn.length).round()  # integers, for which NetworkX is exact
    flow, _ = exact_min_cost_flow(drawn.graph, length, drawn.demand, drawn.capacity)
    graph = nx.DiGraph()
    graph.add_nodes_from((v, {"demand": -int(d)}) for v, d in enumerate(drawn.demand.tolist()))
    edges = zip(drawn.graph.index.T.tolist(), length.tolist(), drawn.capacity.tolist(), strict=True)
    for (u, v), cost, most in edges:
        assert not graph.has_edge(u, v)
        graph.add_edge(u, v, weight=int(cost), capacity=int(most))
        graph.add_edge(v, u, weight=int(cost), capacity=int(most))
    cost, _ = nx.network_simplex(graph)
    assert float((length * flow.abs()).sum()) == cost > 0


@topologies
@pytest.mark.parametrize("n", [4, 12, 30])
def test_flows_meet_the_demands_and_prices_prove_that_they_are_cheapest(topology: str, n: int) -> None:
    problem = problems(20, n, topology)
    graph, flow, length, most = problem.graph, problem.flow, problem.length, problem.capacity
    assert torch.equal(graph @ flow, problem.demand)
    assert bool((flow.abs() <= most).all())
    for integers in (flow, most, problem.demand):
        assert torch.equal(integers, integers.round())
    drop = graph.T @ problem.potential  # along edges
    free, full, away = flow.abs() < most, flow.abs() == most, flow != 0
    assert bool((drop.abs()[free] <= length[free] + 1e-9).all())  # complementary slackness
    torch.testing.assert_close(drop[free & away], (length * flow.sign())[free & away])
    assert bool(((drop * flow.sign() - length)[full & away] >= -1e-9).all())
    assert bool((full & away).any())
    asked = torch.zeros(20, dtype=torch.float64).index_add(0, graph.batch, problem.demand.abs())
    assert bool((asked > 0).all())


def test_capacities_often_force_a_detour() -> None:
    problem = problems(200)
    free = torch.full_like(problem.capacity, torch.inf)
    flow, _ = exact_min_cost_flow(problem.graph, problem.length, problem.demand, free)
    forced = flow_score(problem, flow).capacity > 0
    assert 0.3 < float(forced.double().mean()) < 0.9
    loose = problems(200, capacity=100)
    assert exact_rate(loose, exact_min_cost_flow(loose.graph, loose.length, loose.demand, free)[0]) > 0.95


def test_draws_repeat_and_options_count() -> None:
    assert torch.equal(problems(3).flow, problems(3).flow)
    assert not torch.equal(problems(3).graph.index, problems(3, seed=1).graph.index)
    one = problems(50, pairs=1, units=2)
    assert set(one.demand.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert int((one.demand != 0).sum()) == 100
    assert float(problems(50, pairs=6).demand.abs().sum()) > 2 * float(problems(50, pairs=2).demand.abs().sum())


def test_scores_are_zero_at_the_optimum_alone() -> None:
    problem = problems(10)
    for part in flow_score(problem, problem.flow):
        torch.testing.assert_close(part, torch.zeros(10, dtype=torch.float64), rtol=0, atol=1e-9)
    flows = torch.cat([random_flows(problem, 50), problem.flow * torch.linspace(0, 0.9, 10).unsqueeze(1)])
    for flow in flows:
        score = flow_score(problem, flow)
        assert float(score.gap.min()) > -1e-9  # what is missing is paid: leaving out demands is no way to be cheap
        assert not score.capacity.any()
        assert bool((score.gap + score.demand > 1e-3).all())
    torch.testing.assert_close(flow_score(problem, 0 * problem.flow).demand, torch.ones(10).double())


def test_the_gap_is_the_difference_in_cost_where_demands_are_met() -> None:
    problem = problems(30)
    other, _ = exact_min_cost_flow(problem.graph, problem.length.flip(0), problem.demand, problem.capacity)
    score = flow_score(problem, other)
    assert not score.demand.any()
    costs = [
        torch.zeros(30, dtype=torch.float64).index_add(
            0, problem.graph.batch[problem.graph.index[0]], problem.length * flow.abs()
        )
        for flow in (other, problem.flow)
    ]
    torch.testing.assert_close(score.gap, costs[0] / costs[1] - 1, rtol=1e-9, atol=1e-9)
    assert float(score.gap.max()) > 0.05
    twice = flow_score(problem, 2 * problem.flow)
    torch.testing.assert_close(twice.demand, torch.ones(30).double())
    assert bool((twice.capacity > 0).any())


def test_rates_count_graphs() -> None:
    problem = problems(4)
    flow = problem.flow + 0.3
    assert exact_rate(problem, flow) == 1.0
    flow[0] += 0.3  # an edge of the first graph
    assert exact_rate(problem, flow) == 0.75


def test_demands_that_rounding_leaves_out_of_balance_have_a_flow() -> None:
    graph = Incidence(torch.tensor([[0, 1, 2, 4], [1, 2, 3, 5]]))  # a path and an edge
    demand = graph.center(1000 * torch.randn(6, generator=torch.Generator().manual_seed(0)))
    assert float(demand[:4].double().sum().abs()) > 1e-6
    flow, _ = exact_min_cost_flow(graph, torch.ones(4), demand, torch.full((4,), math.inf))
    torch.testing.assert_close(graph @ flow, demand, rtol=1e-6, atol=1e-3)


def test_a_graph_without_edges_has_no_flow() -> None:
    alone, nothing = Incidence(torch.zeros(2, 0, dtype=torch.int64), num_nodes=3), torch.zeros(0)
    flow, price = exact_min_cost_flow(alone, nothing, torch.zeros(3), nothing)
    assert flow.shape == (0,)
    assert price.tolist() == [0.0, 0.0, 0.0]
    assert FlowTransformer.primal_dual(3)(alone, nothing, torch.zeros(3), nothing).shape == (0,)
    with pytest.raises(ValueError, match="component of node 1 sum to 1"):
        exact_min_cost_flow(alone, nothing, torch.tensor([0.0, 1.0, -1.0]), nothing)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinCostFlowPrompt(2), "n must be at least 3"),
        (lambda: MinCostFlowPrompt(topology="star"), "topology must be one of"),
        (lambda: MinCostFlowPrompt(spread=-1.0), "spread must be at least 0"),
        (lambda: MinCostFlowPrompt(pairs=0), "pairs must be at least 1"),
        (lambda: MinCostFlowPrompt(capacity=0), "capacity must be at least 1"),
        (lambda: FlowTransformer(2, lambda_max=0.0), "lambda_max must be positive"),
        (lambda: FlowTransformer.from_coefficients(torch.ones(3, 2)), r"must be \[L, 4\] or \[L, 3\]"),
        (lambda: run(FlowTransformer(2), problems()._replace(capacity=-torch.ones(132))), "132 numbers of at least 0"),
        (lambda: run(FlowTransformer(2), problems()._replace(capacity=torch.ones(3))), r"has shape \[3\]"),
        (lambda: run(FlowTransformer(2), problems()._replace(length=torch.ones(3))), "length must be 132"),
        (lambda: flow_score(problems(), torch.ones(3)), r"flow must be \[132\]"),
        (lambda: exact_rate(problems(), torch.ones(3)), r"flow must be \[132\]"),
        (lambda: exact_min_cost_flow(*problems()[:2], torch.ones(72, 2).double(), problems().capacity), "one for all"),
        (
            lambda: exact_min_cost_flow(*problems()[:2], problems().demand, 0 * problems().capacity),
            "no flow meets these demands",
        ),
        (
            lambda: exact_min_cost_flow(*problems()[:2], problems().demand.square(), problems().capacity),
            r"demands must sum to 0 on every connected component, but those of the component of node 0 sum to",
        ),
        (
            lambda: flow_score(problems()._replace(flow=torch.zeros(132).double()), torch.zeros(132)),
            "nothing to be relative to",
        ),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
