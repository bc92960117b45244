"""In-context models against plain algorithms, iterate by iterate, and against their literal twins."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch

from graphtf import reference
from graphtf.incontext import (
    InContextRegression,
    Prompt,
    gradient_descent_transformer,
    kernel_transformer,
    linear_transformer,
    memformer,
)

D, N = 5, 20
SKEWED = (1.0, 1.0, 0.5, 0.25, 1.0)


def prompts(count: int = 6, seed: int = 0, **options: object) -> Prompt:
    task = InContextRegression(D, N, **options)  # type: ignore[arg-type]
    return task.sample(count, torch.Generator().manual_seed(seed), torch.float64)


def moments(prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """Second moments `S` and right-hand sides `b` of the demonstrations' squared error."""
    x, y = prompt.x[:, :-1], prompt.y[:, :-1]
    return x.mT @ x / x.shape[1], (x.mT @ y.unsqueeze(-1)).squeeze(-1) / x.shape[1]


def predictions(prompt: Prompt, w: torch.Tensor) -> torch.Tensor:
    """Predictions of weights `[L + 1, P, d]` for the queries."""
    return (w * prompt.x[:, -1]).sum(-1)


def random_maps(count: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(0.3 * torch.randn(count, D, D, generator=generator, dtype=torch.float64))


def test_layers_are_steps_of_preconditioned_gradient_descent() -> None:
    prompt, maps = prompts(spectrum=SKEWED, rotate=True), random_maps(6)
    S, b = moments(prompt)
    w = torch.zeros(len(b), D, dtype=torch.float64)
    iterates = [w]
    for A in maps:
        w = w + (b - (S @ w.unsqueeze(-1)).squeeze(-1)) @ A.T
        iterates.append(w)
    found = gradient_descent_transformer(maps)(prompt, return_all=True)
    torch.testing.assert_close(found, predictions(prompt, torch.stack(iterates)), rtol=1e-10, atol=1e-10)


def test_residuals_are_those_of_the_same_weights() -> None:
    prompt = prompts()
    S, b = moments(prompt)
    w = reference.gd(S, b, [0.5, 0.4])[-1]
    model = gradient_descent_transformer([0.5 * torch.eye(D).double(), 0.4 * torch.eye(D).double()])
    found = model.residuals(prompt)
    expected = prompt.labels() - (prompt.x @ w.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_moving_samples_are_a_neumann_preconditioner() -> None:
    prompt, maps, moves = prompts(), random_maps(3), random_maps(3, seed=2)
    X, r = prompt.x, prompt.labels()
    for A, B in zip(maps, moves, strict=True):
        score = X @ A @ X[:, :-1].mT / N  # [P, N + 1, N]
        r, X = r - (score @ r[:, :-1, None]).squeeze(-1), X - score @ X[:, :-1] @ B.T
    found = gradient_descent_transformer(maps, moves)(prompt)
    torch.testing.assert_close(found, -r[:, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("preconditioned", [False, True])
def test_adaptive_memory_is_conjugate_gradients(preconditioned: bool) -> None:
    prompt = prompts(spectrum=SKEWED, rotate=True, noise=0.3)
    S, b = moments(prompt)
    model = memformer(D, 5, coefficients="adaptive", preconditioner="full" if preconditioned else "scalar").double()
    A = None
    if preconditioned:
        root = random_maps(1)[0]
        A = torch.eye(D, dtype=torch.float64) + root @ root.T
        for layer in model.transformer.layers:
            layer.data.data[0] = A
    found = model(prompt, return_all=True)
    torch.testing.assert_close(found, predictions(prompt, reference.cg(S, b, 5, A)), rtol=1e-8, atol=1e-8)
    for p in range(len(b)):
        iterates = [np.zeros(D)]
        scipy.sparse.linalg.cg(
            S[p].numpy(), b[p].numpy(), rtol=0, atol=0, maxiter=5, M=None if A is None else A.numpy(),
            callback=lambda w, kept=iterates: kept.append(w.copy()),
        )  # fmt: skip
        expected = torch.from_numpy(np.stack(iterates)) @ prompt.x[p, -1]
        torch.testing.assert_close(found[: len(iterates), p], expected, rtol=1e-8, atol=1e-8)


def test_adaptive_memory_stays_finite_long_after_it_converged() -> None:
    prompt = prompts(spectrum=SKEWED)
    model = memformer(D, 50, coefficients="adaptive", preconditioner="scalar").double()
    found = model(prompt, return_all=True)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[5:], prompt.target.expand(46, -1), rtol=1e-8, atol=1e-8)


def test_chebyshev_memory_is_the_chebyshev_iteration_and_keeps_its_bound() -> None:
    prompt = prompts(40)
    S, b = moments(prompt)
    eigenvalues = torch.linalg.eigvalsh(S)
    low, high = float(eigenvalues.min()), float(eigenvalues.max())
    model = memformer(D, 8, "heavy_ball", "chebyshev", "scalar", spectrum=(low, high)).double()
    w = reference.chebyshev(S, b, low, high, 8)
    torch.testing.assert_close(model(prompt, return_all=True), predictions(prompt, w), rtol=1e-6, atol=1e-6)
    solution = torch.linalg.solve(S, b)
    error = w - solution
    energy = (error * (S @ error.unsqueeze(-1)).squeeze(-1)).sum(-1)
    kappa = high / low
    q = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    for step in range(9):
        bound = (2 * q**step / (1 + q ** (2 * step))) ** 2
        assert (energy[step] <= bound * energy[0] * (1 + 1e-9)).all()


@pytest.mark.parametrize("memory", ["cgd", "lfom"])
def test_learned_memory_holds_gradient_descent_with_momentum(memory: str) -> None:
    prompt = prompts()
    S, b = moments(prompt)
    steps, momentum = [0.4, 0.5, 0.3], [0.0, 0.2, 0.6]
    model = memformer(D, 3, memory, preconditioner="scalar").double()
    layers = model.transformer.stack
    with torch.no_grad():
        if memory == "cgd":
            # r <- r - alpha (G + gamma M): gamma_l = m_l alpha_{l-1} / alpha_l
            for i, (layer, a, m) in enumerate(zip(layers, steps, momentum, strict=True)):
                gamma = m * steps[i - 1] / a if i else 0.0
                weights = {"value": layer.value.clone(), "skip": layer.skip.clone()}
                weights["value"][0, 0, 0] = -a
                weights["skip"][1, 0], weights["skip"][1, 1] = -a * gamma, gamma - 1
                layer.value, layer.skip = weights["value"], weights["skip"]
        else:
            coefficients: list[list[float]] = []  # of G_j in the step of layer l
            for i, (a, m) in enumerate(zip(steps, momentum, strict=True)):
                coefficients.append([m * c for c in coefficients[-1]] + [a] if i else [a])
            for layer, row in zip(layers, coefficients, strict=True):
                value, skip = layer.value.clone(), layer.skip.clone()
                value[0, 0, 0] = -row[-1]
                for j, c in enumerate(row[:-1]):
                    skip[1 + j, 0] = -c
                layer.value = value
                if len(row) > 1:
                    layer.skip = skip
    w = reference.gd(S, b, steps, momentum)
    torch.testing.assert_close(model(prompt, return_all=True), predictions(prompt, w), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("act", ["id", "relu", "exp", "softmax"])
def test_kernel_attention_is_richardsons_iteration(act: str) -> None:
    prompt, step = prompts(), 1e-4 if act == "exp" else 0.25
    model = kernel_transformer(D, 4, (act,), step=step, dtype=torch.float64)
    scores = prompt.x @ prompt.x[:, :-1].mT  # [P, N + 1, N]
    K = {"id": scores, "relu": scores.relu(), "exp": scores.exp(), "softmax": scores.softmax(-1) * N}[act] / N
    alpha = torch.zeros(len(K), N, 1, dtype=torch.float64)
    for _ in range(4):
        alpha = alpha + step * (prompt.y[:, :-1, None] - K[:, :-1] @ alpha)
    torch.testing.assert_close(model(prompt), (K @ alpha)[:, -1, 0], rtol=1e-9, atol=1e-9)


MODELS = {
    "a": lambda: linear_transformer(D, 3, sparsity="a"),
    "ab": lambda: linear_transformer(D, 3, heads=2, sparsity="ab"),
    "full": lambda: linear_transformer(D, 3, heads=2, sparsity="full"),
    "cgd": lambda: memformer(D, 3),
    "lfom": lambda: memformer(D, 3, "lfom", preconditioner="diag"),
    "heavy ball": lambda: memformer(D, 3, "heavy_ball", preconditioner="scalar"),
    "kernels": lambda: kernel_transformer(D, 3, ("exp", "id", "softmax"), step=1e-4),
}


@pytest.mark.parametrize("name", MODELS)
def test_literal_twins_agree(name: str) -> None:
    prompt, model = prompts(), MODELS[name]().double()
    d = 0 if name == "full" else D
    for p in range(len(prompt.x)):
        Z = prompt.tokens()[p]
        Z = torch.cat([Z, Z.new_zeros(len(Z), d + len(model.transformer.registers) - Z.shape[1])], 1)
        Z = model.literal(d)(Z, keys=prompt.is_key())
        at = d + model.transformer.registers.index("residual")
        torch.testing.assert_close(-Z[-1, at], model(prompt)[p], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*MODELS, "adaptive"])
def test_predictions_do_not_depend_on_order_batch_or_the_query_label(name: str) -> None:
    prompt = prompts()
    build = MODELS.get(name, lambda: memformer(D, 3, coefficients="adaptive"))
    model = build().double()
    expected = model(prompt)
    order = torch.cat([torch.randperm(N, generator=torch.Generator().manual_seed(3)), torch.tensor([N])])
    shuffled = Prompt(prompt.x[:, order], prompt.y[:, order])
    torch.testing.assert_close(model(shuffled), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(model(Prompt(prompt.x[:2], prompt.y[:2])), expected[:2], rtol=1e-9, atol=1e-12)
    other = prompt.y.clone()
    other[:, -1] = torch.nan
    assert torch.equal(model(Prompt(prompt.x, other)), expected)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_trained_weight(name: str) -> None:
    model = MODELS[name]()
    prompt = prompts().to(torch.float32)
    (model(prompt) - prompt.target).square().mean().backward()
    # the last layer's memory and the move of its samples are never used
    unused = {"lfom": set(), "ab": {"2.move"}}.get(name, set())
    for key, weight in model.named_parameters():
        if weight.requires_grad and not any(word in key for word in unused):
            assert weight.grad is not None, key
            assert torch.isfinite(weight.grad).all(), key


def test_only_trained_numbers_are_counted() -> None:
    counts = {
        "a": linear_transformer(D, 3, sparsity="a").num_parameters,
        "scalar cgd": memformer(D, 3, preconditioner="scalar").num_parameters,
        "diagonal cgd": memformer(D, 3, preconditioner="diag").num_parameters,
        "scalar lfom": memformer(D, 3, "lfom", preconditioner="scalar").num_parameters,
        "kernel": kernel_transformer(D, 3, ("exp", "id"), learn_maps=False).num_parameters,
    }
    # three numbers a layer for one register of memory; l + 1 for all past steps; one a head
    assert counts == {"a": 75, "scalar cgd": 9, "diagonal cgd": 24, "scalar lfom": 1 + 2 + 3, "kernel": 6}


@pytest.mark.parametrize("heads", [1, 3])
def test_several_label_columns_are_predicted_side_by_side(heads: int) -> None:
    prompt = prompts()
    both = Prompt(prompt.x, torch.stack([prompt.y, -2 * prompt.y], -1))
    model = linear_transformer(D, 3, heads=heads, sparsity="ab").double()
    one = model(prompt)
    torch.testing.assert_close(model(both), torch.stack([one, -2 * one], -1), rtol=1e-12, atol=1e-12)


def test_the_same_seed_gives_the_same_prompts_and_weights() -> None:
    assert torch.equal(prompts().x, prompts().x)
    assert not torch.equal(prompts().x, prompts(seed=1).x)
    a, b = linear_transformer(D, 2, seed=4), linear_transformer(D, 2, seed=4)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_transformer(4, 2)(prompts().to(torch.float32)), "samples have 5 numbers, but layer 0 .* d=4"),
        (lambda: linear_transformer(4, 2, sparsity="full")(prompts().to(torch.float32)), "made for d=4"),
        (lambda: linear_transformer(D, 2, sparsity="b"), "sparsity must be one of"),
        (lambda: memformer(D, 2, "lfom", "adaptive"), "need memory='cgd'"),
        (lambda: memformer(D, 2, "heavy_ball", "chebyshev"), "spectrum="),
        (lambda: kernel_transformer(D, 2, ("tanh",)), "act must be one of"),
        (lambda: Prompt(torch.ones(2, 3), torch.ones(2)), r"x must be \[P, N, d\]"),
        (lambda: Prompt(torch.ones(2, 3, 1), torch.ones(2, 2)), "y must be"),
        (lambda: Prompt(torch.ones(2, 3, 1), torch.full((2, 3), torch.nan)), "not finite"),
        (lambda: Prompt(torch.full((2, 3, 1), torch.inf), torch.ones(2, 3)).layout(), "not finite"),
        (lambda: Prompt(torch.ones(1, 1, 1), torch.ones(1, 1)).layout(), "no keys"),
        (lambda: InContextRegression(D, N, spectrum=(1.0, 2.0)), "5 positive numbers"),
        (lambda: gradient_descent_transformer([torch.eye(2), torch.eye(3)]), "of one size"),
        (lambda: reference.best_fixed_polynomial(torch.ones(3, 4)), "float64"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_graph_layers_refuse_what_only_prompts_have() -> None:
    from graphtf import Incidence, LinearTransformer, StructuredAttention

    B = Incidence(torch.tensor([[0, 1], [1, 2]]))
    maps = {"laplacian": torch.ones(1), "value": -torch.ones(1, 1, 1, 1), "skip": torch.zeros(1, 1, 1)}
    for options, message in [
        ({"data": torch.eye(2).unsqueeze(0)}, "a data map needs the tokens of a prompt"),
        ({"act": ("relu",)}, "activation 'relu' needs the tokens of a prompt"),
        ({"move": torch.eye(2).unsqueeze(0)}, "samples of a prompt move"),
    ]:
        layer = StructuredAttention(**maps, **options)  # type: ignore[arg-type]
        assert not layer.is_polynomial
        with pytest.raises(ValueError, match=message):
            LinearTransformer([layer], ("x",), "x")(B, x=torch.ones(3))
