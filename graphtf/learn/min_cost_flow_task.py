"""What is trained on flows of least cost: layers with and without prices and memory, of three depths."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.incontext.build import count_trained
from graphtf.incontext.flow_transformer import FlowTransformer
from graphtf.incontext.min_cost_flow import FlowProblem, MinCostFlowPrompt, exact_rate, flow_score
from graphtf.incontext.shortest_path_transformer import ShortestPathTransformer
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit, fit_name

TEST_SEED, VALIDATION_SEED = 10_000, 20_000
NODES, BATCH, FRESH = 12, 64, 4
DEPTHS = (8, 16, 32)
DEEPER = (32, 100, 400, 1000)
SIZES = (12, 25, 50, 100)
LEAST = 1e-6  # what is drawn for less, on a logarithmic scale

Rate = Callable[[FlowProblem, Tensor], float]
_Row = tuple[str, str, list[list[nn.Module]]]
"""Name, kind and, for every seed, the models of all depths."""


def _with_prices(depth: int, memory: bool) -> FlowTransformer:
    return FlowTransformer(depth, memory=memory, lambda_max=5.0, threshold=1.2)


def _without_prices(depth: int) -> FlowTransformer:
    return _shrinkage(depth, 4, 0.9, 0.4, 0.01)


def _shrinkage(depth: int, max_degree: int, memory: float, first: float, last: float) -> FlowTransformer:
    model = ShortestPathTransformer.with_decreasing_thresholds(depth, max_degree, memory, first, last)
    return FlowTransformer.from_coefficients(model.coefficients())


MODELS: dict[str, Callable[[int], FlowTransformer]] = {
    "no prices, no memory": lambda depth: FlowTransformer(depth, memory=False, prices=False, threshold=0.02),
    "memory": _without_prices,
    "prices": lambda depth: _with_prices(depth, False),
    "prices, memory": lambda depth: _with_prices(depth, True),
}
"""Models at the start, from their depth; the seed decides the graphs alone."""
UNTRAINED: dict[str, Callable[[int], list[FlowTransformer]]] = {
    "primal-dual, not trained": lambda depth: [
        FlowTransformer.primal_dual(depth, *numbers) for numbers in product((3, 4, 5, 6, 8), (0.4, 0.8, 1.2, 1.6, 2.4))
    ],
    "shrinkage, not trained": lambda depth: [
        _shrinkage(depth, *numbers)
        for numbers in product((3, 4), (0.0, 0.8, 0.9, 0.95), (0.4, 0.8), (0.03, 0.01, 0.003))
    ],
}
"""Models that are not trained, from their depth: of these the best one on validation graphs is compared."""


def flow_error(model: nn.Module, problem: FlowProblem) -> Tensor:
    """Squared error of the flow, a mean over the graphs."""
    flow = model(problem.graph, problem.length, problem.demand, problem.capacity)
    return (flow - problem.flow).square().sum() / problem.graph.num_graphs


def gap(problem: FlowProblem, flow: Tensor) -> float:
    """Decimal logarithm of the mean relative gap."""
    return math.log10(max(float(flow_score(problem, flow).gap.mean()), LEAST))


def missing(problem: FlowProblem, flow: Tensor) -> float:
    """Decimal logarithm of the mean part of the demand that is not met."""
    return math.log10(max(float(flow_score(problem, flow).demand.mean()), LEAST))


def min_cost_flow(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Flows of least cost on unseen graphs, over the depth and on larger graphs."""
    fits = [
        Fit(
            name=fit_name(f"{name} {depth}", seed),
            build=lambda _, build=build, depth=depth: build(depth),  # type: ignore[misc]
            sample=lambda generator: MinCostFlowPrompt(NODES).sample(BATCH, generator),
            loss=flow_error,
            steps=steps,
            lr=0.01,
            fresh=FRESH,
            seed=seed,
            options={"nodes": NODES, "batch": BATCH},
        )
        for name, build in MODELS.items()
        for depth in DEPTHS
        for seed in seeds
    ]

    @cache
    def untrained() -> dict[str, list[FlowTransformer]]:
        return _best_untrained()

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        small, *larger = [_test_problem(n, test_prompts) for n in SIZES]
        rows: list[_Row] = [
            (name, "trained", [[models[fit_name(f"{name} {depth}", seed)] for depth in DEPTHS] for seed in seeds])
            for name in MODELS
        ]
        rows += [(name, "baseline", [[*best]]) for name, best in untrained().items()]
        table = _curves(rows, small, larger)
        rate, depths, sizes = "exact flows, rounded to integers", list(map(float, DEPTHS)), list(map(float, SIZES))
        gaps, unmet = "log10 of the relative gap in cost", "log10 of the part of the demand not met"
        return [
            Panel(f"{SIZES[0]} nodes, exact", "layers", depths, table["exact"], rate, "log"),
            Panel(f"{SIZES[0]} nodes, cost", "layers", depths, table["gap"], gaps, "log"),
            Panel(f"{SIZES[0]} nodes, demand", "layers", depths, table["missing"], unmet, "log"),
            Panel(f"larger graphs, {DEPTHS[-1]} layers", "nodes", sizes, table["sizes"], rate, "log"),
        ]

    def results(models: dict[str, nn.Module]) -> dict[str, Any]:
        problem = _test_problem(NODES, min(500, test_prompts))
        rates = {
            "primal-dual": [exact_rate(problem, _flow(FlowTransformer.primal_dual(n), problem)) for n in DEEPER],
            "shrinkage": [exact_rate(problem, _flow(_shrinkage(n, 12, 0.95, 0.2, 0.001), problem)) for n in DEEPER],
        }
        last = DEPTHS[-1]
        return {
            "parameters": {name: count_trained(models[fit_name(f"{name} {last}", seeds[0])]) for name in MODELS},
            "chosen, first and last step": {
                name: [model.coefficients()[[0, -1]].tolist() for model in best] for name, best in untrained().items()
            },
            "not trained": {"layers": list(DEEPER), "exact": rates},
        }

    note = "The linear program (HiGHS) is what all are compared with: its flows have no gap and miss nothing."
    return Experiment("min-cost-flow", fits, panels, note, results)


