"""Training dynamics of linear attention: SGD with momentum against Adam, and what makes them differ."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.diagnostics import gradient_noise, noise_tails
from graphtf.diagnostics.callback import DiagnosticsCallback
from graphtf.incontext import InContextRegression, Prompt, linear_transformer
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit
from graphtf.learn.incontext_tasks import squared_error
from graphtf.learn.report import log_of
from graphtf.quiet import global_settings_kept

BATCH = 1000  # prompts a step, in the fixed batch of the Hessian, and in a batch of the noise
FIXED_SEED = 99
STRIDE = 250  # steps between condition numbers; losses come five times as often
SHOWN = (0, 250, 500, 1000, 1500, 2000, 2500, 5000, 7500)  # and the last one, of long trainings
NAMES = {"sgd": "SGD with momentum", "adam": "Adam"}


@dataclass(frozen=True)
class Setting:
    """Prompts, and how each optimizer is tuned to them.

    Args:
        task: the prompts.
        lr: learning rate by optimizer.
        clip: largest norm of the gradient.
    """

    task: InContextRegression
    lr: dict[str, float]
    clip: float = 1.0


def _unit_scale(covariates: Any) -> InContextRegression:
    """Samples divided by the square root of `d`: sphere of radius 1, gamma of mean 1 and variance 10 for the square."""
    return InContextRegression(5, 20, (0.2,) * 5, covariates=covariates, weights="identity")


SETTINGS = {
    "normal, n = 20": Setting(InContextRegression(5, 20), {"sgd": 0.02, "adam": 0.02}),
    "normal, n = 5": Setting(InContextRegression(5, 5), {"sgd": 0.01, "adam": 0.005}),
    "sphere, n = 20": Setting(_unit_scale("sphere"), {"sgd": 5.0, "adam": 0.1}, clip=0.1),
    "gamma, n = 20": Setting(_unit_scale("gamma"), {"sgd": 0.02, "adam": 0.02}),
}
"""Learning rates and clipping are the published ones."""


def dynamics(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Normal covariates, `n = 20`: loss and condition along both paths, and noise of normal and gamma covariates."""
    return _experiment("dynamics", ("normal, n = 20",), seeds, steps, test_prompts, noise=True)


