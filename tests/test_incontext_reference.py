"""Prompts of regression, and the plain algorithms, against closed forms and scikit-learn."""

import numpy as np
import pytest
import torch

from graphtf import reference
from graphtf.incontext import InContextRegression, gradient_descent_transformer, one_layer_optimum
from graphtf.learn.incontext_tasks import second_moments

D, N = 5, 20
SKEWED = (1.0, 1.0, 0.5, 0.25, 1.0)


def test_one_layer_optimum_is_a_minimum() -> None:
    """The closed form: its loss is what is measured, and no nearby preconditioner is better on many prompts."""
    task = InContextRegression(D, N, spectrum=SKEWED, rotate=True, weights="identity")
    A, loss = one_layer_optimum(task.covariance, N)
    prompt = task.sample(60_000, torch.Generator().manual_seed(0), torch.float64)

    def measured(matrix: torch.Tensor) -> float:
        return float((gradient_descent_transformer([matrix])(prompt) - prompt.target).square().mean())

    assert measured(A) == pytest.approx(loss, rel=0.02)
    generator = torch.Generator().manual_seed(1)
    for change in 0.3 * torch.randn(4, D, D, generator=generator, dtype=torch.float64):
        assert measured(A + 0.2 * change) > measured(A)


def test_best_fixed_polynomial_is_what_gradient_descent_with_its_roots_attains() -> None:
    prompt = InContextRegression(D, N).sample(60_000, torch.Generator().manual_seed(0), torch.float64)
    S, b = second_moments(prompt)
    w = torch.linalg.solve(S, b)
    powers, v = [], w
    for _ in range(5):
        powers.append((v * prompt.x[:, -1]).sum(-1))
        v = (S @ v.unsqueeze(-1)).squeeze(-1)
    best = reference.best_fixed_polynomial(torch.stack(powers))
    for depth in range(1, 5):
        steps = [1 / root.real for root in best.roots[depth - 1]]
        assert max(abs(root.imag) for root in best.roots[depth - 1]) < 1e-8
        model = gradient_descent_transformer([s * torch.eye(D, dtype=torch.float64) for s in steps])
        loss = float((model(prompt) - prompt.target).square().mean())
        assert loss == pytest.approx(best.loss[depth - 1], rel=1e-6)
    # the published figures of this set-up, from other prompts
    np.testing.assert_allclose(np.log(best.loss), [0.13, -1.03, -2.03, -2.90], atol=0.1)


def test_shrinkage_tends_to_scikit_learns_lasso() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(25, 50, generator=generator, dtype=torch.float64)
    y = A[:, :4].sum(1)
    lasso = linear_model.Lasso(alpha=0.1, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(A.numpy(), y.numpy())
    expected = torch.from_numpy(lasso.coef_)
    ista = reference.ista(A, y, 0.1 * 25, 6_000)
    fista = reference.fista(A, y, 0.1 * 25, 1_000)
    torch.testing.assert_close(ista[-1], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(fista[-1], expected, atol=1e-6, rtol=0)
    objective = 0.5 * (ista @ A.T - y).square().sum(-1) + 2.5 * ista.abs().sum(-1)
    assert (objective.diff() <= 1e-9).all()


def test_covariances_follow_either_convention() -> None:
    eigenvalues = InContextRegression(D, N, spectrum=SKEWED, rotate=True).covariance
    scales = InContextRegression(D, N, spectrum=SKEWED, rotate=True, convention="scales").covariance
    assert float(torch.linalg.cond(eigenvalues)) == pytest.approx(4)
    assert float(torch.linalg.cond(scales)) == pytest.approx(16)
    x = (
        InContextRegression(D, N, spectrum=SKEWED, rotate=True, convention="scales")
        .sample(20_000, torch.Generator().manual_seed(0), torch.float64)
        .x.flatten(0, 1)
    )
    torch.testing.assert_close(x.T @ x / len(x), scales, atol=0.02, rtol=0)


def test_gamma_covariates_have_heavy_tails_and_their_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    heavy = InContextRegression(D, N, covariates="gamma", shape=0.1).sample(20_000, generator, torch.float64).x
    plain = InContextRegression(D, N, covariates="gamma", shape=D / 2).sample(20_000, generator, torch.float64).x
    for x in (heavy, plain):
        flat = x.flatten(0, 1)
        torch.testing.assert_close(flat.T @ flat / len(flat), torch.eye(D).double(), atol=0.06, rtol=0)

    def kurtosis(x: torch.Tensor) -> float:
        return float(x.pow(4).mean() / x.square().mean() ** 2)

    assert kurtosis(plain) == pytest.approx(3, abs=0.1)
    assert kurtosis(heavy) > 10
    sphere = InContextRegression(D, N, covariates="sphere").sample(10, generator, torch.float64).x
    torch.testing.assert_close(sphere.norm(dim=-1), torch.full((10, N + 1), D**0.5).double())
