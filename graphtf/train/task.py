"""What a model is trained for: the targets, the loss, the metric, and the features of the graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from graphtf.datasets.ogb_molecules import ogb_evaluator
from graphtf.validate import check_choice, check_positive_int

METRICS = ("mae", "rmse", "rocauc", "ap")
_LABELS = {"mae": "MAE", "rmse": "RMSE", "rocauc": "ROC-AUC", "ap": "AP"}


@dataclass(frozen=True)
class Task:
    r"""Targets of graphs, of which some may be missing (not a number), and how their predictions are judged.

    The loss is a mean over all targets `y` that are there, of predictions `p`, in units of the targets' standard
    deviation :math:`\sigma`:

    .. math:: |p - y| / \sigma \;(\mathrm{mae}), \qquad (p - y)^2 / \sigma^2 \;(\mathrm{rmse}), \qquad
              -y \log s(p) - (1 - y) \log(1 - s(p)), \; s = \mathrm{sigmoid} \;(\mathrm{rocauc}, \mathrm{ap}).

    Args:
        metric: `"mae"` or `"rmse"` (regression), `"rocauc"` or `"ap"` (targets are 0 or 1).
        targets: numbers to predict for a graph.
        node_types, edge_types: numbers of values of the graphs' features, see :class:`graphtf.models.GraphTransformer`.
        features: `"zinc"`, `"ogb"` or `"qm9"`, what the features are.
        evaluator: name of the OGB data set whose evaluator computes the metric; needed for all but `"mae"`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> task = Task(targets=2)
        >>> target = torch.tensor([[1.0, float("nan")], [3.0, 5.0]])
        >>> task.score(torch.zeros(2, 2), target)
        3.0
    """

    metric: str = "mae"
    targets: int = 1
    node_types: int | Sequence[int] = 28
    edge_types: int | Sequence[int] = 4
    features: str = "zinc"
    evaluator: str | None = None

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, METRICS)
        check_positive_int("targets", self.targets)
        check_choice("features", self.features, ("zinc", "ogb", "qm9"))
        if self.metric != "mae" and self.evaluator is None:
            raise ValueError(f"metric={self.metric!r} is computed by OGB; give the name of its data set as evaluator")

    @property
    def classification(self) -> bool:
        """Whether the targets are 0 or 1."""
        return self.metric in ("rocauc", "ap")

    @property
    def mode(self) -> str:
        """`"min"` if a smaller metric is better, else `"max"`."""
        return "max" if self.classification else "min"

    @property
    def train_log(self) -> str:
        """What is recorded of the training batches: the metric where it is a mean over graphs, else the loss."""
        return "train_mae" if self.metric == "mae" else "train_loss"

    def errors(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Errors of predictions without the unit `sigma`, zero where the target is missing.

        Args:
            predicted: `[G, targets]`, before the sigmoid.
            target: `[G, targets]`, not a number where it is missing.

        Returns:
            the errors `[G, targets]`, and how many targets are there.
        """
        there = ~target.isnan()
        target = torch.where(there, target, 0.0)  # a NaN would reach the gradient through the mask
        if self.classification:
            error = binary_cross_entropy_with_logits(predicted, target, reduction="none")
        else:
            error = (predicted - target).abs() if self.metric == "mae" else (predicted - target) ** 2
        return torch.where(there, error, 0.0), there.sum()

    def unit(self, std: Tensor) -> Tensor:
        """What errors are divided by in the loss."""
        if self.classification:
            return torch.ones_like(std)
        return std if self.metric == "mae" else std**2

    def score(self, predicted: Tensor, target: Tensor) -> float:
        """The metric, in double precision.

        Args:
            predicted: `[G, targets]` or, for one target, `[G]`.
            target: as many.

        Raises:
            ValueError: it is not defined, since there is no target, or none with both labels.
        """
        predicted, target = (x.detach().cpu().double().view(-1, self.targets) for x in (predicted, target))
        if self.evaluator is None:
            error, count = self.errors(predicted, target)
            if not count:
                raise ValueError("no molecule has a target, so there is no mean absolute error; look at the data")
            return math.fsum(error.flatten().tolist()) / int(count)
        try:
            result = ogb_evaluator(self.evaluator).eval({"y_true": target.numpy(), "y_pred": predicted.numpy()})
        except RuntimeError as error:
            raise ValueError(
                f"{self.metric} is not defined for these {len(target)} molecules ({error}); use more of them"
            ) from error
        return float(result[self.metric])

    def to_dict(self) -> dict[str, Any]:
        """All options as a plain dictionary."""
        return asdict(self)


def metric_label(metric: str) -> str:
    """How a metric is written in print.

    Example:
        >>> metric_label("mae")
        'MAE'
    """
    return _LABELS.get(metric, metric)


def target_statistics(task: Task, targets: Tensor) -> tuple[Any, Any]:
    """Mean and standard deviation of every target over the molecules that have it: numbers, or lists of numbers.

    They are 0 and 1 for classification, and the deviation is 1 for a target that does not vary.

    Example:
        >>> target_statistics(Task(), torch.tensor([1.0, 3.0, float("nan")]))
        (2.0, 1.4142135623730951)
    """
    means, deviations = [], []
    for column in targets.double().view(-1, task.targets).T:
        column = column[~column.isnan()]
        mean, deviation = float(column.mean()) if len(column) else 0.0, 0.0
        if len(column) > 1:
            deviation = float(column.std())
        if task.classification:
            mean, deviation = 0.0, 1.0
        means.append(mean)
        deviations.append(deviation if deviation > 0 else 1.0)
    return (means[0], deviations[0]) if task.targets == 1 else (means, deviations)
