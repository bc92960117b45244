"""The gap between optimizers: losses on a fixed batch of one model that several optimizers train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from graphtf.diagnostics.objective import Loss, Objective
from graphtf.validate import check_positive_int


def optimizer_gap(
    model: nn.Module,
    loss: Loss,
    batches: Iterable[Any],
    test_batch: Any,
    optimizers: Mapping[str, Callable[[list[nn.Parameter]], Optimizer]],
    every: int = 1,
    clip: float | None = None,
) -> dict[str, list[float]]:
    """Train copies of a model on the same batches, an optimizer each, and test them on a fixed batch.

    Args:
        model: any module; it stays as it is.
        loss: a scalar, from the model and a batch.
        batches: the training batches, one a step.
        test_batch: the fixed batch.
        optimizers: by name, an optimizer from the list of trained parameters.
        every: steps between tests, the first before training.
        clip: largest norm of the gradient; `None`: any.

    Returns:
        by name, the losses on the fixed batch before training and after every `every` steps.

    Raises:
        TypeError, ValueError: see :class:`graphtf.diagnostics.Objective`; or there is no optimizer.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.ones_(model.weight)
        >>> x = torch.tensor([[0.01, 0.0], [0.0, 1.0]])  # curvatures 1e-4 and 1
        >>> losses = optimizer_gap(
        ...     model, lambda model, x: model(x).square().mean(), [x] * 200, x,
        ...     {"SGD": lambda p: torch.optim.SGD(p, 0.9), "Adam": lambda p: torch.optim.Adam(p, 0.05)}, every=100)
        >>> [len(curve) for curve in losses.values()], losses["SGD"][-1] > 5 * losses["Adam"][-1]
        ([3, 3], True)

    Reference: Ahn et al., "Linear attention is (maybe) all you need (to understand transformer optimization)", ICLR
    2024.
    """
    check_positive_int("every", every)
    if not optimizers:
        raise ValueError("there are no optimizers; give at least one, by name")
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive, or None, but is {clip}")
    runs = {}
    for name, build in optimizers.items():
        copy = deepcopy(model)
        parameters = [p for p in copy.parameters() if p.requires_grad]
        runs[name] = (copy, Objective(copy, loss), parameters, build(parameters))
    curves = {name: [objective.value(test_batch)] for name, (_, objective, _, _) in runs.items()}
    for step, batch in enumerate(batches, 1):  # side by side, so that the batches are drawn once
        for name, (copy, objective, parameters, optimizer) in runs.items():
            optimizer.zero_grad()
            loss(copy, batch).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
            if step % every == 0:
                curves[name].append(objective.value(test_batch))
    return curves