def _curves(rows: list[_Row], small: FlowProblem, larger: list[FlowProblem]) -> dict[str, list[Curve]]:
    """Of every measure, the curves over the depths, and those of the deepest models over the sizes."""
    measures: dict[str, Rate] = {"exact": exact_rate, "gap": gap, "missing": missing}
    out: dict[str, list[Curve]] = {name: [] for name in (*measures, "sizes")}
    for name, kind, models in rows:
        flows = [[_flow(model, small) for model in row] for row in models]
        for measure, rate in measures.items():
            out[measure].append(Curve(name, kind, [[rate(small, flow) for flow in row] for row in flows]))
        sizes = [
            [exact_rate(small, flow[-1]), *(exact_rate(problem, _flow(row[-1], problem)) for problem in larger)]
            for row, flow in zip(models, flows, strict=True)
        ]
        out["sizes"].append(Curve(name, kind, sizes))
    return out


def _best_untrained() -> dict[str, list[FlowTransformer]]:
    """For every depth, the best on validation graphs."""
    validation = MinCostFlowPrompt(NODES).sample(500, torch.Generator().manual_seed(VALIDATION_SEED))

    def rate(model: FlowTransformer) -> float:
        return exact_rate(validation, _flow(model, validation))

    return {name: [max(make(depth), key=rate) for depth in DEPTHS] for name, make in UNTRAINED.items()}


def _test_problem(n: int, test_prompts: int) -> FlowProblem:
    count = max(min(200, test_prompts), test_prompts * NODES // n)
    return MinCostFlowPrompt(n).sample(count, torch.Generator().manual_seed(TEST_SEED))


@torch.no_grad()
def _flow(model: nn.Module, problem: FlowProblem) -> Tensor:
    return model(problem.graph, problem.length, problem.demand, problem.capacity)
