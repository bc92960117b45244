"""Fifty layers of every model: finite outputs and gradients on fresh prompts, or a warning that says why not."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from graphtf.incontext import (
    AcceleratedLasso,
    GraphMemformer,
    InContextRegression,
    Prompt,
    ShortestPathPrompt,
    ShortestPathTransformer,
    SparseRecoveryPrompt,
    UnrolledLasso,
    kernel_transformer,
    linear_transformer,
    memformer,
)
from graphtf.learn.fit import Fit, fit
from graphtf.learn.incontext_tasks import squared_error
from graphtf.solvers import ConvergenceError, electric_potential
from graphtf.testing import disjoint_union, graph_zoo

D, DEPTH, PROMPTS = 5, 50, 16
TASK = InContextRegression(D, 20, (1.0, 1.0, 0.5, 0.25, 1.0), convention="scales", rotate=True)
SPHERE = InContextRegression(D, 14, (1 / D,) * D, covariates="sphere")
SPARSE, PATHS = SparseRecoveryPrompt(12, 24), ShortestPathPrompt()
GRAPHS = disjoint_union([graph_zoo()[name] for name in ("skip-links", "complete", "cycle")]).normalized("spectral")
Loss = Callable[[nn.Module, torch.Generator], tuple[Tensor, Tensor]]


def on_prompts(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Loss and outputs on fresh prompts."""
    prompt = TASK.sample(PROMPTS, generator)
    out = model(prompt)
    return (out - prompt.target).square().mean(), out


def on_sphere(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    prompt = SPHERE.sample(PROMPTS, generator)
    out = model(prompt)
    return (out - prompt.target).square().mean(), out


def on_matrices(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    A, y, x = SPARSE.sample(PROMPTS, generator)
    out = model(A, y)
    return (out - x).square().mean(), out


def on_paths(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    problem = PATHS.sample(PROMPTS, generator)
    out = model(problem.graph, problem.length, problem.demand)
    return (out - problem.flow).square().mean(), out


def on_graphs(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    psi = GRAPHS.center(torch.randn(GRAPHS.num_nodes, 2, generator=generator, dtype=torch.float64))
    out = model(GRAPHS, psi=psi)
    return (GRAPHS @ (GRAPHS.T @ out) - psi).square().mean(), out


STABLE: dict[str, tuple[Callable[[], nn.Module], Loss]] = {
    **{
        f"linear, {s}": (lambda s=s: linear_transformer(D, DEPTH, sparsity=s, std=0.02), on_prompts)
        for s in ("a", "ab", "full")
    },
    **{
        f"{memory}, {p}": (lambda m=memory, p=p: memformer(D, DEPTH, m, preconditioner=p), on_prompts)
        for memory in ("cgd", "lfom", "heavy_ball")
        for p in ("scalar", "diag", "full")
    },
    **{
        f"chebyshev, {p}": (
            lambda p=p: memformer(D, DEPTH, "heavy_ball", "chebyshev", p, spectrum=(0.03, 2.5)),
            on_prompts,
        )
        for p in ("scalar", "full")
    },
    **{
        f"adaptive, {p}": (lambda p=p: memformer(D, DEPTH, coefficients="adaptive", preconditioner=p), on_prompts)
        for p in ("scalar", "full")
    },
    **{
        f"kernel, {act}": (lambda a=act: kernel_transformer(D, DEPTH, (a,), step=0.5), on_sphere)
        for act in ("id", "relu", "exp", "softmax")
    },
    **{
        f"lasso, {w}, memory={memory}": (
            lambda w=w, m=memory: UnrolledLasso(DEPTH, w, m, n=24 if w == "learned" else None),
            on_matrices,
        )
        for w in ("transpose", "analytic", "learned")
        for memory in (False, True)
    },
    **{
        f"paths, memory={memory}": (lambda m=memory: ShortestPathTransformer(DEPTH, m), on_paths)
        for memory in (False, True)
    },
    "graphs": (lambda: GraphMemformer.from_spectrum(DEPTH, 0.05), on_graphs),
}
DIVERGENT: dict[str, Callable[[], nn.Module]] = {
    "moving samples": lambda: linear_transformer(D, DEPTH, sparsity="ab", std=0.2),
    "all weights": lambda: linear_transformer(D, DEPTH, sparsity="full", std=0.2),
    "exponential kernel": lambda: kernel_transformer(D, DEPTH, ("exp",), step=0.1),
    "a spectrum that is too short": lambda: memformer(
        D, DEPTH, "heavy_ball", "chebyshev", "scalar", spectrum=(0.1, 0.2)
    ),
}


def finite(model: nn.Module, loss: Loss, seed: int) -> bool:
    """Whether the loss, the outputs and all gradients are, on fresh prompts."""
    model.zero_grad()
    value, out = loss(model, torch.Generator().manual_seed(seed))
    value.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    return all(bool(torch.isfinite(t).all()) for t in (value, out, *gradients))


@pytest.mark.parametrize("name", STABLE)
def test_fifty_layers_are_finite_before_and_after_training(name: str) -> None:
    build, loss = STABLE[name]
    model = build()
    assert finite(model, loss, seed=1)
    weights = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in weights]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model, generator)[0].backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, weights, strict=True))
    assert finite(model, loss, seed=2)


