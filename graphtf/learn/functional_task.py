"""Functional gradient descent on Gaussian processes: which attention is best for which kernel, at which depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphtf.activation import ActivationName
from graphtf.incontext import GaussianProcessPrompt, InContextTransformer, Prompt, kernel_transformer
from graphtf.incontext.gaussian_process import polynomial_losses
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit, fit_name
from graphtf.learn.incontext_tasks import TEST_SEED, log_loss, squared_error
from graphtf.learn.report import log_of

Data = Literal["linear", "relu", "exp"]
DATA: tuple[Data, ...] = ("linear", "relu", "exp")
DEPTHS = (1, 3, 5, 7)
CLAIMED = 5  # depth from which the matched activation is to win
SPECTRA = {"linear": (0.05, 0.55), "relu": (0.04, 0.5), "exp": (0.05, 1.3)}  # of K / n, of most prompts, for the start
BATCH, FRESH = 250, 3


@dataclass(frozen=True)
class _Model:
    """What is trained on the prompts of a kernel: activations of heads, the spectrum of the start, learning rate."""

    name: str
    kernels: tuple[ActivationName, ...]
    spectrum: str
    depth: int
    lr: float

    def build(self, seed: int) -> InContextTransformer:
        steps = chebyshev_roots(self.depth, *SPECTRA[self.spectrum])
        return kernel_transformer(5, self.depth, self.kernels, step=steps)  # the seed decides the prompts alone


def chebyshev_roots(num_layers: int, low: float, high: float) -> list[float]:
    r"""Steps :math:`1 / x_i`, `x` the roots of the Chebyshev polynomial on `[low, high]`: gradient descent at its best.

    Example:
        >>> [round(s, 3) for s in chebyshev_roots(2, 1.0, 3.0)]
        [0.369, 0.773]
    """
    angles = [math.pi * (2 * i + 1) / (2 * num_layers) for i in range(num_layers)]
    return [2 / (high + low + (high - low) * math.cos(angle)) for angle in angles]


def models_of(data: Data) -> list[_Model]:
    """The matched activation and the mix, at every depth.

    Example:
        >>> [m.name for m in models_of("relu")][:2]
        ['relu', 'exp and linear']
    """
    matched: ActivationName = "id" if data == "linear" else data
    out = []
    for depth in DEPTHS:
        # The deep linear model is nearly exact from the start, and what gradients add to its maps is mostly noise.
        out.append(_Model(data, (matched,), data, depth, 0.01 / depth if data == "linear" else 0.03))
        out.append(_Model("exp and linear", ("exp", "id"), "exp", depth, 0.03))
    return out


def attention_scores(activation: str, x: Tensor) -> Tensor:
    """`[P, N, N]` what attention computes without maps: `"linear"`, `"relu"`, `"exp"`, or `"exp/2"` of half the scores.

    Example:
        >>> attention_scores("relu", torch.tensor([[[1.0], [-1.0]]])).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    s = x @ x.mT
    return {"linear": lambda: s, "relu": s.relu, "exp": s.exp, "exp/2": (s / 2).exp}[activation]()


