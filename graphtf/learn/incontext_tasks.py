"""What is trained in context, and against which exact answers: regression and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from graphtf import reference
from graphtf.incontext import InContextRegression, InContextTransformer, Prompt, linear_transformer, memformer
from graphtf.learn.experiment import Curve, Experiment, Panel
from graphtf.learn.fit import Fit, fit_name
from graphtf.learn.graph_memory import graph_fits, graph_panel
from graphtf.learn.report import log_of

TEST_SEED = 10_000
DEPTHS = (1, 2, 3, 4)
Build = Callable[[int, int], InContextTransformer]
"""A model from its depth and seed."""


def squared_error(model: nn.Module, prompt: Prompt) -> Tensor:
    """Mean squared error of the query's label."""
    return (model(prompt) - prompt.known_target()).square().mean()


def log_loss(model: nn.Module, prompt: Prompt, chunk: int = 10_000) -> float:
    """Natural logarithm of the mean squared error, in float64."""
    total, model = 0.0, model.double()
    with torch.no_grad():
        for start in range(0, len(prompt.x), chunk):
            part = slice(start, start + chunk)
            total += float((model(Prompt(prompt.x[part], prompt.y[part])) - prompt.known_target()[part]).square().sum())
    return log_of(total / len(prompt.x))


def polynomial_losses(prompt: Prompt, weights: Tensor, depth: int, preconditioner: Tensor | None = None) -> list[float]:
    """Log-loss of the best instance-independent polynomial of degrees 1 ... `depth`, and of conjugate gradients below.

    Args:
        prompt: test prompts without noise.
        weights: `[P, d]` their true weights.
        depth: largest degree.
        preconditioner: `[d, d]` matrix `A` with `A S` in place of `S`.
    """
    S, _ = second_moments(prompt)
    S = S if preconditioner is None else preconditioner @ S
    powers, v = [], weights
    for _ in range(depth + 1):
        powers.append((v * prompt.x[:, -1]).sum(-1))
        v = (S @ v.unsqueeze(-1)).squeeze(-1)
    return [log_of(loss) for loss in reference.best_fixed_polynomial(torch.stack(powers)).loss]


def conjugate_gradient_losses(prompt: Prompt, depth: int) -> list[float]:
    """Log-loss of conjugate gradients on every prompt of its own, after 1 ... `depth` steps."""
    S, b = second_moments(prompt)
    w = reference.conjugate_gradient(S, b, depth)[1:]
    errors = (w * prompt.x[:, -1]).sum(-1) - prompt.known_target()
    return [log_of(float(loss)) for loss in errors.square().mean(1)]


def second_moments(prompt: Prompt) -> tuple[Tensor, Tensor]:
    """`[P, d, d]` second moments of the demonstrations and `[P, d]` right-hand sides of their least-squares problem."""
    x, y = prompt.x[:, :-1], prompt.y[:, :-1]
    return x.mT @ x / x.shape[1], (x.mT @ y.unsqueeze(-1)).squeeze(-1) / x.shape[1]


def solutions(prompt: Prompt) -> Tensor:
    """`[P, d]` weights that fit the demonstrations, which are the true ones where there is no noise."""
    S, b = second_moments(prompt)
    return torch.linalg.solve(S, b)


def _fits(
    builds: dict[str, Build], task: InContextRegression, seeds: Iterable[int], steps: int, lr: float
) -> list[Fit]:
    options = {"covariance": task.covariance.tolist(), "covariates": task.covariates, "n": task.n}
    return [
        Fit(
            name=fit_name(f"{name} {depth}", seed),
            build=lambda s, build=build, depth=depth: build(depth, s),  # type: ignore[misc]
            sample=lambda generator: task.sample(1000, generator),
            loss=squared_error,
            steps=steps,
            lr=lr,
            fresh=5,
            seed=seed,
            options=options,
        )
        for name, build in builds.items()
        for depth in DEPTHS
        for seed in seeds
    ]


def _trained(
    models: dict[str, nn.Module], builds: dict[str, Build], seeds: Iterable[int], prompt: Prompt
) -> list[Curve]:
    return [
        Curve(
            name,
            "trained",
            [[log_loss(models[fit_name(f"{name} {d}", s)], prompt) for d in DEPTHS] for s in seeds],
        )
        for name in builds
    ]


