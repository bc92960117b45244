"""The Lightning module: a molecular model, its loss and its optimiser."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from graphtf.models import BACKBONES, GraphModel
from graphtf.train.encodings import build_encoding


class MoleculeRegressor(pl.LightningModule):
    """Model trained for the mean absolute error of one number a molecule.

    Args:
        pe, pe_dim: encoding and its number of columns.
        model: options of the model.
        seed: of the weights. Models that differ in the encoding alone start with the same other weights.
        lr, weight_decay: of AdamW; `lr` is the peak of the one-cycle schedule.
        target_mean, target_std: mean and standard deviation of the training targets; the network predicts in units of
            them.
        data: what the module was trained on, for those who read the checkpoint.
        backbone: which model, a key of :data:`graphtf.models.BACKBONES`.
    """

    def __init__(
        self,
        pe: str,
        pe_dim: int,
        model: dict[str, Any],
        seed: int = 0,
        lr: float = 2e-3,
        weight_decay: float = 1e-5,
        target_mean: float = 0.0,
        target_std: float = 1.0,
        data: str = "embedded",
        backbone: str = "transformer",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.weight_decay = lr, weight_decay
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Any = BACKBONES[backbone]
            self.model: GraphModel = made(encoding=build_encoding(pe, pe_dim, seed), **model)
        self.register_buffer("target_mean", torch.tensor(float(target_mean)))
        self.register_buffer("target_std", torch.tensor(float(target_std)))
        self.target_mean: Tensor
        self.target_std: Tensor

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, data: Any) -> Tensor:
        """Predict `[num_graphs]` targets."""
        return self.model(data).squeeze(1) * self.target_std + self.target_mean

    def _mae(self, batch: Any) -> Tensor:
        return (self(batch) - batch.y.view(-1)).abs().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean absolute error in units of the targets' standard deviation."""
        mae = self._mae(batch)
        self.log("train_mae", mae.detach(), on_step=False, on_epoch=True, batch_size=batch.num_graphs, sync_dist=True)
        return mae / self.target_std

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the validation MAE."""
        self.log("val_mae", self._mae(batch), prog_bar=True, batch_size=batch.num_graphs, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW under a one-cycle schedule over the whole run."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.lr, total_steps=steps, pct_start=0.1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
