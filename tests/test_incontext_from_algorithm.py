"""Models built by the name of an algorithm are that algorithm, iterate by iterate, and can be trained from there."""

import re

import pytest
import torch

from graphtf import Incidence, reference
from graphtf.incontext import InContextRegression, InContextTransformer, SparseRecoveryPrompt, from_algorithm
from graphtf.incontext.build import prompt_layer
from graphtf.incontext.from_algorithm import ALGORITHMS
from graphtf.learn.incontext_tasks import second_moments
from graphtf.prompt_layout import PromptLayout
from graphtf.testing import graph_zoo

D, N = 5, 20
STEPS, MOMENTUM = [0.3, 0.7, 0.5, 0.45, 0.6], [0.0, 0.2, 0.4, 0.1, 0.3]
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def matrix(seed: int, shift: float = 0.0) -> torch.Tensor:
    root = 0.3 * torch.randn(D, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return shift * torch.eye(D, dtype=torch.float64) + root @ root.T


@pytest.fixture
def prompt():
    task = InContextRegression(D, N, (1.0, 1.0, 0.5, 0.25, 1.0), rotate=True, noise=0.3)
    return task.sample(6, torch.Generator().manual_seed(0), torch.float64)


def check(model: InContextTransformer, prompt, w: torch.Tensor) -> None:
    """Predictions of every layer are those of the weights of every iterate."""
    expected = (w * prompt.x[:, -1]).sum(-1)
    assert model.num_layers + 1 == len(expected)
    assert float(expected.diff(dim=0).abs().amax(1).min()) > 1e-3, "every step does something"
    torch.testing.assert_close(model(prompt, return_all=True), expected, **EXACT)


@pytest.mark.parametrize("form", ["numbers", "matrices"])
def test_gradient_descent(prompt, form):
    S, b = second_moments(prompt)
    if form == "numbers":
        model, w = from_algorithm("gradient-descent", d=D, steps=STEPS), reference.gradient_descent(S, b, STEPS)
    else:
        A = matrix(1, shift=0.5)
        model = from_algorithm("gradient-descent", steps=[a * A for a in STEPS])
        w = reference.gradient_descent(A @ S, b @ A.T, STEPS)
    check(model, prompt, w)


@pytest.mark.parametrize("n", [N, 3])
def test_moving_samples(n):
    """GD++ is gradient descent on samples that every step multiplies by `I - b S`, however few they are."""
    prompt = InContextRegression(D, n, noise=0.3).sample(6, torch.Generator().manual_seed(0), torch.float64)
    steps, moves = [0.4, 0.6, 0.8], [0.2, 0.3, 0.1]
    X, r = prompt.x, prompt.labels()
    predicted = [-r[:, -1]]
    for a, b in zip(steps, moves, strict=True):
        S = X[:, :-1].mT @ X[:, :-1] / n
        w = reference.gradient_descent(S, (X[:, :-1].mT @ r[:, :-1, None]).squeeze(-1) / n, [a])[-1]
        r, X = r - (X @ w.unsqueeze(-1)).squeeze(-1), X - b * X @ S
        predicted.append(-r[:, -1])
    found = from_algorithm("gd++", d=D, steps=steps, moves=[b / a for a, b in zip(steps, moves, strict=True)])
    torch.testing.assert_close(found(prompt, return_all=True), torch.stack(predicted), **EXACT)
    as_matrices = from_algorithm("gd++", steps=[a * torch.eye(D) for a in steps], moves=[torch.zeros(D, D)] * 3)
    check(as_matrices.double(), prompt, reference.gradient_descent(*second_moments(prompt), [*torch.tensor(steps)]))


def test_samples_move_by_an_activation_too():
    X = InContextRegression(D, N).sample(3, torch.Generator().manual_seed(0), torch.float64).x
    A, M = matrix(1), matrix(2)
    layer = prompt_layer(
        ("residual",), {}, {}, data=torch.stack([A, A]), heads=2, dtype=torch.float64, act=("relu", "id"),
        move=torch.stack([M, -M]),
    )  # fmt: skip
    moved, _ = layer(PromptLayout(X), torch.zeros(3, N + 1, 1, 1, dtype=torch.float64))
    scores = X @ A @ X[:, :-1].mT / N
    torch.testing.assert_close(moved.x, X + (scores.relu() - scores) @ X[:, :-1] @ M, **EXACT)


def test_momentum(prompt):
    w = reference.gradient_descent(*second_moments(prompt), STEPS, MOMENTUM)
    check(from_algorithm("heavy-ball", steps=STEPS, momentum=MOMENTUM), prompt, w)


def test_chebyshev(prompt):
    S, b = second_moments(prompt)
    eigenvalues = torch.linalg.eigvalsh(S)
    low, high = float(eigenvalues.min()), float(eigenvalues.max())
    model = from_algorithm("chebyshev", num_layers=8, lambda_min=low, lambda_max=high)
    check(model, prompt, reference.chebyshev(S, b, low, high, 8))


@pytest.mark.parametrize("preconditioned", [False, True])
def test_conjugate_gradients(prompt, preconditioned):
    A = matrix(2, shift=1.0) if preconditioned else None
    model = from_algorithm("conjugate-gradient", num_layers=D - 1, preconditioner=A)
    check(model, prompt, reference.conjugate_gradient(*second_moments(prompt), D - 1, A))


@pytest.mark.parametrize("kernel", ["id", "relu", "exp"])
def test_richardson_on_a_kernel(prompt, kernel):
    scores = prompt.x @ prompt.x[:, :-1].mT
    K = {"id": scores, "relu": scores.relu(), "exp": (scores / 4).exp()}[kernel] / N  # [P, N + 1, N]
    steps = [0.1, 0.3, 0.2]
    alpha = reference.gradient_descent(K[:, :-1], prompt.y[:, :-1], steps)  # K alpha = y
    kernels = (kernel,) if kernel != "exp" else (lambda s: (s / 4).exp(),)
    found = from_algorithm("richardson", "functional", d=D, steps=steps, kernels=kernels)(prompt, return_all=True)
    torch.testing.assert_close(found, (K[:, -1] * alpha).sum(-1), **EXACT)


@pytest.mark.parametrize("algorithm", ["ista", "fista"])
@pytest.mark.parametrize("many", [True, False])
def test_shrinkage(algorithm, many):
    prompt = SparseRecoveryPrompt(12, 20).sample(4, torch.Generator().manual_seed(0), torch.float64)
    A, y = (prompt.A, prompt.y) if many else (prompt.A[0], prompt.y[0])
    step = float(1 / torch.linalg.matrix_norm(A, 2).max() ** 2)
    model = from_algorithm(algorithm, "sparse", num_layers=12, lam=0.05, step=step)
    expected = getattr(reference, algorithm)(A, y, 0.05, 12, step)
    torch.testing.assert_close(model(A, y, return_all=True), expected, **EXACT)
    assert torch.equal(model(A, y), model(A, y, return_all=True)[-1])
    other = {"ista": reference.fista, "fista": reference.ista}[algorithm](A, y, 0.05, 12, step)
    assert not torch.allclose(expected[3:], other[3:], atol=1e-3)


@pytest.mark.parametrize("algorithm", ["gradient-descent", "heavy-ball", "chebyshev", "conjugate-gradient"])
def test_potentials_on_a_graph(algorithm):
    B = graph_zoo()["skip-links"].normalized("spectral")
    L = B.dense() @ B.dense().T
    psi = B.center(torch.randn(B.num_nodes, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    low = float(torch.linalg.eigvalsh(L)[1])
    options, expected = {
        "gradient-descent": ({"steps": STEPS}, lambda: reference.gradient_descent(L, psi, STEPS)),
        "heavy-ball": (
            {"steps": STEPS, "momentum": MOMENTUM},
            lambda: reference.gradient_descent(L, psi, STEPS, MOMENTUM),
        ),
        "chebyshev": ({"num_layers": 6, "lambda_min": low}, lambda: reference.chebyshev(L, psi, low, 1.0, 6)),
        "conjugate-gradient": ({"num_layers": 4}, lambda: reference.conjugate_gradient(L, psi, 4)),
    }[algorithm]
    found = from_algorithm(algorithm, "electric", **options)(B, psi=psi, return_all=True)
    torch.testing.assert_close(found, expected(), **EXACT)


def test_shortest_paths():
    B = Incidence(torch.tensor([[0, 1, 0, 2, 1], [1, 2, 2, 3, 3]]), torch.ones(5, dtype=torch.float64))
    demand, length = torch.tensor([1.0, 0, 0, -1]).double(), torch.ones(5).double()
    model = from_algorithm("ista", "shortest-path", num_layers=9, lam=0.1, step=0.2)
    expected = reference.ista(B.dense(), demand, 0.1, 9, 0.2)
    torch.testing.assert_close(model(B, length, demand, return_all=True), expected, **EXACT)
    found = from_algorithm("continuation", "shortest-path", num_layers=3, last=0.001).coefficients()
    torch.testing.assert_close(found[:, 1], torch.tensor([0.1, 0.01, 0.001]))


OPTIONS = {
    ("regression", "gradient-descent"): {"d": D, "steps": STEPS},
    ("regression", "gd++"): {"d": D, "steps": STEPS, "moves": MOMENTUM},
    ("regression", "heavy-ball"): {"steps": STEPS, "momentum": MOMENTUM},
    ("regression", "chebyshev"): {"num_layers": 3, "lambda_min": 0.1, "lambda_max": 1.0},
    ("regression", "conjugate-gradient"): {"num_layers": 3},
    ("functional", "richardson"): {"d": D, "steps": STEPS},
    ("sparse", "ista"): {"num_layers": 3, "lam": 0.1, "step": 0.2},
    ("sparse", "fista"): {"num_layers": 3, "lam": 0.1, "step": 0.2},
    ("electric", "gradient-descent"): {"steps": STEPS},
    ("electric", "heavy-ball"): {"steps": STEPS, "momentum": MOMENTUM},
    ("electric", "chebyshev"): {"num_layers": 3, "lambda_min": 0.1},
    ("electric", "conjugate-gradient"): {"num_layers": 3},
    ("shortest-path", "ista"): {"num_layers": 3, "lam": 0.1, "step": 0.2},
    ("shortest-path", "continuation"): {"num_layers": 3},
}


def test_every_algorithm_is_listed_above():
    assert {(problem, name) for problem, names in ALGORITHMS.items() for name in names} == set(OPTIONS)


@pytest.mark.parametrize(("problem", "algorithm"), OPTIONS)
def test_every_model_has_weights_in_the_type_asked_for(problem, algorithm):
    options = OPTIONS[problem, algorithm]
    if algorithm != "continuation":
        for dtype in (torch.float64, torch.float32):
            model = from_algorithm(algorithm, problem, **options, dtype=dtype)
            assert {p.dtype for p in model.parameters()} == {dtype}
        assert {p.dtype for p in from_algorithm(algorithm, problem, **options).parameters()} == {torch.float64}
    names = re.escape(", ".join(map(repr, ALGORITHMS[problem])))
    with pytest.raises(ValueError, match=f"algorithm must be one of {names}, but got 'newton'"):
        from_algorithm("newton", problem, **options)
    with pytest.raises(TypeError, match=rf"{re.escape(algorithm)}'.* takes the options .*'eta'"):
        from_algorithm(algorithm, problem, **options, eta=1)


@pytest.mark.parametrize(("problem", "algorithm"), [key for key in OPTIONS if key[0] in ("regression", "functional")])
def test_models_are_trained_from_the_algorithm_on(problem, algorithm, prompt):
    model = from_algorithm(algorithm, problem, **OPTIONS[problem, algorithm])
    weights = [p for p in model.parameters() if p.requires_grad]
    before = (model(prompt) - prompt.target).square().mean().item()
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        loss = (model(prompt) - prompt.target).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < before


def test_wrong_options_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match=r"problem must be one of 'regression', .* but got 'graphs'"):
        from_algorithm("ista", "graphs")
    with pytest.raises(ValueError, match=r"steps are numbers, which need d.* or give matrices"):
        from_algorithm("gradient-descent", steps=STEPS)
    with pytest.raises(ValueError, match="square matrices"):
        from_algorithm("gradient-descent", steps=[torch.ones(2, 3)])
    with pytest.raises(ValueError, match="as many numbers as steps"):
        from_algorithm("heavy-ball", steps=STEPS, momentum=[0.1])
    with pytest.raises(ValueError, match="lambda_min=2"):
        from_algorithm("chebyshev", num_layers=3, lambda_min=2, lambda_max=1)
    with pytest.raises(ValueError, match=r"step positive, .* step=-1"):
        from_algorithm("ista", "sparse", num_layers=3, lam=0.1, step=-1)
    with pytest.raises(TypeError, match="missing a required argument: 'lambda_min'"):
        from_algorithm("chebyshev", num_layers=3, lambda_max=1)
    with pytest.raises(ValueError, match=r"steps and momentum must be numbers; only 'gradient-descent'"):
        from_algorithm("heavy-ball", steps=[torch.eye(2)], momentum=[0.0])
    with pytest.raises(TypeError, match=r"'gradient-descent' for problem='electric' .* unexpected .* 'momentum'"):
        from_algorithm("gradient-descent", "electric", steps=STEPS, momentum=MOMENTUM)
    with pytest.raises(TypeError, match="missing a required argument: 'momentum'"):
        from_algorithm("heavy-ball", "electric", steps=STEPS)
    with pytest.raises(TypeError, match=r"floating-point tensors of one type, but are torch.float32 and torch.float64"):
        from_algorithm("fista", "sparse", num_layers=3, lam=0.1, step=0.1)(torch.ones(2, 3), torch.ones(2).double())
    with pytest.raises(ValueError, match=r"y must have shape \[2\], a number for every row of A"):
        from_algorithm("fista", "sparse", num_layers=3, lam=0.1, step=0.1)(torch.ones(2, 3), torch.ones(3))
