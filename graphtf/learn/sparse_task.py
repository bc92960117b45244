"""What is trained on sparse recovery: weights for one matrix, and layers that get the matrix with the prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from graphtf import reference
from graphtf.incontext.build import count_trained
from graphtf.incontext.fixed_matrix import VARIANTS, FixedMatrixLasso
from graphtf.incontext.sparse import SparsePrompt, SparseRecoveryPrompt, UnrolledLasso, nmse_db
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit, fit_name

TEST_SEED, VALIDATION_SEED = 10_000, 20_000
M, N, LAYERS, BATCH = 25, 50, 12, 128
HALF = N // 2
MEASUREMENTS = (15, 20, 25, 30, 35, 40, 45, 50)
LAMBDAS = (1.0, 0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
RATES = {"lista": 3e-3, "lista-cp": 1e-2, "lista-cpss": 1e-2, "learned": 1e-3}
RATE_OF_NUMBERS = 4e-2
VALIDATION, LONG = 200, 1000  # prompts, iterations
CUT = 5.0  # dB; what diverges is drawn here

Algorithm = Callable[[Tensor, Tensor, float, int], Tensor]
ALGORITHMS: dict[str, Algorithm] = {"ISTA": reference.ista, "FISTA": reference.fista}


@dataclass(frozen=True)
class _Model:
    """What is trained: an update, with a memory or not, and the prompts it sees."""

    update: str
    memory: bool = False
    m: tuple[int, ...] = (M,)
    support: int | None = None

    @property
    def lr(self) -> float:
        return RATES.get(self.update, RATE_OF_NUMBERS)

    @cached_property
    def tasks(self) -> list[SparseRecoveryPrompt]:
        vary = self.update not in VARIANTS
        return [_prompts(m, vary, self.support) for m in self.m]

    def build(self, seed: int) -> nn.Module:
        if self.update in VARIANTS:  # the seed decides the prompts alone
            return FixedMatrixLasso(self.tasks[0].matrix.float(), LAYERS, self.update)
        step = 1.0 if self.update == "analytic" else None  # too long for steps as they are, but training copes with it
        return UnrolledLasso(LAYERS, self.update, self.memory, n=N if self.update == "learned" else None, step=step)

    def sample(self, generator: torch.Generator) -> SparsePrompt:
        task = self.tasks[int(torch.randint(len(self.tasks), (), generator=generator))]
        return task.sample(BATCH, generator)


def _prompts(m: int, vary: bool, support: int | None) -> SparseRecoveryPrompt:
    # as many entries as ever, where fewer may be there: all that changes is what can be known about them
    return SparseRecoveryPrompt(m, N, sparsity=0.1 * N / (support or N), vary=vary, support=support)


FIXED = {
    "LISTA": _Model("lista"),
    "LISTA-CP": _Model("lista-cp"),
    "LISTA-CPSS": _Model("lista-cpss"),
    "ALISTA": _Model("alista"),
}
VARYING = {
    "LISTA-VM, learned M": _Model("learned"),
    "analytic": _Model("analytic"),
    "analytic, memory": _Model("analytic", memory=True),
}
ALL_M = {"analytic, memory, all m": _Model("analytic", memory=True, m=MEASUREMENTS)}
NUMBERS = {"transpose": _Model("transpose")}
RESTRICTED = {
    "LISTA-VM, learned M, half": _Model("learned", support=HALF),
    "analytic, memory, half": _Model("analytic", memory=True, support=HALF),
}
MODELS = FIXED | VARYING | NUMBERS | ALL_M | RESTRICTED


def recover(model: nn.Module, prompt: SparsePrompt, *, return_all: bool = False) -> Tensor:
    """The model's estimates: from the prompt's matrix, or from its own if it is made for one."""
    A = model.matrix if isinstance(model, FixedMatrixLasso) else prompt.A
    x: Tensor = model(A, prompt.y, return_all=return_all)
    return x


def relative_error(model: nn.Module, prompt: SparsePrompt) -> Tensor:
    """Squared error of the last layer, relative to the batch's squared length."""
    return (recover(model, prompt) - prompt.x).square().sum() / prompt.x.square().sum()


