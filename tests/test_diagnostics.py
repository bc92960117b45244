"""Diagnostics of training: exact on problems whose answers are known, on any module, and without traces."""

import copy
import math
import sys

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from graphtf import diagnostics
from graphtf.diagnostics import (
    DiagnosticsCallback,
    Objective,
    directional_smoothness,
    gradient_noise,
    hessian_diagonal,
    noise_tails,
    optimizer_gap,
    robust_condition_number,
)
from graphtf.incontext import InContextRegression, linear_transformer
from graphtf.incontext.build import fix_entries


class Quadratic(nn.Module):
    """Two parameters that hold one vector, so that their order matters."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(w[:2].clone()), nn.Parameter(w[2:].clone().view(-1, 1))

    def forward(self) -> Tensor:
        return torch.cat([self.first, self.second.flatten()])


def half_square(model: nn.Module, H: Tensor) -> Tensor:
    w = model()
    return 0.5 * w @ H @ w


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return (model(batch[0]).squeeze(-1) - batch[1]).square().mean()


@pytest.fixture
def quadratic() -> tuple[Quadratic, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    w = torch.randn(7, generator=generator, dtype=torch.float64)
    return Quadratic(w), root @ root.T - torch.eye(7), w


@pytest.fixture
def regression() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A small network with 143 numbers, and a batch."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    return model, (x, x.prod(1))


def test_a_quadratic_has_its_own_hessian(quadratic):
    model, H, w = quadratic
    assert hessian_diagonal(model, half_square, H) == pytest.approx(H.diagonal(), rel=1e-12)
    curvature = H.diagonal().abs().sort().values
    assert robust_condition_number(model, half_square, H) == pytest.approx(float(curvature[6] / curvature[3]))
    assert Objective(model, half_square).gradient(H) == pytest.approx(H @ w, rel=1e-12)
    v = torch.arange(7, dtype=torch.float64)
    found = directional_smoothness(model, half_square, H, v)
    assert found.curvature == pytest.approx(float(v @ H @ v / v.square().sum()))
    assert found.gradient_norm == pytest.approx(float((H @ w).norm()))
    by_parameter = directional_smoothness(model, half_square, H, [5 * v[:2], 5 * v[2:].view(-1, 1)])
    assert by_parameter.curvature == pytest.approx(found.curvature)
    g = H @ w
    steepest = directional_smoothness(model, half_square, H)
    assert steepest.curvature == pytest.approx(float(g @ H @ g / (g @ g)))


def test_networks_have_the_hessian_of_autograd(regression):
    model, batch = regression
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]

    def by_vector(w: Tensor) -> Tensor:
        parts = {n: part.view_as(model.get_parameter(n)) for n, part in zip(names, w.split(sizes), strict=True)}
        return squares(lambda x: torch.func.functional_call(model, parts, (x,)), batch)

    w = torch.cat([p.detach().flatten() for p in model.parameters()])
    H = torch.autograd.functional.hessian(by_vector, w)
    assert torch.allclose(hessian_diagonal(model, squares, batch), H.diagonal(), rtol=1e-9, atol=1e-12)
    objective = Objective(model, squares)
    vectors = torch.randn(3, len(w), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products = objective.hessian_products(batch)
    assert torch.allclose(products(vectors), vectors @ H, rtol=1e-9, atol=1e-12)
    assert torch.allclose(products(vectors[:1]), vectors[:1] @ H, rtol=1e-9, atol=1e-12)
    assert torch.equal(objective.trained(), w)


def test_only_trained_numbers_count():
    layer = nn.Linear(3, 1).double()
    layer.bias.requires_grad_(False)
    fix_entries(layer, "weight", torch.tensor([[True, False, True]]))
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    half = lambda model, x: 0.5 * model(x).square().sum()  # noqa: E731
    assert hessian_diagonal(layer, half, x).tolist() == [1.0, 9.0]
    assert Objective(layer, half).num_trained == 2


def test_numbers_without_influence_have_curvature_zero():
    task = InContextRegression(d=3, n=8)
    prompt = task.sample(20, torch.Generator().manual_seed(0), torch.float64)
    model = linear_transformer(3, 2, sparsity="ab", seed=0).double()
    diagonal = hessian_diagonal(model, lambda m, p: (m(p) - p.target).square().mean(), prompt)
    assert len(diagonal) == 36
    assert int((diagonal == 0).sum()) == 9  # the move of the last layer
    line = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="no curvature"):
        robust_condition_number(line, lambda m, x: m(x).mean(), torch.ones(3, 2))
    assert robust_condition_number(line, lambda m, x: m(x).square().mean(), torch.tensor([[1.0, 0.0]])) == 1
    three = nn.Linear(3, 1, bias=False)
    assert robust_condition_number(three, lambda m, x: m(x).square().mean(), torch.tensor([[1.0, 0, 0]])) == math.inf


def test_attention_has_a_second_derivative():
    layer = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.0, batch_first=True)
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    found = directional_smoothness(layer, lambda model, x: model(x).pow(3).mean(), x)
    assert math.isfinite(found.curvature)


@pytest.mark.parametrize(("method", "gain"), [("xdiag", 0.3), ("hutchinson", 0.5)])  # one over the root of 14 is 0.27
def test_estimates_approach_the_exact_diagonal(method, gain, regression):
    pytest.importorskip("curvlinops")
    model, batch = regression
    exact = hessian_diagonal(model, squares, batch, "exact")
    state = torch.get_rng_state()

    def error(products: int) -> float:
        estimates = [hessian_diagonal(model, squares, batch, method, products, seed) for seed in range(3)]
        return sum(float((e - exact).norm() / exact.norm()) for e in estimates) / 3

    assert error(140) < gain * error(10)
    again = [hessian_diagonal(model, squares, batch, method, 10, seed) for seed in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_large_models_are_estimated(monkeypatch, regression):
    pytest.importorskip("curvlinops")
    model, batch = regression
    monkeypatch.setattr(diagnostics.condition, "EXACT", 142)
    chosen = hessian_diagonal(model, squares, batch, num_products=20)
    assert torch.equal(chosen, hessian_diagonal(model, squares, batch, "xdiag", num_products=20))
    with pytest.raises(ValueError, match="even and less than the 143 trained numbers, but is 7"):
        hessian_diagonal(model, squares, batch, num_products=7)
    with pytest.raises(ValueError, match="but is 500"):
        hessian_diagonal(model, squares, batch, num_products=500)


def test_a_missing_curvlinops_is_named(monkeypatch, regression):
    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(ImportError, match=r'pip install "graphtf\[curvature\]"'):
        hessian_diagonal(*[regression[0], squares, regression[1]], method="xdiag")


def test_noise_is_that_of_the_samples():
    model = nn.Linear(1, 1, bias=False).double()
    mean = lambda model, x: model(x).mean()  # noqa: E731  # its gradient is the mean of x
    generator = torch.Generator().manual_seed(0)
    batches = 3 + torch.randn(1500, 4, 1, generator=generator, dtype=torch.float64)
    noise = gradient_noise(model, mean, batches, torch.full((1, 1), 3.0, dtype=torch.float64))
    assert noise == pytest.approx((batches.mean((1, 2)) - 3).abs(), abs=1e-12)
    tails = noise_tails(noise)  # half normal
    assert tails.mean == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.05)
    assert tails.skew == pytest.approx(0.995, abs=0.15)
    assert tails.excess_kurtosis == pytest.approx(0.869, abs=0.5)


def test_tails_are_those_of_scipy():
    sample = torch.distributions.Laplace(0.0, 1.0).icdf(torch.linspace(0.01, 0.95, 301, dtype=torch.float64)) + 10
    tails = noise_tails(sample)
    assert tails.skew == pytest.approx(scipy.stats.skew(sample.numpy()))
    assert tails.excess_kurtosis == pytest.approx(scipy.stats.kurtosis(sample.numpy()))
    assert tails.max_over_median == pytest.approx(float(sample.max() / sample.median()))


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    batch = (x, x[:, 0])
    squares(model, batch).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        gradient_noise(model, squares, [batch, batch], batch)
        robust_condition_number(model, squares, batch)
    with torch.inference_mode():
        directional_smoothness(model, squares, batch)
    gap = optimizer_gap(model, squares, [], batch, {"sgd": lambda p: torch.optim.SGD(p, 0.1)})
    assert len(gap["sgd"]) == 1
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_the_gap_is_that_of_two_plain_loops(regression):
    model, test = regression
    generator = torch.Generator().manual_seed(2)
    xs = torch.randn(6, 40, 6, generator=generator, dtype=torch.float64)
    batches = [(x, x.prod(1)) for x in xs]
    optimizers = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 0.05),
    }
    found = optimizer_gap(model, squares, iter(batches), test, optimizers, every=2, clip=0.5)
    for name, build in optimizers.items():
        own = copy.deepcopy(model)
        optimizer = build(list(own.parameters()))
        curve = [squares(own, test).item()]
        for step, batch in enumerate(batches, 1):
            optimizer.zero_grad()
            squares(own, batch).backward()
            torch.nn.utils.clip_grad_norm_(own.parameters(), 0.5)
            optimizer.step()
            if step % 2 == 0:
                curve.append(squares(own, test).item())
        assert found[name] == pytest.approx(curve, rel=1e-12)


LINE = nn.Linear(2, 1)
X = torch.ones(3, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Objective("model", squares), TypeError, "must be a torch.nn.Module, but got str"),
        (lambda: Objective(LINE, 3), TypeError, "must be a function of the model and a batch, but got int"),
        (lambda: Objective(nn.ReLU(), squares), ValueError, "no trained parameters"),
        (lambda: Objective(LINE, lambda m, x: m(x)).value(X), ValueError, r"returned shape \[3, 1\]; take its mean"),
        (lambda: Objective(LINE, lambda m, x: 1.0).value(X), ValueError, "returned a float"),
        (lambda: Objective(LINE, lambda m, x: m(x).detach().mean()).gradient(X), ValueError, "does not depend"),
        (lambda: gradient_noise(LINE, lambda m, x: m(x).mean(), [], X), ValueError, "no batches"),
        (lambda: noise_tails(torch.ones(1)), ValueError, "at least two"),
        (lambda: noise_tails(torch.ones(5)), ValueError, "all 5 numbers are 1.0"),
        (lambda: hessian_diagonal(LINE, squares, X, "guess"), ValueError, "method must be one of 'auto', 'exact'"),
        (
            lambda: directional_smoothness(LINE, lambda m, x: m(x).square().mean(), X, torch.ones(2)),
            ValueError,
            r"must be \[3\], a number a trained number, but is \[2\]",
        ),
        (
            lambda: directional_smoothness(LINE, lambda m, x: m(x).square().mean(), X, [torch.ones(2), torch.ones(1)]),
            ValueError,
            r"\[\[1, 2\], \[1\]\], but got \[\[2\], \[1\]\]",
        ),
        (
            lambda: directional_smoothness(LINE, lambda m, x: m(x).square().mean(), X, torch.zeros(3)),
            ValueError,
            "positive length",
        ),
        (lambda: optimizer_gap(LINE, squares, [], X, {}), ValueError, "no optimizers"),
        (
            lambda: optimizer_gap(LINE, squares, [], X, {"sgd": torch.optim.SGD}, clip=0.0),
            ValueError,
            "clip must be positive",
        ),
        (lambda: DiagnosticsCallback(squares, X, measures=("los",)), ValueError, "measures must be some of 'loss'"),
        (lambda: DiagnosticsCallback(squares, X, measures=("noise",)), ValueError, "'noise' needs noise_batches"),
        (lambda: DiagnosticsCallback(squares, X, every=0), ValueError, "every must be at least 1"),
        (lambda: diagnostics.no_such_name, AttributeError, "no attribute 'no_such_name'"),
    ],
)
def test_wrong_input_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()
