"""The diagnostics while a Lightning module trains, on a fixed batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from graphtf.diagnostics.condition import robust_condition_number
from graphtf.diagnostics.noise import gradient_noise, noise_tails
from graphtf.diagnostics.objective import Loss, Objective
from graphtf.diagnostics.smoothness import directional_smoothness
from graphtf.validate import check_positive_int

MEASURES = ("loss", "condition", "smoothness", "noise")


class DiagnosticsCallback(pl.Callback):
    """Measures a module before training and after every `every` steps, for the logger and for `history`.

    A row of `history` holds the `step` and, by measure:

    - `"loss"`: `loss` on the fixed batch;
    - `"condition"`: `condition`, see :func:`graphtf.diagnostics.robust_condition_number`;
    - `"smoothness"`: `curvature` along the last update and `gradient_norm`, see
      :func:`graphtf.diagnostics.directional_smoothness`; not before training, and not after an update of length 0;
    - `"noise"`: `noise_mean`, `noise_skew`, `noise_excess_kurtosis`, `noise_max_over_median`, see
      :func:`graphtf.diagnostics.noise_tails`.

    The history is part of Lightning's checkpoints, so that a resumed training goes on with it. Training itself is not
    changed: not its weights, gradients, buffers or random numbers.

    Args:
        loss: a scalar, from the Lightning module and a batch.
        batch: the fixed batch; with `"noise"` one so large that its gradient stands for the mean.
        every: steps between measurements.
        measures: which of them.
        noise_batches: the batches of `"noise"`.
        method: of the Hessian's diagonal, see :func:`graphtf.diagnostics.hessian_diagonal`.
        name: what names in the logger start with; two of these callbacks in a trainer need different names.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> import torch
        >>> callback = DiagnosticsCallback(lambda module, x: module(x).square().mean(), torch.ones(4, 1), every=2)
        >>> class Line(pl.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.line = torch.nn.Linear(1, 1)
        ...     def forward(self, x):
        ...         return self.line(x)
        ...     def training_step(self, x):
        ...         return self(x).square().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), 0.1)
        >>> from graphtf.quiet import quiet
        >>> with quiet():
        ...     trainer = pl.Trainer(max_steps=4, callbacks=[callback], accelerator="cpu", logger=False,
        ...         enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
        ...     trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(16, 1)))
        >>> [row["step"] for row in callback.history], callback.history[2]["loss"] < callback.history[0]["loss"]
        ([0, 2, 4], True)
    """

    def __init__(
        self,
        loss: Loss,
        batch: Any,
        every: int = 250,
        measures: Sequence[str] = ("loss", "condition", "smoothness"),
        noise_batches: Sequence[Any] = (),
        method: str = "auto",
        name: str = "diagnostics",
    ) -> None:
        wrong = [m for m in measures if m not in MEASURES]
        if wrong or not measures or isinstance(measures, str):
            raise ValueError(f"measures must be some of {', '.join(map(repr, MEASURES))}, but are {measures!r}")
        if ("noise" in measures) != bool(len(noise_batches)):
            raise ValueError(f"'noise' needs noise_batches, and nothing else does; there are {len(noise_batches)}")
        self.loss, self.batch, self.every = loss, batch, check_positive_int("every", every)
        self.measures, self.noise_batches, self.method, self.name = tuple(measures), noise_batches, method, name
        self.history: list[dict[str, float]] = []
        self._before: list[Tensor] | None = None
        self._seen = 0

    @property
    def state_key(self) -> str:
        """What the history is called in a checkpoint."""
        return f"{type(self).__qualname__}({self.name})"

    def state_dict(self) -> dict[str, Any]:
        """The history."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a history."""
        self.history = list(state_dict["history"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure before the first step."""
        self.batch, self.noise_batches = trainer.strategy.batch_to_device((self.batch, self.noise_batches))
        self._seen = trainer.global_step
        if trainer.global_step == 0:
            self.history = []
            self._measure(trainer, pl_module, None)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the weights before the step whose update is looked at."""
        if "smoothness" in self.measures and (trainer.global_step + 1) % self.every == 0:
            self._before = [p.detach().clone() for p in pl_module.parameters() if p.requires_grad]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure after every `every` steps; batches whose gradients are only accumulated are none."""
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        if trainer.global_step % self.every == 0:
            update = None
            if self._before is not None:
                after = [p.detach() for p in pl_module.parameters() if p.requires_grad]
                update = [b - a for a, b in zip(self._before, after, strict=True)]
            self._measure(trainer, pl_module, update)
            self._before = None

    def _measure(self, trainer: pl.Trainer, module: pl.LightningModule, update: list[Tensor] | None) -> None:
        row: dict[str, float] = {}
        if "loss" in self.measures:
            row["loss"] = Objective(module, self.loss).value(self.batch)
        if "condition" in self.measures:
            row["condition"] = robust_condition_number(module, self.loss, self.batch, self.method)
        if update is not None and any(bool(part.any()) for part in update):
            found = directional_smoothness(module, self.loss, self.batch, update)
            row |= {"curvature": found.curvature, "gradient_norm": found.gradient_norm}
        if "noise" in self.measures:
            tails = vars(noise_tails(gradient_noise(module, self.loss, self.noise_batches, self.batch)))
            row |= {f"noise_{name}": value for name, value in tails.items()}
        for logger in trainer.loggers:
            finite = {f"{self.name}/{name}": value for name, value in row.items() if math.isfinite(value)}
            logger.log_metrics(finite, step=trainer.global_step)
        self.history.append({"step": trainer.global_step, **row})
