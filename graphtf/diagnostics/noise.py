"""Gradient noise: how far gradients of small batches are from that of a large one, and how heavy its tails are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.diagnostics.objective import Loss, Objective


def gradient_noise(model: nn.Module, loss: Loss, batches: Iterable[Any], full_batch: Any) -> Tensor:
    r"""Distances :math:`\lVert g_B - g \rVert_2` of gradients of batches `B` from the gradient `g` of a large batch.

    Args:
        model: any module.
        loss: a scalar, from the model and a batch, a mean over the batch.
        batches: the batches, one at a time.
        full_batch: a batch so large that its gradient stands for the mean, such as a hundred batches in one.

    Returns:
        `[number of batches]` distances.

    Raises:
        TypeError, ValueError: see :class:`graphtf.diagnostics.Objective`; or there is no batch.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> mean = lambda model, x: model(x).mean()  # whose gradient is the mean of x
        >>> gradient_noise(model, mean, [torch.tensor([[1.0]]), torch.tensor([[6.0]])], torch.tensor([[1.0], [5.0]]))
        tensor([2., 3.])

    Reference: Zhang et al., "Why are adaptive methods good for attention models?", NeurIPS 2020.
    """
    objective = Objective(model, loss)
    mean = objective.gradient(full_batch)
    noise = [(objective.gradient(batch) - mean).norm() for batch in batches]
    if not noise:
        raise ValueError("there are no batches; give at least one")
    return torch.stack(noise)


@dataclass(frozen=True)
class NoiseTails:
    """Mean and tails of a sample.

    Args:
        mean: its mean.
        skew: third standardised moment, 0 for a symmetric distribution.
        excess_kurtosis: fourth standardised moment less 3, 0 for a normal distribution.
        max_over_median: largest over median (the lower one of an even number, as in torch).
    """

    mean: float
    skew: float
    excess_kurtosis: float
    max_over_median: float


def noise_tails(noise: Tensor) -> NoiseTails:
    """Mean and tails of the gradient noise; moments are those of the sample, without corrections.

    Args:
        noise: `[k]` numbers that are not all the same, at least two.

    Raises:
        ValueError: they are not as described.

    Example:
        >>> noise_tails(torch.tensor([1.0, 1.0, 1.0, 5.0]))
        NoiseTails(mean=2.0, skew=1.15..., excess_kurtosis=-0.66..., max_over_median=5.0)
    """
    if noise.dim() != 1 or len(noise) < 2 or not bool(torch.isfinite(noise).all()):
        raise ValueError(f"noise must be [k] finite numbers, at least two, but is {list(noise.shape)}: {noise}")
    noise = noise.double()
    deviation = noise - noise.mean()
    variance = deviation.square().mean()
    if float(variance) == 0:
        raise ValueError(f"all {len(noise)} numbers are {float(noise[0])}; tails need different batches")
    return NoiseTails(
        mean=float(noise.mean()),
        skew=float(deviation.pow(3).mean() / variance.pow(1.5)),
        excess_kurtosis=float(deviation.pow(4).mean() / variance.square()) - 3,
        max_over_median=float(noise.max() / noise.median()),
    )
