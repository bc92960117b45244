"""What happens around an epoch: seeds, history, a line of progress."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim.swa_utils import update_bn

from graphtf.files import write_atomically
from graphtf.train.task import metric_label


class EpochSeed(pl.Callback):
    """Seed torch's generators from the seed and the number of the epoch.

    Dropout and random signs then depend on nothing that happened before, so that a run resumed after an epoch goes on
    as it would have without the break.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed for this epoch and process."""
        torch.manual_seed((self.seed * 1_000_003 + trainer.current_epoch) * 1009 + trainer.global_rank)


class ExactStatistics(pl.Callback):
    """Take the running statistics of batch normalisation anew, over the training data, before the last validation.

    In training they are averages over about 20 batches, whose noise alone moves a validation error of the last epoch,
    where the weights change no more. Afterwards they are averages over all batches, in `training` mode as before; no
    weight depends on them. It takes one pass without gradients.
    """

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass over the training data, if the last epoch has been trained."""
        last = trainer.state.fn == TrainerFn.FITTING and trainer.current_epoch + 1 == trainer.max_epochs
        if not last or trainer.sanity_checking:
            return
        kind = torch.nn.modules.batchnorm._BatchNorm
        norms = [module for module in pl_module.modules() if isinstance(module, kind) and module.track_running_stats]
        with torch.random.fork_rng(devices=[]):
            update_bn(cast(Iterable[Any], trainer.train_dataloader), pl_module, pl_module.device)
        if trainer.world_size > 1:  # every process has its share of the data
            for norm in norms:
                for statistics in (cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)):
                    statistics.copy_(trainer.strategy.reduce(statistics.clone(), reduce_op="mean"))


class History(pl.Callback):
    """Record every epoch in the checkpoint itself, and print it as a line if asked.

    Args:
        lines: print one line an epoch.
        train, val: the metrics to record, such as `val_mae`.
    """

    def __init__(self, lines: bool = False, train: str = "train_mae", val: str = "val_mae") -> None:
        self.lines, self.train, self.val = lines, train, val
        self.epochs: list[dict[str, float]] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it, after validation."""
        metrics = trainer.callback_metrics
        row = {
            "epoch": trainer.current_epoch + 1,
            self.train: float(metrics[self.train]),
            self.val: float(metrics[self.val]),
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "seconds": time.perf_counter() - self._start,
        }
        of_train, of_val = (metric_label(name.partition("_")[2]) for name in (self.train, self.val))
        if not (math.isfinite(row[self.train]) and math.isfinite(row[self.val])):
            raise RuntimeError(
                f"training diverged in epoch {row['epoch']} (training {of_train} {row[self.train]}, validation "
                f"{of_val} {row[self.val]}); use a smaller lr or clip, and look at the targets"
            )
        self.epochs.append(row)
        if self.lines and trainer.is_global_zero:
            print(
                f"epoch {row['epoch']:.0f}/{trainer.max_epochs}  train {of_train} {row[self.train]:.4f}  "
                f"val {of_val} {row[self.val]:.4f}  {row['seconds']:.1f} s",
                flush=True,
            )

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.epochs = list(state_dict["epochs"])


class FinalEarlyStopping(EarlyStopping):
    """Early stopping that stops a resumed run at once if it had stopped before."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the restored count."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class MovableCheckpoint(ModelCheckpoint):
    """Checkpoint that remembers the best one although its folder was moved or has another name here."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, with all paths in this folder."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        moved = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")}
        moved["dirpath"] = str(self.dirpath)
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": kept})


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there: written beside the file and renamed."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint to a local path."""
        write_atomically(path, lambda temporary: torch.save(checkpoint, temporary))
