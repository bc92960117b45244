"""Gaussian-process prompts, and which attention is best for which kernel."""

import math
from itertools import pairwise

import pytest
import torch

from graphtf.incontext import GaussianProcessPrompt, Prompt, kernel_transformer
from graphtf.incontext.gaussian_process import KERNELS, kernel_matrix, polynomial_losses

DEPTHS = (1, 3, 5, 7)
ACTIVATIONS = ("linear", "relu", "exp")


def draw(kernel: str, count: int, n: int = 14) -> tuple[GaussianProcessPrompt, Prompt]:
    task = GaussianProcessPrompt(kernel, n=n)  # type: ignore[arg-type]
    return task, task.sample(count, torch.Generator().manual_seed(0), torch.float64)


def attention(kernel: str, x: torch.Tensor) -> torch.Tensor:
    scores = x @ x.mT
    return {"linear": scores, "relu": scores.relu(), "exp": scores.exp()}[kernel]


@pytest.mark.parametrize("kernel", KERNELS)
def test_labels_have_their_covariance(kernel: str) -> None:
    task, prompt = draw(kernel, 40_000, n=3)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(task.gram(prompt.x) + 1e-12 * torch.eye(4).double()), prompt.y.unsqueeze(-1), upper=False
    )[..., 0]
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(4).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(prompt.x.norm(dim=-1), torch.ones(40_000, 4).double())
    if kernel != "relu":
        torch.testing.assert_close(task.gram(prompt.x[:9]), kernel_matrix(kernel, prompt.x[:9]), atol=1e-7, rtol=0)


@pytest.mark.parametrize(("kernel", "bayes"), [("relu", -1.70), ("exp", -2.11)])
def test_no_attention_is_below_the_bayes_floor_and_the_matched_one_is_best_from_depth_five(
    kernel: str, bayes: float
) -> None:
    task, prompt = draw(kernel, 6_000)
    floor = math.log(float((task.posterior_mean(prompt) - prompt.target).square().mean()))
    assert floor == pytest.approx(bayes, abs=0.1)
    logs = {a: [math.log(x) for x in polynomial_losses(prompt, attention(a, prompt.x), DEPTHS)] for a in ACTIVATIONS}
    for row in logs.values():
        assert all(value > floor for value in row)
        assert all(b <= a + 1e-9 for a, b in pairwise(row))
    for i in (2, 3):
        assert min(logs, key=lambda a: logs[a][i]) == kernel


def test_linear_attention_on_linear_labels_falls_with_depth_as_known() -> None:
    _, prompt = draw("linear", 6_000)
    found = [math.log(x) for x in polynomial_losses(prompt, attention("linear", prompt.x), DEPTHS)]
    assert found == pytest.approx([-1.5, -3.7, -5.4, -6.8], abs=0.15)


@pytest.mark.parametrize(("n", "known"), [(14, [-0.1, -1.7, -2.8, -3.6]), (8, [-0.1, -1.1, -1.7, -2.1])])
def test_exponential_of_half_the_score_on_linear_labels_falls_as_known(n: int, known: list[float]) -> None:
    _, prompt = draw("linear", 6_000, n)
    found = polynomial_losses(prompt, attention("linear", prompt.x).div(2).exp(), DEPTHS)
    assert [math.log(x) for x in found] == pytest.approx(known, abs=0.15)


def test_softmax_covariance_has_the_eigenvalues_of_the_softmax() -> None:
    _, prompt = draw("softmax", 10)
    K = kernel_matrix("softmax", prompt.x)
    torch.testing.assert_close(K, K.mT, rtol=1e-14, atol=0)
    attended = torch.linalg.eigvals(attention("linear", prompt.x).softmax(-1)).real.sort(-1).values
    torch.testing.assert_close(torch.linalg.eigvalsh(K), attended, rtol=0, atol=1e-10)
    assert float(attended.min()) > 0


def test_comb_is_exponential_in_two_coordinates_and_linear_in_the_others() -> None:
    one = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 1.0, 0.5]]], dtype=torch.float64)
    expected = math.exp((0.5 - 2.0) / 2) + 3.0 + 2.0
    assert float(kernel_matrix("comb", one)[0, 0, 1]) == pytest.approx(expected, rel=1e-12)


def test_every_layer_may_have_a_step_of_its_own() -> None:
    _, prompt = draw("exp", 20)
    steps = (3.0, 0.5, 1.25)
    K = attention("exp", prompt.x) / 14
    alpha = torch.zeros(20, 14, 1, dtype=torch.float64)
    for step in steps:
        alpha = alpha + step * (prompt.y[:, :-1, None] - K[:, :-1, :-1] @ alpha)
    model = kernel_transformer(5, 3, ("exp",), step=steps).double()
    torch.testing.assert_close(model(prompt), (K[:, -1:, :-1] @ alpha)[:, 0, 0], rtol=1e-10, atol=1e-10)


def test_the_best_polynomial_bounds_what_constructed_layers_reach() -> None:
    _, prompt = draw("relu", 4_000)
    single, best = prompt.to(torch.float32), polynomial_losses(prompt, attention("relu", prompt.x), (3,))[0]
    losses = []
    for step in (1.0, 2.0, 3.0, 4.0):
        model = kernel_transformer(5, 3, ("relu",), step=step).requires_grad_(False)
        losses.append(float((model(single) - prompt.target).square().mean()))
    assert best <= min(losses) < 2 * best


def test_wrong_input_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="kernel must be one of"):
        GaussianProcessPrompt("tanh")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="d must be at least 3"):
        GaussianProcessPrompt("comb", d=2)
    with pytest.raises(ValueError, match="one for each of the 3 layers"):
        kernel_transformer(5, 3, step=(1.0, 2.0))
    with pytest.raises(ValueError, match="have no targets"):
        polynomial_losses(Prompt(torch.ones(1, 2, 1), torch.ones(1, 2)), torch.ones(1, 2, 2), (1,))
