"""`functional` among the experiments: what trains, what is exact, and what the run writes."""

import json
import math
from pathlib import Path

import pytest
import torch

from graphtf.incontext import GaussianProcessPrompt
from graphtf.incontext.gaussian_process import polynomial_losses
from graphtf.learn import functional_task, incontext_run
from graphtf.learn.fit import fit
from graphtf.learn.functional_task import DATA, attention_scores, chebyshev_roots, functional, models_of
from graphtf.learn.incontext_tasks import log_loss


@pytest.mark.parametrize("num_layers", [1, 3, 7])
def test_the_start_is_the_best_gradient_descent_on_an_interval(num_layers: int) -> None:
    low, high = 0.1, 1.3
    steps = torch.tensor(chebyshev_roots(num_layers, low, high), dtype=torch.float64)
    x = torch.linspace(low, high, 2001, dtype=torch.float64)
    left = (1 - steps[:, None] * x).prod(0)
    bound = 1 / math.cosh(num_layers * math.acosh((high + low) / (high - low)))
    assert float(left.abs().max()) == pytest.approx(bound, rel=1e-6)
    peaks = (left.abs() > 0.999 * bound).int().diff().eq(1).sum() + int(abs(float(left[0])) > 0.999 * bound)
    assert int(peaks) == num_layers + 1  # what characterises the best polynomial


def test_scores_are_those_of_layers_without_maps() -> None:
    x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.einsum("pid,pjd->pij", x, x)
    expected = {"linear": s, "relu": s.clamp(min=0), "exp": math.e**s, "exp/2": math.e ** (s / 2)}
    for name, scores in expected.items():
        torch.testing.assert_close(attention_scores(name, x), scores)


@pytest.mark.parametrize("data", DATA)
def test_a_short_training_comes_near_the_best_steps(data: str, tmp_path: Path) -> None:
    experiment = functional((0,), 100, 2_000)
    name = f"{data}-labels-{data}-3-seed0"
    spec = next(f for f in experiment.fits if f.name == name)
    model, curve = fit(spec, tmp_path)
    assert len(curve) == 100
    prompt = GaussianProcessPrompt(data).sample(4_000, torch.Generator().manual_seed(5), torch.float64)  # type: ignore[arg-type]
    best = math.log(polynomial_losses(prompt, attention_scores(data, prompt.x), (3,))[0])
    assert log_loss(model, prompt) < best + 0.2


def test_models_are_told_apart_and_the_seed_decides_batches() -> None:
    fits = functional((3, 4), 10, 100).fits
    assert len({f.name for f in fits}) == len({f.identity() for f in fits}) == len(fits) == 2 * 2 * 4 * len(DATA)
    assert {m.name for m in models_of("relu")} == {"relu", "exp and linear"}
    mix = next(f for f in fits if f.name == "relu-labels-exp-and-linear-5-seed3").build(3)
    assert mix.num_layers == 5
    assert mix.num_parameters == 5 * 2 * (25 + 1)


def test_the_run_writes_curves_table_figure_and_who_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional_task, "DEPTHS", (1, 5))
    monkeypatch.setitem(incontext_run.EXPERIMENTS, "functional", functional)
    monkeypatch.setitem(incontext_run.PRESETS, "functional", {"quick": (2, 3_000), "full": (3, 3_000)})
    metrics = incontext_run.learn_in_context("functional", tmp_path, seeds=(0,), progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert (tmp_path / "learn.png").stat().st_size > 10_000
    for data in DATA:
        curves = metrics["panels"][f"labels with the {data} kernel"]["curves"]
        assert [name for name, c in curves.items() if c["kind"] == "exact"] == [f"best steps, {data}"]
        assert ("Bayes floor" in curves) == (data != "linear")
        found = metrics["by data kernel"][data]
        best = found["best steps"]
        assert {a: curves[f"best steps, {a}"]["mean"] for a in DATA} == {a: best[a] for a in DATA}
        assert found["best activation at every depth"][1] == data
        assert found["matched activation wins from depth 5, best steps"] is True
        trained = curves[f"trained {data}"]["seeds"]
        rivals = min(best[a][1] for a in DATA if a != data)
        key = "matched activation wins from depth 5, trained against the best steps of the others"
        assert found[key] == all(row[1] < rivals for row in trained)
        assert found["Bayes floor"] < min(min(row) for row in best.values())
        assert found["matched activation before training"] != trained[0]
        assert found["trained minus best steps, worst seed"][1] == max(row[1] for row in trained) - best[data][1]
