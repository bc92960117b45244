"""Sparse recovery trained: the experiment runs, and layers that get the matrix respect its columns, rows and scale."""

import math
from pathlib import Path

import pytest
import torch

from graphtf import reference
from graphtf.bipartite_layout import MatrixLayout
from graphtf.incontext import SparseRecoveryPrompt, UnrolledLasso, analytic_dictionary
from graphtf.incontext.sparse import DICTIONARIES, REGISTERS
from graphtf.learn import sparse_task
from graphtf.learn.experiment import describe
from graphtf.learn.fit import Fit, fit
from graphtf.learn.sparse_task import FIXED, MODELS, VARYING, fit_name, iterated, lasso, relative_error, sparse


def randomised(dictionary: str, n: int = 14, seed: int = 1) -> UnrolledLasso:
    """A model whose numbers differ from step to step, as after training."""
    model = UnrolledLasso(4, dictionary, n=n if dictionary == "learned" else None).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.requires_grad):
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return model


def prompts(count: int = 5, **options: object) -> sparse_task.SparsePrompt:
    task = SparseRecoveryPrompt(m=8, n=14, **options)  # type: ignore[arg-type]
    return task.sample(count, torch.Generator().manual_seed(0), torch.float64)


@pytest.mark.parametrize("dictionary", DICTIONARIES)
def test_steps_are_what_the_layers_compute_on_rows_and_columns(dictionary: str) -> None:
    prompt, model = prompts(), randomised(dictionary)
    m, n = prompt.A.shape[1:]
    state = torch.zeros(5, m + n, len(REGISTERS), 1, dtype=torch.float64)
    state[:, :m, REGISTERS.index("y"), 0] = prompt.y
    state[:, m:, REGISTERS.index("weight"), 0] = 1.0
    W = analytic_dictionary(prompt.A) if dictionary == "analytic" else None
    states = model.transformer.run(MatrixLayout(prompt.A, W), state)[::2]
    expected = torch.stack([s[:, m:, REGISTERS.index("x"), 0] for s in states])
    assert (expected[-1] != 0).any()
    torch.testing.assert_close(model(prompt.A, prompt.y, return_all=True), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(model(prompt.A, prompt.y), expected[-1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dictionary", ["transpose", "analytic"])
def test_columns_are_permuted_and_turned_and_rows_rotated_with_the_answer(dictionary: str) -> None:
    prompt, model = prompts(), randomised(dictionary)
    x = model(prompt.A, prompt.y)
    generator = torch.Generator().manual_seed(2)
    order = torch.randperm(14, generator=generator)
    torch.testing.assert_close(model(prompt.A[..., order], prompt.y), x[:, order], rtol=1e-9, atol=1e-11)
    sign = torch.randint(2, (14,), generator=generator).double() * 2 - 1
    torch.testing.assert_close(model(prompt.A * sign, prompt.y), x * sign, rtol=1e-9, atol=1e-11)
    U = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))[0]
    torch.testing.assert_close(model(U @ prompt.A, prompt.y @ U.T), x, rtol=1e-9, atol=1e-11)


def test_lasso_is_the_limit_of_shrinkage() -> None:
    prompt = prompts()
    found, limit = lasso(prompt.A, prompt.y, 0.05), reference.fista(prompt.A, prompt.y, 0.05, 1000)[-1]
    torch.testing.assert_close(found, limit, rtol=1e-3, atol=1e-3)
    r = prompt.A.mT @ (prompt.y - (prompt.A @ found.unsqueeze(-1)).squeeze(-1)).unsqueeze(-1)
    assert float(r.abs().max()) < 0.05 * 1.01  # optimality


def test_chunks_do_not_change_the_error_of_an_algorithm() -> None:
    prompt = prompts(230)
    x = reference.ista(prompt.A, prompt.y, 0.1, 4)[1:]
    expected = (10 * ((x - prompt.x).square().sum((1, 2)) / prompt.x.square().sum()).log10()).tolist()
    assert iterated(reference.ista, prompt, 0.1, 4) == pytest.approx(expected, rel=1e-9)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"VALIDATION": 20, "LONG": 40, "BATCH": 8, "MEASUREMENTS": (20, 25)}.items():
        monkeypatch.setattr(sparse_task, name, value)


@pytest.mark.usefixtures("small")
def test_the_experiment_trains_and_measures_every_model(tmp_path: Path) -> None:
    experiment = sparse((0, 1), 2, 30)
    assert {f.name for f in experiment.fits} == {fit_name(name, seed) for name in MODELS for seed in (0, 1)}
    models = {f.name: fit(f, tmp_path)[0] for f in experiment.fits}
    out = describe(experiment, models)
    fixed, new, lengths, half = out["panels"].values()
    for panel in (fixed, new):
        assert set(panel["curves"]) - {"transpose"} == {*FIXED, *VARYING, "ISTA", "FISTA", "Lasso, optimum"}
        assert len(panel["axis"]["values"]) == 12
    for panel in (fixed, new, lengths, half):
        for curve in panel["curves"].values():
            assert len(curve["seeds"]) == (2 if curve["kind"] == "trained" else 1)
            assert all(math.isfinite(v) for row in curve["seeds"] for v in row)
    assert max(v for c in lengths["curves"].values() for row in c["seeds"] for v in row) <= sparse_task.CUT
    optimum = new["curves"]["Lasso, optimum"]["mean"][0]
    assert optimum < new["curves"]["FISTA"]["mean"][-1] < new["curves"]["ISTA"]["mean"][-1] < 0
    assert half["curves"]["Lasso on that half"]["mean"][0] < half["curves"]["Lasso on all columns"]["mean"][0]
    assert out["40 iterations, new matrices"]["FISTA"] < new["curves"]["FISTA"]["mean"][-1]
    assert set(out["lambda"]) == {"Lasso", *(f"{n}, {k} steps" for n in ("ISTA", "FISTA") for k in (12, 40))}
    assert out["parameters"]["analytic, memory"] == 48
    assert set(out["residual with the prompt's matrix, new matrices"]) == {*FIXED} - {"LISTA"}


def test_restricted_support_is_what_restricted_models_see() -> None:
    prompt = MODELS["LISTA-VM, learned M, half"].sample(torch.Generator().manual_seed(0))
    assert not prompt.x[:, sparse_task.HALF :].any()
    assert prompt.x[:, : sparse_task.HALF].any()
    lengths = {len(MODELS["analytic, memory, all m"].sample(torch.Generator().manual_seed(s)).y[0]) for s in range(60)}
    assert lengths == set(sparse_task.MEASUREMENTS)
    for name, step in (("analytic", 1.0), ("transpose", 0.2)):  # where training starts
        layer = MODELS[name].build(0).transformer.stack[1]
        assert float(-layer.value.min().detach()) == pytest.approx(step)


def test_a_short_training_finds_momentum_that_helps(tmp_path: Path) -> None:
    task, losses = SparseRecoveryPrompt(m=10, n=20), {}
    for memory in (False, True):
        spec = Fit(
            name=f"memory-{memory}",
            build=lambda seed, memory=memory: UnrolledLasso(8, memory=memory),
            sample=lambda generator: task.sample(32, generator),
            loss=relative_error,
            steps=80,
            lr=0.04,
        )
        model, _ = fit(spec, tmp_path)
        with torch.no_grad():
            losses[memory] = float(relative_error(model, task.sample(1000, torch.Generator().manual_seed(5))))
    assert losses[True] < 0.85 * losses[False]
