"""Gaussian-process prompts, and which attention is best for which kernel."""

import math
from itertools import pairwise

import pytest
import torch

from graphtf.incontext import GaussianProcessPrompt, Prompt, kernel_transformer
from graphtf.incontext.gaussian_process import KERNELS, kernel_matrix, polynomial_losses

DEPTHS = (1, 3, 5, 7)


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
    logs = {a: [math.log(x) for x in polynomial_losses(prompt, attention(a, prompt.x), DEPTHS)] for a in KERNELS}
    for row in logs.values():
        assert all(value > floor for value in row)
        assert all(b <= a + 1e-9 for a, b in pairwise(row))
    for i in (2, 3):
        assert min(logs, key=lambda a: logs[a][i]) == kernel


def test_linear_attention_on_linear_labels_falls_with_depth_as_known() -> None:
    _, prompt = draw("linear", 6_000)
    found = [math.log(x) for x in polynomial_losses(prompt, attention("linear", prompt.x), DEPTHS)]
    assert found == pytest.approx([-1.5, -3.7, -5.4, -6.8], abs=0.15)


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
    with pytest.raises(ValueError, match="have no targets"):
        polynomial_losses(Prompt(torch.ones(1, 2, 1), torch.ones(1, 2)), torch.ones(1, 2, 2), (1,))
