"""Layers that find flows of least cost: two ways to run them, a known algorithm, gradients and symmetries."""

import numpy as np
import pytest
import torch

from graphtf import Incidence
from graphtf.bipartite_layout import EdgeLayout
from graphtf.incontext import (
    FlowProblem,
    FlowTransformer,
    MinCostFlowPrompt,
    ShortestPathTransformer,
    flow_score,
)
from graphtf.incontext.flow_transformer import FLOW_REGISTERS
from graphtf.incontext.random_graphs import TOPOLOGIES
from graphtf.prox import SoftThreshold, soft_threshold

topologies = pytest.mark.parametrize("topology", TOPOLOGIES)


def problems(count: int = 6, n: int = 12, topology: str = "random", seed: int = 0, **options: float) -> FlowProblem:
    prompt = MinCostFlowPrompt(n, topology, **options)  # type: ignore[arg-type]
    return prompt.sample(count, torch.Generator().manual_seed(seed), torch.float64)


def run(model: FlowTransformer, problem: FlowProblem, **options: bool) -> torch.Tensor:
    with torch.no_grad():
        return model(problem.graph, problem.length, problem.demand, problem.capacity, **options)


def numbers(steps: int, columns: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.2, 0.3, 0.5, 0.1], dtype=torch.float64)[:columns]
    return scale * torch.rand(steps, columns, generator=generator, dtype=torch.float64)


def test_the_proximal_step_is_the_minimum_in_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, bound = 3 * torch.randn(3, 200, generator=generator, dtype=torch.float64)
    weight, bound = weight.abs(), bound.abs()
    found = soft_threshold(x, 0.4 * weight, bound)

    def objective(z: torch.Tensor) -> torch.Tensor:
        return (z - x).square() / 2 + 0.4 * weight * z.abs()

    others = torch.linspace(-1, 1, 401, dtype=torch.float64).unsqueeze(1) * bound
    assert bool((found.abs() <= bound).all())
    assert bool((objective(found) <= objective(others).min(0).values + 1e-12).all())
    module = SoftThreshold(1, 0.4, weight=0, bound=2)
    registers = torch.stack([weight, x, bound], 1).unsqueeze(2)
    torch.testing.assert_close(module(registers)[:, 1, 0], found.detach(), rtol=1e-6, atol=1e-6)  # 0.4 in float32
    plain = soft_threshold(x, weight)
    assert torch.equal(soft_threshold(x, weight, torch.full_like(x, torch.inf)), plain)


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("prices", [True, False])
def test_the_short_form_is_the_layers(memory: bool, prices: bool) -> None:
    problem = problems()._replace(capacity=problems().capacity / 4)
    model = FlowTransformer(5, memory, prices, lambda_max=6.0, threshold=0.3).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype))
    n, m = problem.graph.shape
    state = torch.zeros(n + m, len(FLOW_REGISTERS), 1, dtype=torch.float64)
    at = {name: i for i, name in enumerate(FLOW_REGISTERS)}
    state[:n, at["y"], 0], state[n:, at["weight"], 0] = problem.demand, problem.length
    state[n:, at["capacity"], 0] = problem.capacity
    with torch.no_grad():
        states = model.transformer.run(EdgeLayout(problem.graph), state)
    found = run(model, problem, return_all=True)
    torch.testing.assert_close(found, torch.stack([s[n:, at["x"], 0] for s in states[::2]]), rtol=1e-12, atol=1e-13)
    assert bool((found.abs() <= problem.capacity).all())
    assert bool((found[-1].abs() == problem.capacity).any())  # capacities do bind
    assert model.num_parameters == 5 * (2 + memory + prices)


def test_coefficients_come_back() -> None:
    for columns in (3, 4):
        model = FlowTransformer.from_coefficients(numbers(5, columns))
        torch.testing.assert_close(model.coefficients(), numbers(5, columns))