def functional(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Attention against data kernels, `d = 5`, `n = 14`: the best steps of every activation, and trained layers."""
    fits = [
        Fit(
            name=_fit_name(data, model, seed),
            build=model.build,
            sample=lambda generator, data=data: GaussianProcessPrompt(data).sample(BATCH, generator),  # type: ignore[misc]
            loss=squared_error,
            steps=steps,
            lr=model.lr,
            fresh=FRESH,
            seed=seed,
            options={"data": data, "model": repr(model), "batch": BATCH, "start": SPECTRA[model.spectrum]},
        )
        for data in DATA
        for model in models_of(data)
        for seed in seeds
    ]
    cache: dict[str, _Losses] = {}

    def losses(data: Data, models: dict[str, nn.Module]) -> _Losses:
        if data not in cache:
            cache[data] = _Losses.of(data, models, seeds, test_prompts)
        return cache[data]

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        return [
            Panel(f"labels with the {data} kernel", "layers", list(map(float, DEPTHS)), losses(data, models).curves())
            for data in DATA
        ]

    def results(models: dict[str, nn.Module]) -> dict[str, Any]:
        return {"by data kernel": {data: losses(data, models).summary() for data in DATA}}

    note = (
        "Best steps are those of the best polynomial with fixed coefficients. Trained maps can also change the scale "
        "of scores, and with it the kernel. Linear labels are determined by their demonstrations: their Bayes floor "
        "is the jitter of the covariance, and is not drawn."
    )
    return Experiment("functional", fits, panels, note, results)


@dataclass(frozen=True)
class _Losses:
    """Log-losses on the test prompts of a data kernel, at every depth."""

    data: Data
    exact: dict[str, list[float]]
    start: list[float]
    trained: dict[str, list[list[float]]]
    bayes: float

    @classmethod
    def of(cls, data: Data, models: dict[str, nn.Module], seeds: tuple[int, ...], test_prompts: int) -> _Losses:
        task = GaussianProcessPrompt(data)
        prompt = task.sample(test_prompts, torch.Generator().manual_seed(TEST_SEED), torch.float64)
        exact = {a: _best_steps(prompt, a) for a in (*DATA, "exp/2")}
        start = [log_loss(m.build(0), prompt) for m in models_of(data) if m.name == data]
        trained: dict[str, list[list[float]]] = {}
        for name in dict.fromkeys(m.name for m in models_of(data)):
            of_name = [m for m in models_of(data) if m.name == name]
            trained[name] = [[log_loss(models[_fit_name(data, m, seed)], prompt) for m in of_name] for seed in seeds]
        bayes = log_of(float((task.posterior_mean(prompt) - prompt.known_target()).square().mean()))
        return cls(data, exact, start, trained, bayes)

    def curves(self) -> list[Curve]:
        out = [Curve(f"trained {name}", "trained", values) for name, values in self.trained.items()]
        for activation in DATA:
            kind = "exact" if activation == self.data else "baseline"
            out.append(Curve(f"best steps, {activation}", kind, [self.exact[activation]]))
        if self.data != "linear":
            out.append(Curve("Bayes floor", "baseline", [[self.bayes] * len(DEPTHS)]))
        return out

    def summary(self) -> dict[str, Any]:
        """Which activation wins, and whether it is the matched one from depth 5 on."""
        deep = [i for i, depth in enumerate(DEPTHS) if depth >= CLAIMED]
        best = [min(DATA, key=lambda a, i=i: self.exact[a][i]) for i in range(len(DEPTHS))]  # type: ignore[misc]
        others = [min(self.exact[a][i] for a in DATA if a != self.data) for i in range(len(DEPTHS))]
        matched = self.trained[self.data]
        (mix,) = (values for name, values in self.trained.items() if name != self.data)
        return {
            "Bayes floor": self.bayes,
            "best steps": self.exact,
            "matched activation before training": self.start,
            "best activation at every depth": best,
            "matched activation wins from depth 5, best steps": all(best[i] == self.data for i in deep),
            "matched activation wins from depth 5, trained against the best steps of the others": all(
                row[i] < others[i] for row in matched for i in deep
            ),
            "matched activation wins from depth 5, trained against the trained mix": all(
                a[i] < b[i] for a, b in zip(matched, mix, strict=True) for i in deep
            ),
            "trained minus best steps, worst seed": [
                max(row[i] for row in matched) - self.exact[self.data][i] for i in range(len(DEPTHS))
            ],
        }


def _best_steps(prompt: Prompt, activation: str) -> list[float]:
    losses = polynomial_losses(prompt, attention_scores(activation, prompt.x), DEPTHS)
    return [log_of(loss) for loss in losses]


def _fit_name(data: str, model: _Model, seed: int) -> str:
    return fit_name(f"{data} labels {model.name} {model.depth}", seed)