def lasso(A: Tensor, y: Tensor, lam: float) -> Tensor:
    r"""`[P, n]` minima of :math:`\frac12 \|A x - y\|^2 + \lambda \|x\|_1`, by scikit-learn.

    Args:
        A: `[P, m, n]` matrices.
        y: `[P, m]` measurements.
        lam: weight of the l1 norm, positive.

    Example:
        >>> lasso(torch.eye(2).unsqueeze(0), torch.tensor([[3.0, 0.5]]), 1.0)
        tensor([[2., 0.]])
    """
    from sklearn.linear_model import Lasso  # type: ignore[import-untyped]

    solver = Lasso(alpha=lam / A.shape[1], fit_intercept=False, tol=1e-6, max_iter=1_000_000)
    found = [torch.from_numpy(solver.fit(a, b).coef_.copy()) for a, b in zip(A.numpy(), y.numpy(), strict=True)]
    return torch.stack(found).to(A.dtype)


def iterated(algorithm: Algorithm, prompt: SparsePrompt, lam: float, steps: int) -> list[float]:
    """NMSE in dB after every step of an algorithm of :mod:`graphtf.reference`, a hundred prompts at a time."""
    error, length = torch.zeros(steps, dtype=prompt.x.dtype), float(prompt.x.square().sum())
    for A, y, x in zip(*(part.split(100) for part in prompt), strict=True):
        error += (algorithm(A, y, lam, steps)[1:] - x).square().sum((1, 2))
    return (10 * (error / length).log10()).tolist()


