import math

import pytest
import torch

from graphtf.learn import LearnConfig, sample_problem
from graphtf.learn.models import forward, initial_weights, model_input
from graphtf.learn.run import Trainer, task_loss
from graphtf.learn.symmetry import average_over_edges
from graphtf.learn.tasks import MAX_EDGES


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reordering(width, seed=0):
    """A signed permutation of the edge columns that leaves the registers alone."""
    g = generator(seed)
    S = torch.eye(width, dtype=torch.float64)
    sign = 2.0 * torch.randint(2, (MAX_EDGES,), generator=g) - 1
    S[:MAX_EDGES, :MAX_EDGES] = torch.eye(MAX_EDGES)[torch.randperm(MAX_EDGES, generator=g)] * sign
    return S


def gradients(weights, operator, registers, target):
    weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    loss = task_loss("eigenvectors", forward("literal", "eigenvectors", weights, operator, registers), target)
    return dict(zip(weights, torch.autograd.grad(loss.sum(), list(weights.values())), strict=True))


@pytest.fixture
def problem():
    return sample_problem("eigenvectors", "skip-links", 6, generator(), torch.float64)


def test_the_average_is_the_projection_on_what_reordering_leaves_alone():
    M = torch.randn(3, 40, 40, generator=generator(), dtype=torch.float64)
    average = average_over_edges(M)
    for seed in range(5):
        S = reordering(40, seed)
        torch.testing.assert_close(S @ average @ S.t(), average)
        torch.testing.assert_close(average_over_edges(S @ M @ S.t()), average)
    torch.testing.assert_close(average_over_edges(average), average)
    assert torch.equal(average[..., MAX_EDGES:, MAX_EDGES:], M[..., MAX_EDGES:, MAX_EDGES:])


def test_the_start_is_left_alone_by_the_average():
    for weight in initial_weights("literal", "eigenvectors", 3, seed=0).values():
        torch.testing.assert_close(average_over_edges(weight), weight)


def test_reordered_graphs_have_the_conjugate_gradient_and_so_the_same_average(problem):
    weights = {name: w.double() for name, w in initial_weights("literal", "eigenvectors", 3, seed=0).items()}
    operator, registers = model_input("literal", "eigenvectors", problem)
    S = reordering(40)
    before = gradients(weights, operator[None], registers[None], problem.target[None])
    turned = operator @ S[:MAX_EDGES, :MAX_EDGES]
    after = gradients(weights, turned[None], registers[None], problem.target[None])
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], S.t() @ gradient @ S)
        torch.testing.assert_close(average_over_edges(after[name]), average_over_edges(gradient))
        assert (gradient - average_over_edges(gradient)).norm() > 1e-3 * gradient.norm()


def test_the_literal_transformer_learns_eigenvectors_and_answers_whatever_the_order_of_edges(tmp_path, problem):
    config = LearnConfig("eigenvectors", (3,), ("literal",), (0,), {"literal": 120}, graphs=60)
    trainer = Trainer(config, "literal", 3, tmp_path)
    list(trainer.run())
    held_out = sample_problem("eigenvectors", "skip-links", 300, generator(9), torch.float64)
    loss = trainer.test({"skip-links": held_out})["skip-links"][0]
    assert math.log(loss) < 2.3  # 2.4 without the average of the gradients, 2.7 untrained
    weights = {name: weight.detach().double() for name, weight in trainer.weights.items()}
    operator, registers = model_input("literal", "eigenvectors", problem)
    answers = [
        forward("literal", "eigenvectors", weights, B[None], registers[None])
        for B in (operator, operator @ reordering(40)[:MAX_EDGES, :MAX_EDGES])
    ]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-6, atol=1e-6)
