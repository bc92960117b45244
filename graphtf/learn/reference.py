"""What a trained transformer is compared with: published values, constructed weights, the best fixed polynomial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphtf.constructions import (
    electric_flow,
    fast_inverse,
    heat_kernel,
    inverse_registers,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.layout import PaddedLayout
from graphtf.learn.models import operator_scale
from graphtf.learn.run import task_loss
from graphtf.learn.tasks import HEAT_TIME, NUM_NODES, Problem, Task

PUBLISHED: dict[str, dict[int, float]] = {
    "electric": {1: -0.96, 3: -1.40, 5: -2.74, 7: -4.63, 9: -5.43},
    "resistive": {1: -1.55, 3: -2.07, 5: -3.67, 7: -5.98, 9: -7.36},
    "heat": {},
    "eigenvectors": {9: math.log(1.9)},
}


def references(task: Task, layers: Sequence[int], problems: dict[str, Problem]) -> list[dict[str, Any]]:
    """Log-losses of everything that is not trained here.

    Args:
        task: the task.
        layers: depths.
        problems: test problems by topology.

    Returns:
        Rows with `name`, `layers`, `topology` and `log_loss`.
    """
    rows = []
    for depth in layers:
        if depth in PUBLISHED[task]:
            row = {"name": "published", "layers": depth, "topology": "skip-links"}
            rows.append({**row, "log_loss": PUBLISHED[task][depth]})
        fitted = None if task == "eigenvectors" else fit_polynomial(task, depth, problems["skip-links"])
        for topology, problem in problems.items():
            found = constructed(task, depth, problem)
            if fitted is not None:
                found["best polynomial"] = polynomial_loss(task, fitted, problem)
            for name, loss in found.items():
                log_loss = math.log(max(loss, 1e-30))
                rows.append({"name": name, "layers": depth, "topology": topology, "log_loss": log_loss})
    return rows


def constructed(task: Task, depth: int, problem: Problem) -> dict[str, float]:
    """Loss of the constructed weights at this depth, by the name of the construction."""
    graph = problem.graph.to(torch.float64)
    psi, target = problem.psi.double().flatten(0, 1), problem.target.double()

    def loss(answer: Tensor) -> float:
        return float(task_loss(task, answer.view_as(target)[None], target[None]))

    if task == "heat":
        bound = float(graph.lambda_bound().max())
        return {"heat kernel": loss(heat_kernel(depth, HEAT_TIME, bound)(graph, psi=psi))}
    scaled = graph.normalized("spectral")  # eigenvalues in [0, 1]: one step size for all, and the loss has no scale
    if task == "resistive":
        return {"gradient": loss(resistive_embedding(depth, 1.0)(scaled, psi=psi))}
    if task == "eigenvectors":
        answer = subspace_iteration(depth, 1.0)(scaled, phi=psi).view_as(target)
        return {"subspace iteration": loss(answer.flip(2))}
    squared = fast_inverse(depth)(scaled, **inverse_registers(scaled, 1.0, psi))
    return {"gradient": loss(electric_flow(depth, 1.0)(scaled, psi=psi)), "fast inverse": loss(squared)}


def _moments(task: Task, degree: int, problem: Problem) -> tuple[Tensor, Tensor]:
    r"""`[G, d + 1]` products of :math:`T_j(L) \psi` with the unit target, `[G, d + 1, d + 1]` with each other."""
    laplacian = PaddedLayout(problem.graph.to(torch.float64)).laplacian_blocks
    # Chebyshev polynomials on [0, 0.4 trace], where nearly all eigenvalues lie, keep the fit well conditioned.
    A = 5 * laplacian / operator_scale(task, laplacian) - torch.eye(NUM_NODES, dtype=torch.float64)
    psi = problem.psi.double()
    basis = [psi, A @ psi]
    for _ in range(degree - 1):
        basis.append(2 * A @ basis[-1] - basis[-2])
    flat = torch.stack(basis[: degree + 1], 1).flatten(2)
    target = problem.target.double().flatten(1)
    target = target / target.norm(dim=1, keepdim=True)
    return (flat @ target[..., None])[..., 0], flat @ flat.transpose(1, 2)


def fit_polynomial(task: Task, degree: int, problem: Problem) -> Tensor:
    """Coefficients of the polynomial in the scaled `L` with the least loss over these graphs.

    Least squares, then quasi-Newton descent of the loss itself, which is without scale in every graph.

    Args:
        task: the task.
        degree: degree, the depth of a transformer without attention between registers.
        problem: the graphs.

    Returns:
        `[degree + 1]` Chebyshev coefficients.
    """
    a, G = _moments(task, degree, problem)
    mean = G.mean(0)
    whiten = torch.linalg.inv(torch.linalg.cholesky(mean)).t()  # coordinates in which the mean of G is the identity
    z = (whiten.t() @ a.mean(0)).requires_grad_()  # the least squares solution
    white_a, white_G = a @ whiten, whiten.t() @ G @ whiten
    optimizer = torch.optim.LBFGS(
        [z], max_iter=300, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _normalized_loss(z, white_a, white_G)
        loss.backward()
        return loss

    optimizer.step(closure)
    return (whiten @ z).detach()


def polynomial_loss(task: Task, coefficients: Tensor, problem: Problem) -> float:
    """Loss of a polynomial given by its Chebyshev coefficients."""
    return float(_normalized_loss(coefficients, *_moments(task, len(coefficients) - 1, problem)))


def _normalized_loss(c: Tensor, a: Tensor, G: Tensor) -> Tensor:
    cosine = (a @ c) / torch.einsum("i,gij,j->g", c, G, c).sqrt()
    return (2 - 2 * cosine).mean()