def regression(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """Preconditioned gradient descent and GD++ on isotropic prompts, `d = 5`, `n = 20`: against the best steps."""
    task = InContextRegression(d=5, n=20)
    builds: dict[str, Build] = {
        "preconditioned descent": lambda depth, seed: linear_transformer(5, depth, sparsity="a", std=0.2, seed=seed),
        "GD++": lambda depth, seed: linear_transformer(5, depth, sparsity="ab", std=0.1, seed=seed),
    }

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        prompt = task.sample(test_prompts, torch.Generator().manual_seed(TEST_SEED), torch.float64)
        curves = _trained(models, builds, seeds, prompt)
        curves.append(Curve("best fixed steps", "exact", [polynomial_losses(prompt, solutions(prompt), max(DEPTHS))]))
        curves.append(Curve("conjugate gradients", "baseline", [conjugate_gradient_losses(prompt, max(DEPTHS))]))
        curves.append(Curve("best equal steps", "baseline", [equal_step_losses(prompt, max(DEPTHS))]))
        return [Panel("isotropic covariates", "layers", list(map(float, DEPTHS)), curves)]

    fits = _fits(builds, task, seeds, steps, lr=0.03)
    note = "One layer: the closed form is A = 0.76923 I with loss 1.15385, ln 0.143."
    return Experiment("regression", fits, panels, note)


def equal_step_losses(prompt: Prompt, depth: int) -> list[float]:
    """Log-loss of gradient descent with the best common step size of every depth, a symmetric saddle."""
    S, b = second_moments(prompt)
    out = []
    for steps in range(1, depth + 1):

        def loss(size: float, steps: int = steps) -> float:
            w = reference.gradient_descent(S, b, [size] * steps)[-1]
            return float(((w * prompt.x[:, -1]).sum(-1) - prompt.known_target()).square().mean())

        low, high = 0.05, 1.5
        for _ in range(40):  # golden section
            third = (high - low) * 0.381966
            a, c = low + third, high - third
            low, high = (low, c) if loss(a) < loss(c) else (a, high)
        out.append(log_of(loss((low + high) / 2)))
    return out


def memory(seeds: tuple[int, ...], steps: int, test_prompts: int) -> Experiment:
    """What memory gives where covariates are skewed (condition 16), and on incidence matrices."""
    task = InContextRegression(5, 20, (1.0, 1.0, 0.5, 0.25, 1.0), convention="scales", rotate=True)
    full: dict[str, Build] = {
        "no memory": lambda depth, seed: linear_transformer(5, depth, sparsity="a", std=0.2, seed=seed),
        "cgd memory": lambda depth, seed: memformer(5, depth, "cgd", std=0.2, seed=seed),
        "lfom memory": lambda depth, seed: memformer(5, depth, "lfom", std=0.2, seed=seed),
    }
    scalar: dict[str, Build] = {
        "scalar lfom memory": lambda depth, seed: memformer(
            5, depth, "lfom", preconditioner="scalar", std=0.2, seed=seed
        ),
        "scalar cgd memory": lambda depth, seed: memformer(
            5, depth, "cgd", preconditioner="scalar", std=0.2, seed=seed
        ),
    }

    def panels(models: dict[str, nn.Module]) -> list[Panel]:
        prompt = task.sample(test_prompts, torch.Generator().manual_seed(TEST_SEED), torch.float64)
        w, cg = solutions(prompt), conjugate_gradient_losses(prompt, max(DEPTHS))
        inverse = torch.linalg.inv(task.covariance)
        of = {
            "full preconditioners": (full, inverse, "best fixed steps, preconditioned by the covariance"),
            "scalar coefficients": (scalar, None, "best fixed steps"),
        }
        out = []
        for title, (builds, A, name) in of.items():
            curves = _trained(models, builds, seeds, prompt)
            curves.append(Curve(name, "exact", [polynomial_losses(prompt, w, max(DEPTHS), A)]))
            curves.append(Curve("conjugate gradients on every prompt", "baseline", [cg]))
            out.append(Panel(title, "layers", list(map(float, DEPTHS)), curves))
        return [*out, graph_panel(models, seeds, max(1, test_prompts // 20), TEST_SEED)]

    # Two numbers a layer are found sooner.
    fits = [*_fits(full, task, seeds, steps, lr=0.03), *_fits(scalar, task, seeds, max(1, steps // 4), lr=0.03)]
    fits += graph_fits(seeds, max(1, steps // 2))
    return Experiment("memformer", fits, panels)
