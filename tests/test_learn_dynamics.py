"""`dynamics`: SGD with momentum and Adam on one start and the same batches, measured on the way, resumed."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from graphtf.diagnostics import condition, directional_smoothness, robust_condition_number
from graphtf.incontext import linear_transformer
from graphtf.learn import dynamics_task
from graphtf.learn import fit as fit_module
from graphtf.learn.dynamics_task import SETTINGS, dynamics, dynamics_covariates
from graphtf.learn.fit import Fit, fit
from graphtf.learn.incontext_run import EXPERIMENTS, PRESETS, learn_in_context
from graphtf.learn.incontext_tasks import squared_error


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few prompts a batch and few noise batches."""
    monkeypatch.setattr(dynamics_task, "BATCH", 30)
    monkeypatch.setattr(condition, "ROWS", 150)
    for name, experiment in (("dynamics", dynamics), ("dynamics-covariates", dynamics_covariates)):
        monkeypatch.setitem(EXPERIMENTS, name, experiment)
        monkeypatch.setitem(PRESETS, name, {"quick": (10, 40), "full": (10, 40)})


def test_curves_table_figure_and_checks_are_written(tmp_path: Path) -> None:
    metrics = learn_in_context("dynamics", tmp_path, seeds=(0, 1), progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert (tmp_path / "learn.png").stat().st_size > 10_000
    assert "SGD with momentum" in (tmp_path / "table.md").read_text()
    loss, curvature, ratio = metrics["panels"].values()
    assert loss["axis"]["values"] == curvature["axis"]["values"] == [0, 10]
    for panel in (loss, curvature):
        sgd, adam = (panel["curves"][name]["seeds"] for name in ("SGD with momentum", "Adam"))
        assert [values[0] for values in sgd] == [values[0] for values in adam]  # the same start
        assert all(a[1] != b[1] for a, b in zip(sgd, adam, strict=True))
    for s, a, r in zip(sgd, adam, ratio["curves"]["normal, n = 20"]["seeds"], strict=True):
        assert r == pytest.approx([math.exp(x - y) for x, y in zip(s, a, strict=True)])
    curves = metrics["curves"]["normal, n = 20, Adam"]["seed 1"]
    assert curves["loss"]["step"] == [0, 2, 4, 6, 8, 10]
    assert curves["smoothness"]["step"] == [2, 4, 6, 8, 10]
    assert curves["loss"]["loss"][-1] == pytest.approx(math.exp(loss["curves"]["Adam"]["seeds"][1][1]))
    checks = metrics["checks"]
    assert len(checks) == 3
    for check in checks.values():
        assert check["holds"] == all(ratio > check["bound"] for ratio in check["ratios"])
    correlations = metrics["correlation of ln curvature and ln gradient norm"]
    assert all(-1 <= value <= 1 for values in correlations.values() for value in values)
    assert metrics["gradient noise"]["gamma, n = 20"]["all"]["max_over_median"] > 1
    assert len(metrics["gradient noise"]["gamma, n = 20"]["seeds"]) == 2
    # what is done is read, with its measurements
    again = learn_in_context("dynamics", tmp_path, seeds=(0, 1), progress=False)
    assert again == metrics


def test_every_kind_of_covariates_has_its_panel(tmp_path: Path) -> None:
    metrics = learn_in_context("dynamics-covariates", tmp_path, seeds=(0,), progress=False)
    assert [title.removeprefix("test loss, ") for title in metrics["panels"]] == [
        "normal, n = 5",
        "sphere, n = 20",
        "gamma, n = 20",
        "ratio of the condition numbers",
    ]
    assert len(metrics["checks"]) == 6


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_is_that_of_a_plain_loop(optimizer: str, tmp_path: Path) -> None:
    name = "normal, n = 20"
    spec = dynamics_task._fit(name, optimizer, 3, 6, 40)
    model, curve = fit(spec, tmp_path)
    plain = linear_transformer(5, 3, sparsity="ab", std=0.05, seed=3)
    weights = [p for p in plain.parameters() if p.requires_grad]
    if optimizer == "sgd":
        steps = torch.optim.SGD(weights, lr=0.02, momentum=0.9)
    else:
        steps = torch.optim.Adam(weights, lr=0.02, betas=(0.9, 0.9))
    losses, batches = [], iter(fit_module._Batches(spec, 0))
    for batch in batches:
        before = [w.detach().clone() for w in weights]
        loss = squared_error(plain, batch)
        losses.append(loss.item())
        steps.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        steps.step()
    assert curve == pytest.approx(losses, rel=1e-5)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(trained, weights, strict=True))
    test = SETTINGS[name].task.sample(40, torch.Generator().manual_seed(99))
    small = type(test)(test.x[:30], test.y[:30], test.target[:30])
    losses_seen, conditions, smoothness = (callback.history for callback in spec.callbacks)
    assert losses_seen[-1]["loss"] == pytest.approx(squared_error(plain, test).item(), rel=1e-4)
    assert conditions[-1]["condition"] == pytest.approx(robust_condition_number(plain, squared_error, small), rel=1e-3)
    update = [w.detach() - b for w, b in zip(weights, before, strict=True)]
    found = directional_smoothness(plain, squared_error, small, update)
    assert smoothness[-1]["curvature"] == pytest.approx(found.curvature, rel=1e-3)


