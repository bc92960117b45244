"""The Lightning module: a molecular model, its loss and its optimiser."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor

from graphtf.models import BACKBONES, GraphModel
from graphtf.train.encodings import build_encoding
from graphtf.train.optimizer import one_cycle
from graphtf.train.task import Task
from graphtf.validate import check_choice

PRECISIONS = ("32-true", "bf16-mixed")
"""Lightning's words: single precision everywhere, or autocast to bfloat16 in training."""


class MoleculeRegressor(pl.LightningModule):
    """Model trained for the targets of molecules: one number or several, measured or classified.

    Args:
        pe, pe_dim: encoding and its number of columns.
        model: options of the model.
        seed: of the weights. Models that differ in the encoding alone start with the same other weights.
        lr, weight_decay: of the optimiser; `lr` is the peak of the one-cycle schedule.
        target_mean, target_std: mean and standard deviation of the training targets (lists for several targets); the
            network predicts in units of them.
        data: what the module was trained on, for those who read the checkpoint.
        backbone: which model, a key of :data:`graphtf.models.BACKBONES`.
        task: options of :class:`graphtf.train.task.Task`: targets, metric and features. By default the mean absolute
            error of one number, for molecules with the features of ZINC.
        pe_lr_scale: factor on the learning rate of the encoding's layers.
        optimizer: `"adamw"` or `"muon"`, see :func:`graphtf.train.optimizer.one_cycle`.
        precision: of training, one of :data:`PRECISIONS`.
    """

    def __init__(
        self,
        pe: str,
        pe_dim: int,
        model: dict[str, Any],
        seed: int = 0,
        lr: float = 2e-3,
        weight_decay: float = 1e-5,
        target_mean: float | list[float] = 0.0,
        target_std: float | list[float] = 1.0,
        data: str = "embedded",
        backbone: str = "transformer",
        task: dict[str, Any] | None = None,
        pe_lr_scale: float = 1.0,
        optimizer: str = "adamw",
        precision: str = "32-true",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.weight_decay, self.pe_lr_scale, self.optimizer_name = lr, weight_decay, pe_lr_scale, optimizer
        self.precision = check_choice("precision", precision, PRECISIONS)
        self.task = Task(**(task or {}))
        types: dict[str, Any] = {"node_types": self.task.node_types, "edge_types": self.task.edge_types}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Any = BACKBONES[backbone]
            encoding = build_encoding(pe, pe_dim, seed, **types)
            self.model: GraphModel = made(encoding=encoding, **types, out_channels=self.task.targets, **model)
        self.register_buffer("target_mean", torch.tensor(target_mean, dtype=torch.float))
        self.register_buffer("target_std", torch.tensor(target_std, dtype=torch.float))
        self.target_mean: Tensor
        self.target_std: Tensor
        self._seen: list[tuple[Tensor, Tensor]] = []

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, data: Any) -> Tensor:
        """Predict `[num_graphs]` targets (`[num_graphs, targets]` if they are several), classes before the sigmoid."""
        out = self.model(data)
        out = out.squeeze(1) if self.task.targets == 1 else out
        return out * self.target_std + self.target_mean

    def _both(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Predictions and targets, `[num_graphs, targets]`."""
        shape = (batch.num_graphs, self.task.targets)
        return self(batch).view(shape), batch.y.view(shape).to(self.target_std.dtype)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of the task: a mean over the targets that are there, in the batches of all processes together."""
        half = self.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():  # or that of a trainer
            both = self._both(batch)
        errors, count = self.task.errors(*both)
        mean = errors.detach().sum() / count.clamp(min=1)
        self.log(self.task.train_log, mean, on_step=False, on_epoch=True, batch_size=batch.num_graphs, sync_dist=True)
        if self.trainer.world_size > 1:  # where gradients are averaged, whatever the counts
            count = self.trainer.strategy.reduce(count.float(), reduce_op="mean")
        return (errors / self.task.unit(self.target_std)).sum() / count.clamp(min=1)

    def on_validation_epoch_start(self) -> None:
        """Forget earlier predictions."""
        self._seen = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Keep predictions and targets for the end of the epoch."""
        self._seen.append(self._both(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the metric over all validation molecules, each once, in their order."""
        both = torch.stack([torch.cat(column) for column in zip(*self._seen, strict=True)])  # [2, G, targets]
        self._seen = []
        if self.trainer.world_size > 1:
            # [processes, 2, G, targets]: process r has molecules r, r + processes, ...
            shares = cast(Tensor, self.all_gather(both))
            number = len(self.trainer.datamodule.val)  # type: ignore[attr-defined]
            both = shares.permute(1, 2, 0, 3).flatten(1, 2)[:, :number]
        score = self.task.score(both[0], both[1])
        self.log(f"val_{self.task.metric}", score, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimiser under a one-cycle schedule over the whole run."""
        steps = int(self.trainer.estimated_stepping_batches)
        output = list(self.model.head[-1].parameters())
        optimizer, schedule = one_cycle(
            self, self.lr, self.weight_decay, steps, self.pe_lr_scale, self.optimizer_name, output
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
