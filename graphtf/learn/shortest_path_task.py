"""What is trained on shortest paths: layers with and without memory, on small graphs and on graphs of all sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.incidence import Incidence
from graphtf.incontext.build import count_trained
from graphtf.incontext.shortest_path import TOPOLOGIES, PathProblem, ShortestPathPrompt, path_rate, support_rate
from graphtf.incontext.shortest_path_transformer import ShortestPathTransformer
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit, fit_name
from graphtf.solvers import electric_flow

TEST_SEED = 10_000
BATCH_NODES = 768  # 64 graphs of 12 nodes
SIZES = (12, 25, 50, 100, 200)
SPREADS = (0.0, 0.5, 1.0, 2.0)
TOPOLOGY_NODES = 24

Rate = Callable[[PathProblem, Tensor], float]


@dataclass(frozen=True)
class _Model:
    """What is trained: number of steps, memory, and the sizes of the graphs."""

    num_layers: int
    memory: bool
    sizes: tuple[int, ...] = (12,)

    def build(self, seed: int) -> nn.Module:
        return ShortestPathTransformer(self.num_layers, self.memory)  # the seed decides the graphs alone

    def sample(self, generator: torch.Generator) -> PathProblem:
        n = self.sizes[int(torch.randint(len(self.sizes), (), generator=generator))]
        return ShortestPathPrompt(n).sample(BATCH_NODES // n, generator)


MODELS = {
    "16 layers": _Model(16, False),
    "32 layers": _Model(32, False),
    "32 layers, memory": _Model(32, True),
    "32 layers, memory, all sizes": _Model(32, True, SIZES),
}


def flow_error(model: nn.Module, problem: PathProblem) -> Tensor:
    """Squared error of the flow, a mean over the graphs."""
    flow = model(problem.graph, problem.length, problem.demand)
    return (flow - problem.flow).square().sum() / problem.graph.num_graphs


def electric_baseline(problem: PathProblem) -> Tensor:
    """`[m]` the electric flow with lengths as resistances."""
    plain = problem.graph
    graph = Incidence(plain.index, 1 / problem.length, plain.num_nodes, plain.batch, plain.num_graphs)
    return electric_flow(graph, problem.demand).value


def shortest_path(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Shortest paths on unseen graphs: larger ones, of other topologies, with lengths of another spread."""
    fits = [
        Fit(
            name=fit_name(name, seed),
            build=model.build,
            sample=model.sample,
            loss=flow_error,
            steps=steps,
            lr=0.02,
            seed=seed,
            options={"model": repr(model), "nodes": BATCH_NODES},
        )
        for name, model in MODELS.items()
        for seed in seeds
    ]

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        test = _Test(models, seeds, test_prompts)
        sizes = [ShortestPathPrompt(n) for n in SIZES]
        kinds = [ShortestPathPrompt(TOPOLOGY_NODES, topology) for topology in TOPOLOGIES]
        spreads = [ShortestPathPrompt(spread=a) for a in SPREADS]
        names = ", ".join(f"{i} {topology}" for i, topology in enumerate(TOPOLOGIES, 1))
        n, numbers = list(map(float, SIZES)), [float(i) for i in range(1, len(kinds) + 1)]
        flow, walk = "exact paths, edges with a flow above 1/2", "exact paths, following the largest flow"
        by_flow, by_walk = test.curves(sizes, (support_rate, path_rate))
        return [
            Panel("random graphs, by flow", "nodes", n, by_flow, flow, "log"),
            Panel("random graphs, by walk", "nodes", n, by_walk, walk, "log"),
            Panel(f"topologies, {TOPOLOGY_NODES} nodes", names, numbers, test.curves(kinds, (support_rate,))[0], flow),
            Panel("lengths exp(U[-a, a]), 12 nodes", "a", list(SPREADS), test.curves(spreads, (path_rate,))[0], walk),
        ]

    def results(models: dict[str, nn.Module]) -> dict[str, Any]:
        return {"parameters": {name: count_trained(models[fit_name(name, seeds[0])]) for name in MODELS}}

    note = "All models but the last are trained on random graphs of 12 nodes and 22 edges alone."
    return Experiment("shortest-path", fits, panels, note, results)


@dataclass(frozen=True)
class _Test:
    """Trained models, and how many graphs of 12 nodes to test them on; of larger ones fewer."""

    models: dict[str, nn.Module]
    seeds: tuple[int, ...]
    test_prompts: int

    @torch.no_grad()
    def curves(self, prompts: list[ShortestPathPrompt], rates: tuple[Rate, ...]) -> list[list[Curve]]:
        """For every rate, the curves over the prompts."""
        problems = []
        for prompt in prompts:
            count = max(min(200, self.test_prompts), self.test_prompts * 12 // prompt.n)
            problems.append(prompt.sample(count, torch.Generator().manual_seed(TEST_SEED)))
        flows: dict[tuple[str, str], list[list[Tensor]]] = {}
        for name in MODELS:
            chosen = [self.models[fit_name(name, seed)] for seed in self.seeds]
            flows[name, "trained"] = [[m(p.graph, p.length, p.demand) for p in problems] for m in chosen]
        flows["Dijkstra's algorithm", "exact"] = [[p.flow for p in problems]]
        plain = ShortestPathTransformer.with_decreasing_thresholds(32, last=0.01)
        flows["32 layers, not trained", "baseline"] = [[plain(p.graph, p.length, p.demand) for p in problems]]
        flows["electric flow", "baseline"] = [[electric_baseline(p) for p in problems]]
        return [
            [
                Curve(name, kind, [[rate(p, f) for p, f in zip(problems, row, strict=True)] for row in rows])
                for (name, kind), rows in flows.items()
            ]
            for rate in rates
        ]