@pytest.mark.parametrize("name", DIVERGENT)
def test_layers_that_diverge_say_so(name: str) -> None:
    model, prompt = DIVERGENT[name](), TASK.sample(PROMPTS, torch.Generator().manual_seed(0))
    with pytest.warns(RuntimeWarning, match="after 50 layers the numbers are .* diverge .* smaller steps"):
        model(prompt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not finite(model, on_prompts, seed=1) or float(model(prompt).detach().abs().max()) > 1e6


def test_steps_that_are_too_long_for_a_matrix_or_a_graph_say_so() -> None:
    generator = torch.Generator().manual_seed(0)
    A, y, _ = SPARSE.sample(PROMPTS, generator)
    with pytest.warns(RuntimeWarning, match=r"after 50 layers the numbers are .* diverge"):
        UnrolledLasso(DEPTH, "analytic", step=1.0)(A, y)  # of little coherence, not of none
    problem = PATHS.sample(PROMPTS, generator)
    with pytest.warns(RuntimeWarning, match=r"after 50 layers the numbers are .* diverge"):
        ShortestPathTransformer(DEPTH, max_degree=1)(problem.graph, problem.length, problem.demand)


def test_accelerated_steps_that_are_too_long_say_so() -> None:
    A, y, _ = SPARSE.sample(PROMPTS, torch.Generator().manual_seed(0))
    assert torch.isfinite(AcceleratedLasso(DEPTH, step=0.1)(A, y)).all()
    with pytest.warns(RuntimeWarning, match=r"after 50 layers the numbers are .* diverge"):
        AcceleratedLasso(DEPTH, step=1.0)(A, y)


def test_solvers_refuse_memory_that_diverges() -> None:
    ring, psi = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), torch.tensor([1.0, 0.0, 0.0, -1.0])
    with pytest.raises(ConvergenceError, match="the layers of method diverge on this graph"):
        electric_potential(ring, psi, method=GraphMemformer([(8.0, 0.9)] * DEPTH))


def test_only_divergence_is_warned_of() -> None:
    """Neither labels of zero, nor large ones, nor no prompts at all; nor what the double precision copes with."""
    prompt = TASK.sample(4, torch.Generator().manual_seed(0))
    assert not linear_transformer(D, 3, sparsity="full", std=0.2)(Prompt(prompt.x, 0 * prompt.y)).isnan().any()
    steps = linear_transformer(D, 3, sparsity="a", std=0.2)
    assert torch.isfinite(steps(Prompt(prompt.x, 1e30 * prompt.y))).all()
    assert steps(Prompt(prompt.x[:0], prompt.y[:0])).shape == (0,)
    growing = kernel_transformer(D, DEPTH, ("id",), step=1.7).double()
    grown = growing(prompt.to(torch.float64))
    assert 1e6 < float(grown.detach().abs().max()) < math.inf
    with pytest.warns(RuntimeWarning, match=r"more than 8e\+06 times"):
        growing.float()(prompt)


def test_layers_are_not_blamed_for_what_they_get() -> None:
    A, y, _ = SPARSE.sample(2, torch.Generator().manual_seed(0))
    for model in (UnrolledLasso(3), UnrolledLasso(3, "transpose"), AcceleratedLasso(3)):
        with pytest.raises(ValueError, match="y holds numbers that are not finite"):
            model(A, math.nan * y)
    assert AcceleratedLasso(3)(A[:, :0], y[:, :0]).shape == UnrolledLasso(3, "transpose")(A[:, :0], y[:, :0]).shape


def test_torch_func_runs_several_models_at_once() -> None:
    prompt = TASK.sample(PROMPTS, torch.Generator().manual_seed(0))
    models = [linear_transformer(D, 3, seed=seed) for seed in range(3)]
    weights, _ = torch.func.stack_module_state(models)  # type: ignore[arg-type]
    found = torch.vmap(lambda w: torch.func.functional_call(models[0], w, (prompt,)))(weights)
    torch.testing.assert_close(found, torch.stack([model(prompt) for model in models]))


def test_training_of_fifty_layers_ends_with_finite_weights(tmp_path: Path) -> None:
    spec = Fit(
        "deep",
        lambda seed: memformer(D, DEPTH, "cgd", std=0.02, seed=seed),
        lambda generator: TASK.sample(PROMPTS, generator),
        squared_error,
        steps=4,
    )
    model, curve = fit(spec, tmp_path)
    assert all(map(math.isfinite, curve))
    assert finite(model, on_prompts, seed=1)


def test_a_last_gradient_that_is_not_finite_does_not_end_up_in_a_model(tmp_path: Path) -> None:
    def build(seed: int) -> nn.Module:
        model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(model.weight)
        return model

    spec = Fit("root", build, lambda generator: torch.ones(1, 1), lambda model, x: model(x).abs().sqrt().sum(), steps=1)
    with pytest.raises(FloatingPointError, match=r"root: the last gradient was not finite.* use a smaller lr"):
        fit(spec, tmp_path)
    assert not (tmp_path / "root.pt").exists()