def test_without_prices_and_capacities_it_is_the_model_of_shortest_paths() -> None:
    problem, paths = problems(30), ShortestPathTransformer.from_pretrained("shortest-path").double()
    expected = paths(problem.graph, problem.length, problem.demand)
    model = FlowTransformer.from_coefficients(paths.coefficients())
    unlimited = torch.full_like(problem.capacity, torch.inf)
    assert torch.equal(model(problem.graph, problem.length, problem.demand), expected)
    assert torch.equal(model(problem.graph, problem.length, problem.demand, unlimited), expected)
    free = torch.cat([paths.coefficients(), torch.zeros(32, 1, dtype=torch.float64)], 1)
    assert torch.equal(FlowTransformer.from_coefficients(free)(problem.graph, problem.length, problem.demand), expected)
    assert not torch.equal(run(model, problem), expected)


def test_primal_dual_layers_are_the_algorithm_of_chambolle_and_pock() -> None:
    problem = problems(2)
    B, length = problem.graph.dense().numpy(), problem.length.numpy()
    most, d = problem.capacity.numpy(), problem.demand.numpy()
    tau, sigma = 0.7, 1 / (20 * 0.7)
    f, y, y_last = np.zeros(len(length)), np.zeros(len(d)), np.zeros(len(d))
    model = FlowTransformer.from_coefficients(torch.tensor([[0.05, tau, 0.0, 0.05]], dtype=torch.float64).expand(50, 4))
    for iterate in run(model, problem, return_all=True)[1:]:
        y_last, y = y, y + sigma * (d - B @ f)
        z = f + tau * B.T @ (2 * y - y_last)
        f = np.clip(np.sign(z) * np.maximum(np.abs(z) - tau * length, 0), -most, most)
        np.testing.assert_allclose(iterate.numpy(), f, rtol=1e-10, atol=1e-10)
    assert np.abs(f).max() > 0.5


@pytest.fixture(scope="module")
def deep() -> FlowTransformer:
    return FlowTransformer.primal_dual(800, lambda_max=12.0, threshold=2.0).double()


@topologies
def test_many_steps_that_are_not_trained_reach_the_optimum(topology: str, deep: FlowTransformer) -> None:
    problem = problems(20, 12, topology)
    assert float(torch.linalg.eigvalsh(problem.graph.laplacian_dense()).max()) < 12
    flow = run(deep, problem)
    torch.testing.assert_close(flow, problem.flow, rtol=0, atol=0.02)
    score = flow_score(problem, flow)
    assert float(score.gap.max()) < 1e-4
    assert not score.capacity.any()


def test_prices_meet_demands_where_penalties_do_not() -> None:
    problem, step = problems(20), torch.tensor([[1 / 12, 0.1, 0.0, 1 / 12]], dtype=torch.float64).expand(250, 4)
    with_prices, without = (
        float(flow_score(problem, run(FlowTransformer.from_coefficients(numbers), problem)).demand.mean())
        for numbers in (step, step[:, :3])
    )
    assert with_prices < 1e-3
    assert without > 0.1


def test_gradients_reach_every_number() -> None:
    problem, model = problems(), FlowTransformer(3, lambda_max=5.0, threshold=0.3).double()
    flow = model(problem.graph, problem.length, problem.demand, problem.capacity)
    (flow - problem.flow).square().sum().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    first = model.transformer.stack[1].parametrizations.skip.original  # before the first step there is no last one
    assert all((p.grad != 0).any() for p in trained if p is not first)


def test_columns_graphs_and_orientations_do_not_mix() -> None:
    problem, model = problems(), FlowTransformer.from_coefficients(numbers(6))
    graph, length, most = problem.graph, problem.length, problem.capacity
    generator = torch.Generator().manual_seed(0)
    demands = torch.randn(graph.num_nodes, 3, generator=generator, dtype=torch.float64)
    together = model(graph, length, demands, most)
    for column, demand in enumerate(demands.T):
        torch.testing.assert_close(together[:, column], model(graph, length, demand, most))
    flow = run(model, problem)
    flipped = Incidence(graph.index.flip(0), graph.weight, batch=graph.batch)
    torch.testing.assert_close(model(flipped, length, problem.demand, most), -flow)
    m, n = graph.num_edges // 6, 12
    alone = Incidence(graph.index[:, :m], graph.weight[:m], num_nodes=n)
    torch.testing.assert_close(model(alone, length[:m], problem.demand[:n], most[:m]), flow[:m])
