"""`min-cost-flow` among the experiments: a short training helps on unseen graphs, and the run writes what it should."""

import json
from pathlib import Path

import pytest
import torch

from graphtf.incontext.min_cost_flow import MinCostFlowPrompt, exact_rate
from graphtf.learn import incontext_run, min_cost_flow_task
from graphtf.learn.fit import fit, fit_name
from graphtf.learn.min_cost_flow_task import DEPTHS, MODELS, UNTRAINED, flow_error, gap, min_cost_flow, missing


def test_a_short_training_beats_where_it_starts(tmp_path: Path) -> None:
    spec = next(f for f in min_cost_flow((0,), 60, 100).fits if f.name == fit_name("prices, memory 8", 0))
    test = MinCostFlowPrompt().sample(500, torch.Generator().manual_seed(5))
    model, _ = fit(spec, tmp_path)
    rates = []
    for m in (spec.build(0), model):
        with torch.no_grad():
            flow = m(test.graph, test.length, test.demand, test.capacity)
        rates.append(
            (exact_rate(test, flow), float(flow_error(m, test).detach()), gap(test, flow), missing(test, flow))
        )
    assert rates[1][0] > 1.3 * rates[0][0]
    assert rates[1][1] < 0.8 * rates[0][1]
    assert rates[1][2] < rates[0][2]
    assert rates[1][3] < rates[0][3]


def test_models_and_batches() -> None:
    experiment = min_cost_flow((3, 4), 10, 100)
    assert len({f.name for f in experiment.fits}) == len(experiment.fits) == 2 * len(MODELS) * len(DEPTHS)
    assert len({f.identity() for f in experiment.fits}) == len(experiment.fits)
    problem = experiment.fits[0].sample(torch.Generator().manual_seed(0))
    assert (problem.graph.num_graphs, problem.graph.num_nodes) == (64, 768)
    for make in UNTRAINED.values():
        assert {model.coefficients().shape[0] for model in make(2)} == {2}


def test_the_run_writes_curves_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DEPTHS": (2, 3), "DEEPER": (4, 30), "SIZES": (6, 8), "NODES": 6, "BATCH": 4}.items():
        monkeypatch.setattr(min_cost_flow_task, name, value)
    monkeypatch.setitem(incontext_run.PRESETS, "min-cost-flow", {"quick": (2, 30), "full": (3, 30)})
    metrics = incontext_run.learn_in_context("min-cost-flow", tmp_path, seeds=(0, 1), progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "learn.png").stat().st_size > 10_000
    assert metrics["parameters"] == {"no prices, no memory": 6, "memory": 9, "prices": 9, "prices, memory": 12}
    assert len(metrics["panels"]) == 4
    for panel in metrics["panels"].values():
        assert set(panel["curves"]) == {*MODELS, *UNTRAINED}
        for name, curve in panel["curves"].items():
            assert len(curve["mean"]) == len(panel["axis"]["values"]) == 2
            assert len(curve["seeds"]) == (2 if name in MODELS else 1)
    deeper = metrics["not trained"]
    assert deeper["layers"] == [4, 30]
    assert deeper["exact"]["primal-dual"][1] > deeper["exact"]["primal-dual"][0]