def test_a_stopped_run_goes_on_to_the_same_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "SAVE", 4)

    def spec() -> Fit:
        return dynamics_task._fit("gamma, n = 20", "adam", 0, 10, 40)

    whole = spec()
    fit(whole, tmp_path / "whole")
    seen = 0

    def stop(done: int) -> None:
        nonlocal seen
        seen += done
        if seen == 7:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fit(spec(), tmp_path / "parts", stop)
    resumed = spec()
    steps: list[int] = []
    fit(resumed, tmp_path / "parts", steps.append)
    assert steps[0] == 4
    for a, b in zip(whole.callbacks, resumed.callbacks, strict=True):
        assert len(a.history) > 1
        assert a.history == b.history


def test_covariates_have_the_scales_of_the_learning_rates() -> None:
    generator = torch.Generator().manual_seed(0)
    x = SETTINGS["sphere, n = 20"].task.sample(10, generator, torch.float64).x
    assert torch.allclose(x.norm(dim=-1), torch.ones(10, 21, dtype=torch.float64))
    squares = SETTINGS["gamma, n = 20"].task.sample(20_000, generator, torch.float64).x.square().sum(-1)
    assert float(squares.mean()) == pytest.approx(1, rel=0.05)
    assert float(squares.var()) == pytest.approx(10, rel=0.1)


def test_models_trained_before_are_still_known() -> None:
    spec = Fit("model", lambda s: torch.nn.Linear(1, 1), lambda g: None, squared_error, steps=5, options={"n": 20})
    parts = {k: getattr(spec, k) for k in ("name", "steps", "lr", "betas", "fresh", "clip", "seed")}
    text = json.dumps([parts, {"n": 20}], sort_keys=True)
    assert spec.identity() == hashlib.sha256(text.encode()).hexdigest()[:16]
    others = [
        Fit(**(vars(spec) | change))
        for change in ({"optimizer": "sgd"}, {"schedule": "constant"}, {"callbacks": dynamics_task_callbacks()})
    ]
    assert len({spec.identity(), *(other.identity() for other in others)}) == 4
    with pytest.raises(ValueError, match="optimizer must be one of 'adam', 'sgd'"):
        Fit(**(vars(spec) | {"optimizer": "adagrad"}))
    with pytest.raises(ValueError, match="schedule must be one of 'cosine', 'constant'"):
        Fit(**(vars(spec) | {"schedule": "linear"}))


def dynamics_task_callbacks() -> tuple[object, ...]:
    return dynamics_task._fit("normal, n = 5", "sgd", 0, 2, 40).callbacks