def sparse(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Sparse recovery: on the matrix that weights belong to, on new ones, other prompt lengths, a known support."""
    fits = [
        Fit(
            name=fit_name(name, seed),
            build=model.build,
            sample=model.sample,
            loss=relative_error,
            steps=steps,
            lr=model.lr,
            seed=seed,
            options={"model": repr(model), "layers": LAYERS, "batch": BATCH},
        )
        for name, model in MODELS.items()
        for seed in seeds
    ]
    made: list[_Test] = []  # measured once, for panels and results

    def test_of(models: dict[str, nn.Module]) -> _Test:
        if not made or made[0].models is not models:
            made[:] = [_Test(models, seeds, test_prompts)]
        return made[0]

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        test, dB = test_of(models), "NMSE in dB"
        layers, label = list(map(float, range(1, LAYERS + 1))), f"layers of {LAYERS}, trained at the last"
        lengths = [
            Curve(c.name, c.kind, [[min(v, CUT) for v in row] for row in c.values]) for c in test.over_measurements
        ]
        title, m = f"other prompt lengths (m = {M} in training)", list(map(float, MEASUREMENTS))
        return [
            Panel("one fixed matrix", label, layers, test.over_layers(vary=False), dB),
            Panel("a new matrix in every prompt", label, layers, test.over_layers(vary=True), dB),
            Panel(title, "measurements m", m, lengths, f"{dB}, at most {CUT:g}"),
            Panel("support in the first half", label, layers, test.on_half(), dB),
        ]

    def results(models: dict[str, nn.Module]) -> dict[str, Any]:
        test = test_of(models)
        return {
            "parameters": {name: count_trained(models[fit_name(name, seeds[0])]) for name in MODELS},
            f"{LONG} iterations, new matrices": test.long(),
            "residual with the prompt's matrix, new matrices": test.with_matrices_of_prompts(),
            "measurements, not cut": {c.name: c.values for c in test.over_measurements},
            "lambda": dict(test.chosen),
        }

    note = (
        "Models of the first four rows are trained on the fixed matrix alone, and see new ones through their own "
        "weights; all others are trained on new matrices. Lambda of ISTA, FISTA and Lasso is tuned on other prompts."
    )
    return Experiment("sparse", fits, panels, note, results)


@dataclass(eq=False)
class _Test:
    """Trained models on test prompts; weights of the l1 norm are the best of :data:`LAMBDAS` on validation prompts."""

    models: dict[str, nn.Module]
    seeds: tuple[int, ...]
    test_prompts: int
    chosen: dict[str, float] = field(default_factory=dict)

    @cached_property
    def _validation(self) -> SparsePrompt:
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        return SparseRecoveryPrompt(M, N).sample(VALIDATION, generator, torch.float64)

    def _best(self, name: str, error: Callable[[float], float]) -> float:
        if name not in self.chosen:
            self.chosen[name] = min(LAMBDAS, key=error)
        return self.chosen[name]

    def _iterated(self, name: str, prompt: SparsePrompt, steps: int) -> list[float]:
        algorithm, other = ALGORITHMS[name], self._validation
        lam = self._best(f"{name}, {steps} steps", lambda lam: iterated(algorithm, other, lam, steps)[-1])
        return iterated(algorithm, prompt, lam, steps)

    def _optimum(self, prompt: SparsePrompt) -> float:
        A, y, x = self._validation
        lam = self._best("Lasso", lambda lam: nmse_db(lasso(A, y, lam), x))
        return nmse_db(lasso(prompt.A, prompt.y, lam), prompt.x)

    def _of(self, name: str) -> list[nn.Module]:
        return [self.models[fit_name(name, seed)].double() for seed in self.seeds]

    def _drawn(self, m: int = M, vary: bool = True, support: int | None = None) -> SparsePrompt:
        return _prompts(m, vary, support).sample(
            self.test_prompts, torch.Generator().manual_seed(TEST_SEED), torch.float64
        )

    @torch.no_grad()
    def _by_layer(self, name: str, prompt: SparsePrompt) -> Curve:
        iterates = [recover(model, prompt, return_all=True)[1:] for model in self._of(name)]
        return Curve(name, "trained", [[nmse_db(x, prompt.x) for x in xs] for xs in iterates])

    def over_layers(self, vary: bool) -> list[Curve]:
        prompt = self._drawn(vary=vary)
        trained = [self._by_layer(name, prompt) for name in (*FIXED, *VARYING, *(NUMBERS if vary else ()))]
        plain = [Curve(name, "baseline", [self._iterated(name, prompt, LAYERS)]) for name in ALGORITHMS]
        return [*trained, *plain, Curve("Lasso, optimum", "exact", [[self._optimum(prompt)] * LAYERS])]

    def on_half(self) -> list[Curve]:
        prompt = self._drawn(support=HALF)
        known = SparsePrompt(prompt.A[..., :HALF], prompt.y, prompt.x[:, :HALF])
        trained = [self._by_layer(name, prompt) for name in ("LISTA-VM, learned M", "analytic, memory", *RESTRICTED)]
        everywhere = Curve("Lasso on all columns", "baseline", [[self._optimum(prompt)] * LAYERS])
        return [*trained, everywhere, Curve("Lasso on that half", "exact", [[self._optimum(known)] * LAYERS])]

    @cached_property
    def over_measurements(self) -> list[Curve]:
        prompts = [self._drawn(m) for m in MEASUREMENTS]
        curves = []
        for name in (*VARYING, *ALL_M):
            with torch.no_grad():
                values = [[nmse_db(recover(model, p), p.x) for p in prompts] for model in self._of(name)]
            curves.append(Curve(name, "trained", values))
        fista = [self._iterated("FISTA", p, LAYERS)[-1] for p in prompts]
        curves.append(Curve(f"FISTA, {LAYERS} steps", "baseline", [fista]))
        return [*curves, Curve("Lasso, optimum", "exact", [[self._optimum(p) for p in prompts]])]

    def long(self) -> dict[str, float]:
        return {name: self._iterated(name, self._drawn(), LONG)[-1] for name in ALGORITHMS}

    @torch.no_grad()
    def with_matrices_of_prompts(self) -> dict[str, list[float]]:
        A, y, x = self._drawn()
        names = [name for name in FIXED if name != "LISTA"]  # which does not look at matrices
        return {name: [nmse_db(model(A, y), x) for model in self._of(name)] for name in names}
