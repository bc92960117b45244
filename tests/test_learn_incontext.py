"""`graphtf learn` on prompts: short runs end at the exact answers, stop and go on, and say what is wrong."""

import json
from pathlib import Path

import pytest
import torch

from graphtf.cli import main
from graphtf.cli_parser import PROMPT_TASKS
from graphtf.incontext import InContextRegression, linear_transformer
from graphtf.learn import fit as fit_module
from graphtf.learn import graph_memory, incontext_tasks
from graphtf.learn.fit import Fit, fit
from graphtf.learn.incontext_run import EXPERIMENTS, PRESETS
from graphtf.learn.incontext_tasks import log_loss, polynomial_losses, solutions, squared_error

TASK = InContextRegression(d=5, n=20)


def spec(steps: int = 40, depth: int = 1, seed: int = 0, lr: float = 0.03) -> Fit:
    return Fit(
        name="model",
        build=lambda s: linear_transformer(5, depth, sparsity="a", std=0.2, seed=s),
        sample=lambda generator: TASK.sample(500, generator),
        loss=squared_error,
        steps=steps,
        lr=lr,
        seed=seed,
    )


def test_one_layer_learns_the_closed_form(tmp_path: Path) -> None:
    model, curve = fit(spec(steps=500), tmp_path)
    assert len(curve) == 500
    A = model.transformer.stack[0].data.detach()[0]
    assert float((A - 0.76923 * torch.eye(5)).abs().max()) < 0.03
    prompt = TASK.sample(50_000, torch.Generator().manual_seed(1), torch.float64)
    assert log_loss(model, prompt) == pytest.approx(0.143, abs=0.02)


def test_two_layers_learn_unequal_steps(tmp_path: Path) -> None:
    model, _ = fit(spec(steps=600, depth=2), tmp_path)
    prompt = TASK.sample(20_000, torch.Generator().manual_seed(1), torch.float64)
    best = polynomial_losses(prompt, solutions(prompt), 2)[1]
    assert best - 0.01 < log_loss(model, prompt) < best + 0.1
    low, high = sorted(model.effective_steps().tolist())
    assert high > 1.5 * low


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "SAVE", 10)
    whole, curve = fit(spec(), tmp_path / "whole")
    seen = 0

    def stop(done: int) -> None:
        nonlocal seen
        seen += done
        if seen == 25:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fit(spec(), tmp_path / "parts", stop)
    assert not (tmp_path / "parts" / "model.pt").exists()
    assert (tmp_path / "parts" / "model.ckpt").exists()
    steps = []
    again, other = fit(spec(), tmp_path / "parts", steps.append)
    assert steps[0] == 20
    assert sum(steps) == 40
    assert other == curve
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    # and what is done is read
    read, _ = fit(spec(), tmp_path / "parts", lambda done: None)
    assert torch.equal(read.transformer.stack[0].data, whole.transformer.stack[0].data)
    with pytest.raises(ValueError, match="other options"):
        fit(spec(lr=0.01), tmp_path / "parts")


def test_divergence_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="use a smaller lr"), pytest.warns(RuntimeWarning, match="diverge"):
        fit(Fit(**(vars(spec(steps=200, depth=3)) | {"lr": 1e12, "clip": None})), tmp_path)


@pytest.mark.parametrize("task", ["regression", "memformer"])
def test_the_command_writes_curves_table_and_figure(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incontext_tasks, "DEPTHS", (1, 2))
    monkeypatch.setattr(graph_memory, "GRAPH_DEPTHS", (1, 2))
    arguments = [
        "learn",
        "--task",
        task,
        "--steps",
        "3",
        "--seeds",
        "0,1",
        "--progress",
        "none",
        "--out",
        str(tmp_path),
    ]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "learn.png").stat().st_size > 10_000
    assert "best fixed steps" in out
    for panel in metrics["panels"].values():
        curves = panel["curves"]
        for name, curve in curves.items():
            assert f"| {name} ({curve['kind']}) |" in out
            assert len(curve["mean"]) == len(panel["axis"]["values"]) == 2
            assert len(curve["seeds"]) == (2 if curve["kind"] == "trained" else 1)
        exact = next(c for c in curves.values() if c["kind"] == "exact")
        assert all(c["mean"][i] > exact["mean"][i] for c in curves.values() if c["kind"] == "trained" for i in range(2))


def test_the_command_knows_every_experiment() -> None:
    assert set(PROMPT_TASKS) == set(EXPERIMENTS) == set(PRESETS)
    assert all(set(presets) == {"quick", "full"} for presets in PRESETS.values())


def test_options_of_graph_tasks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["learn", "--task", "regression", "--graphs", "3", "--layers", "1", "--out", str(tmp_path)]) != 0
    assert "--layers, --graphs belong to tasks on graphs" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