def dynamics_covariates(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """The same on short prompts, on the sphere and with heavy tails."""
    names = ("normal, n = 5", "sphere, n = 20", "gamma, n = 20")
    return _experiment("dynamics-covariates", names, seeds, steps, test_prompts, noise=False)


def _experiment(
    task: str, names: tuple[str, ...], seeds: tuple[int, ...], steps: int, test_prompts: int, noise: bool
) -> Experiment:
    fits = {
        (name, optimizer, seed): _fit(name, optimizer, seed, steps, test_prompts)
        for seed in seeds
        for name in names
        for optimizer in NAMES
    }

    def history(name: str, optimizer: str, which: int, key: str) -> list[list[dict[str, float]]]:
        """Rows that hold `key`, of every seed."""
        found = []
        for seed in seeds:
            callback = fits[name, optimizer, seed].callbacks[which]
            found.append([row for row in callback.state_dict()["history"] if key in row])
        return found

    def losses(name: str, optimizer: str) -> list[list[dict[str, float]]]:
        return history(name, optimizer, 0, "loss")

    def conditions(name: str, optimizer: str) -> list[list[dict[str, float]]]:
        return history(name, optimizer, 1, "condition")

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        positions = _shown([row["step"] for row in conditions(names[0], "adam")[0]])
        out = []
        for name in names:
            curves = [
                Curve(label, "trained", [[log_of(v) for v in _at(rows, positions, "loss")] for rows in losses(name, o)])
                for o, label in NAMES.items()
            ]
            out.append(Panel(f"test loss, {name}", "steps", positions, curves))
        if len(names) == 1:
            curves = [
                Curve(
                    label,
                    "trained",
                    [[math.log(v) for v in _at(rows, positions, "condition")] for rows in conditions(names[0], o)],
                )
                for o, label in NAMES.items()
            ]
            title = f"robust condition number, {names[0]}"
            out.append(Panel(title, "steps", positions, curves, "ln of largest over median curvature"))
        ratios = []
        for name in names:
            pairs = zip(conditions(name, "sgd"), conditions(name, "adam"), strict=True)
            values = [
                [s / a for s, a in zip(*(_at(rows, positions, "condition") for rows in pair), strict=True)]
                for pair in pairs
            ]
            ratios.append(Curve(name, "trained", values))
        measure = "condition number of SGD's path over Adam's"
        out.append(Panel("ratio of the condition numbers", "steps", positions, ratios, measure))
        return out

    def results(models: dict[str, nn.Module]) -> dict[str, Any]:
        checks: dict[str, Any] = {}
        curves: dict[str, Any] = {}
        correlation: dict[str, Any] = {}
        for name in names:
            gap = [
                s[-1]["loss"] / a[-1]["loss"] for s, a in zip(losses(name, "sgd"), losses(name, "adam"), strict=True)
            ]
            checks[f"{name}: final loss of SGD over Adam's"] = _check(gap, 5)
            first = [_first(rows) for rows in conditions(name, "sgd")]
            other = [_first(rows) for rows in conditions(name, "adam")]
            ratio = [s["condition"] / a["condition"] for s, a in zip(first, other, strict=True)]
            checks[f"{name}: condition of SGD over Adam's at step {first[0]['step']:.0f}"] = _check(ratio, 5)
            for o, label in NAMES.items():
                rows = history(name, o, 2, "curvature")
                correlation[f"{name}, {label}"] = [_correlation(of_seed) for of_seed in rows]
                curves[f"{name}, {label}"] = {
                    f"seed {s}": {
                        "loss": _columns(loss),
                        "condition": _columns(condition),
                        "smoothness": _columns(smooth),
                    }
                    for s, loss, condition, smooth in zip(
                        seeds, losses(name, o), conditions(name, o), rows, strict=True
                    )
                }
        out = {"checks": checks, "correlation of ln curvature and ln gradient norm": correlation, "curves": curves}
        if noise:
            tails = {name: _noise_tails(name, seeds, test_prompts) for name in ("normal, n = 20", "gamma, n = 20")}
            out["gradient noise"] = tails
            heavy, light = (tails[name]["all"]["excess_kurtosis"] for name in ("gamma, n = 20", "normal, n = 20"))
            checks["excess kurtosis of the gradient noise, gamma over normal"] = _check([heavy / light], 10)
        return out

    note = "Condition numbers and smoothness are those of the Hessian on the first 1,000 test prompts."
    return Experiment(task, list(fits.values()), panels, note, results)


def _fit(name: str, optimizer: str, seed: int, steps: int, test_prompts: int) -> Fit:
    setting = SETTINGS[name]
    test = setting.task.sample(test_prompts, torch.Generator().manual_seed(FIXED_SEED))
    small = Prompt(test.x[:BATCH], test.y[:BATCH], test.known_target()[:BATCH])
    stride = min(STRIDE, steps)
    often = stride // 5 if stride % 5 == 0 else stride

    def loss(module: Any, prompt: Prompt) -> Tensor:
        return squared_error(module.model, prompt)

    return Fit(
        name=f"{name.replace(', n = ', '-')}-{optimizer}-seed{seed}",
        build=lambda s: linear_transformer(5, 3, sparsity="ab", std=0.05, seed=s),
        sample=lambda generator: setting.task.sample(BATCH, generator),
        loss=squared_error,
        steps=steps,
        lr=setting.lr[optimizer],
        betas=(0.9, 0.9),
        clip=setting.clip,
        seed=seed,
        options={"test_prompts": test_prompts, "stride": stride},
        optimizer=optimizer,
        schedule="constant",
        callbacks=(
            DiagnosticsCallback(loss, test, often, ("loss",), name="loss"),
            DiagnosticsCallback(loss, small, stride, ("condition",), name="condition"),
            DiagnosticsCallback(loss, small, often, ("smoothness",), name="smoothness"),
        ),
    )


def _shown(steps: list[float]) -> list[float]:
    return steps if len(steps) <= len(SHOWN) + 2 else [s for s in steps if s in SHOWN or s == steps[-1]]


def _at(rows: list[dict[str, float]], positions: list[float], key: str) -> list[float]:
    by_step = {row["step"]: row[key] for row in rows}
    return [by_step[step] for step in positions]


def _first(rows: list[dict[str, float]]) -> dict[str, float]:
    """The first row after training began."""
    return rows[1]


def _columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def _check(ratios: list[float], bound: float) -> dict[str, Any]:
    return {"holds": all(ratio > bound for ratio in ratios), "bound": bound, "ratios": ratios}


def _correlation(rows: list[dict[str, float]]) -> float | None:
    """Over the steps, of those with positive curvature; `None` with fewer than three of them."""
    pairs = [(row["curvature"], row["gradient_norm"]) for row in rows if row["curvature"] > 0]
    if len(pairs) < 3:
        return None
    return float(torch.corrcoef(torch.tensor(pairs, dtype=torch.float64).log().T)[0, 1])


def _noise_tails(name: str, seeds: tuple[int, ...], num_batches: int) -> dict[str, Any]:
    """Tails of the gradient noise before training: of every seed, and of all of them, each divided by its mean."""
    task, noise = SETTINGS[name].task, []
    for seed in seeds:
        generator = torch.Generator().manual_seed(FIXED_SEED + 1 + seed)
        model = linear_transformer(5, 3, sparsity="ab", std=0.05, seed=seed)
        with global_settings_kept():
            torch.set_num_threads(1)  # as in training: tensors are tiny
            full = task.sample(100 * BATCH, generator)
            batches = (task.sample(BATCH, generator) for _ in range(num_batches))
            noise.append(gradient_noise(model, squared_error, batches, full))
    return {
        "seeds": [asdict(noise_tails(z)) for z in noise],
        "all": asdict(noise_tails(torch.cat([z / z.mean() for z in noise]))),
    }
