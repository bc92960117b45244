"""`shortest-path` among the experiments: a short training beats electric flows, and the run writes what it should."""

import json
from pathlib import Path

import pytest
import torch

from graphtf.incontext.shortest_path import ShortestPathPrompt, path_rate, support_rate
from graphtf.learn import incontext_run, shortest_path_task
from graphtf.learn.fit import Fit, fit
from graphtf.learn.shortest_path_task import MODELS, electric_baseline, fit_name, flow_error, shortest_path


def test_the_electric_baseline_is_a_flow_of_least_energy() -> None:
    problem = ShortestPathPrompt().sample(20, torch.Generator().manual_seed(0), torch.float64)
    flow = electric_baseline(problem)
    torch.testing.assert_close(problem.graph @ flow, problem.demand, rtol=0, atol=1e-6)
    energy = (problem.length * flow.square()).sum()
    drop = problem.length * flow  # differences of potentials, so no circulation changes the energy
    circulation = problem.flow - flow
    torch.testing.assert_close((drop * circulation).sum(), torch.zeros(()).double(), rtol=0, atol=1e-5)
    assert energy < (problem.length * problem.flow.square()).sum()


def test_a_short_training_beats_electric_flows_on_unseen_graphs(tmp_path: Path) -> None:
    spec = next(f for f in shortest_path((0,), 60, 100).fits if f.name == fit_name("32 layers, memory", 0))
    model, curve = fit(spec, tmp_path)
    assert sum(curve[-10:]) < 0.4 * sum(curve[:10])
    test = ShortestPathPrompt().sample(500, torch.Generator().manual_seed(5))
    with torch.no_grad():
        trained, electric = model(test.graph, test.length, test.demand), electric_baseline(test)
    assert support_rate(test, trained) > 2 * support_rate(test, electric)
    assert path_rate(test, trained) > path_rate(test, electric)


def test_models_and_batches() -> None:
    experiment = shortest_path((3, 4), 10, 100)
    assert len({f.name for f in experiment.fits}) == len(experiment.fits) == 2 * len(MODELS)
    assert len({f.identity() for f in experiment.fits}) == len(experiment.fits)
    sizes = {name: set() for name in MODELS}
    for name in MODELS:
        spec: Fit = next(f for f in experiment.fits if f.name == fit_name(name, 3))
        for seed in range(30):
            problem = spec.sample(torch.Generator().manual_seed(seed))
            sizes[name].add(problem.graph.num_nodes // problem.graph.num_graphs)
        assert float(flow_error(spec.build(3), problem).detach()) > 0
    assert sizes.pop("32 layers, memory, all sizes") == {12, 25, 50, 100, 200}
    assert all(found == {12} for found in sizes.values())


def test_the_run_writes_curves_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortest_path_task, "SIZES", (5, 8))
    monkeypatch.setattr(shortest_path_task, "SPREADS", (0.0, 1.0))
    monkeypatch.setattr(shortest_path_task, "TOPOLOGY_NODES", 6)
    monkeypatch.setitem(incontext_run.EXPERIMENTS, "shortest-path", shortest_path)
    monkeypatch.setitem(incontext_run.PRESETS, "shortest-path", {"quick": (2, 30), "full": (3, 30)})
    metrics = incontext_run.learn_in_context("shortest-path", tmp_path, seeds=(0, 1), progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "learn.png").stat().st_size > 10_000
    assert metrics["parameters"]["32 layers, memory"] == 96
    assert metrics["parameters"]["16 layers"] == 32
    for panel in metrics["panels"].values():
        for name, curve in panel["curves"].items():
            assert len(curve["mean"]) == len(panel["axis"]["values"])
            assert len(curve["seeds"]) == (2 if name in MODELS else 1)
            assert all(0 <= value <= 1 for row in curve["seeds"] for value in row)
        assert set(panel["curves"]["Dijkstra's algorithm"]["mean"]) == {1.0}
    flat = metrics["panels"]["lengths exp(U[-a, a]), 12 nodes"]["curves"]["electric flow"]["mean"]
    assert flat[0] > flat[1]  # among equal lengths few edges decide
