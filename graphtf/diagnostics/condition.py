"""The diagonal of the Hessian, exact or estimated, and the robust condition number."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.diagnostics.objective import Loss, Objective
from graphtf.validate import check_choice, check_positive_int

METHODS = ("auto", "exact", "xdiag", "hutchinson")
EXACT = 1000  # largest number of trained numbers for which "auto" is exact
ROWS = 8  # rows of the Hessian at a time: more are slower, for they do not fit the cache


def hessian_diagonal(
    model: nn.Module, loss: Loss, batch: Any, method: str = "auto", num_products: int = 100, seed: int = 0
) -> Tensor:
    r"""The diagonal :math:`H_{ii}` of the Hessian of the loss on a batch.

    Args:
        model: any module, `N` trained numbers.
        loss: a scalar, from the model and a batch.
        batch: the batch.
        method: `"exact"`, `N` products with the Hessian; `"xdiag"` or `"hutchinson"`, estimates of `curvlinops`;
            `"auto"`: exact up to 1000 trained numbers, else `"xdiag"`.
        num_products: products with the Hessian that an estimate may take, even and less than `N`.
        seed: of the estimate's random vectors.

    Returns:
        `[N]` the diagonal, in the order of `model.parameters()`.

    Raises:
        TypeError, ValueError: an option is not as described, or see :class:`graphtf.diagnostics.Objective`.
        ImportError: an estimate needs curvlinops, which is not installed.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> hessian_diagonal(model, lambda model, x: 0.5 * model(x).square().sum(), torch.tensor([[1.0, 3.0]]))
        tensor([1., 9.])

    Reference: Epperly, Tropp, Webber, "XTrace: making the most of every sample in stochastic trace estimation",
    SIMAX 2024; Bekas, Kokiopoulou, Saad, "An estimator for the diagonal of a matrix", 2007.
    """
    check_choice("method", method, METHODS)
    check_positive_int("num_products", num_products)
    objective = Objective(model, loss)
    N = objective.num_trained
    if method == "auto":
        method = "exact" if N <= EXACT else "xdiag"
    if method == "exact":
        return objective.hessian_diagonal(batch, ROWS)
    if num_products % 2 or num_products >= N:
        raise ValueError(f"num_products must be even and less than the {N} trained numbers, but is {num_products}")
    start = objective.trained()
    estimate = getattr(_curvlinops(), {"xdiag": "xdiag", "hutchinson": "hutchinson_diag"}[method])
    hessian = _Hessian(objective, batch, start)
    with torch.random.fork_rng([start.device] if start.device.type == "cuda" else []):
        torch.manual_seed(seed)
        diagonal: Tensor = estimate(hessian, num_products)
    return diagonal


def robust_condition_number(
    model: nn.Module, loss: Loss, batch: Any, method: str = "auto", num_products: int = 100, seed: int = 0
) -> float:
    r"""Largest over median curvature along the coordinates, :math:`\max_i |H_{ii}| / \mathrm{median}_i |H_{ii}|`.

    The median is the lower one of an even number, as in torch and in published values. Numbers on which the loss does
    not depend count, with curvature 0.

    Args:
        model: any module.
        loss: a scalar, from the model and a batch.
        batch: the batch.
        method: see :func:`hessian_diagonal`, as for the other options.
        num_products: products with the Hessian that an estimate may take.
        seed: of the estimate's random vectors.

    Returns:
        The ratio, at least 1; `inf` where the median is 0.

    Raises:
        TypeError, ValueError, ImportError: see :func:`hessian_diagonal`; or the diagonal is 0.

    Example:
        >>> model = nn.Linear(3, 1, bias=False)
        >>> robust_condition_number(
        ...     model, lambda model, x: 0.5 * model(x).square().sum(), torch.tensor([[1.0, 3.0, 2.0]]))
        2.25

    Reference: Jiang, Malik, Li, "How does adaptive optimization impact local neural network geometry?", NeurIPS 2023.
    """
    curvature = hessian_diagonal(model, loss, batch, method, num_products, seed).abs()
    largest, middle = float(curvature.max()), float(curvature.median())
    if largest == 0:
        raise ValueError("the diagonal of the Hessian is 0: the loss has no curvature along any trained number")
    return largest / middle if middle else math.inf


class _Hessian:
    """What the estimators of curvlinops ask of an operator."""

    def __init__(self, objective: Objective, batch: Any, like: Tensor) -> None:
        self.shape = (objective.num_trained, objective.num_trained)
        self.device, self.dtype = like.device, like.dtype
        self.products = objective.hessian_products(batch)

    def __matmul__(self, vectors: Tensor) -> Tensor:
        return torch.cat([self.products(rows) for rows in vectors.T.split(ROWS)]).T

    def adjoint(self) -> _Hessian:
        return self


def _curvlinops() -> Any:
    try:
        return import_module("curvlinops")
    except ImportError as error:
        raise ImportError(
            "estimates of the Hessian's diagonal need curvlinops; install it with: pip install "
            '"graphtf[curvature]", or take method="exact"'
        ) from error
