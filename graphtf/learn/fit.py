"""Training of small models on an endless stream of fresh batches, with Lightning: stopped and resumed at will."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from graphtf.files import write_atomically
from graphtf.quiet import global_settings_kept, quiet
from graphtf.validate import check_choice

SAVE = 200  # steps between checkpoints


@dataclass(frozen=True)
class Fit:
    """One model, and how it is trained.

    Args:
        name: of the files, unique within a folder.
        build: the model, from the seed.
        sample: a batch, from a generator.
        loss: a scalar, from the model and a batch.
        steps: number of steps.
        lr: peak learning rate.
        betas: of Adam. A second of 0.9 or 0.99, for gradients here change faster than 0.999 follows. The first is also
            the momentum of SGD.
        fresh: steps between new batches.
        clip: largest norm of the gradient; `None`: any.
        seed: of the weights and of the batches.
        options: whatever else decides the outcome, for the check that a checkpoint belongs to it.
        optimizer: `"adam"`, or `"sgd"` with momentum.
        schedule: of the learning rate: `"cosine"`, warm-up over 5 % and then a cosine to zero, or `"constant"`.
        callbacks: what measures while the model trains. Their states are kept with the model, and come back with it.
    """

    name: str
    build: Callable[[int], nn.Module]
    sample: Callable[[torch.Generator], Any]
    loss: Callable[[nn.Module, Any], Tensor]
    steps: int
    lr: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    fresh: int = 1
    clip: float | None = 1.0
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    optimizer: str = "adam"
    schedule: str = "cosine"
    callbacks: tuple[pl.Callback, ...] = ()

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, ("adam", "sgd"))
        check_choice("schedule", self.schedule, ("cosine", "constant"))

    def identity(self) -> str:
        """A word that differs where the outcome would."""
        parts = {k: getattr(self, k) for k in ("name", "steps", "lr", "betas", "fresh", "clip", "seed")}
        # Only where they differ from what there was before, so that models trained then are still known.
        later = {"optimizer": "adam", "schedule": "cosine"}
        parts |= {k: getattr(self, k) for k, default in later.items() if getattr(self, k) != default}
        if self.callbacks:
            parts["callbacks"] = [c.state_key for c in self.callbacks]
        text = json.dumps([parts, self.options], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit_name(name: str, seed: int) -> str:
    """Name of the files of a model, from what it is called in a table.

    Example:
        >>> fit_name("32 layers, memory", 0)
        '32-layers-memory-seed0'
    """
    return f"{name.replace(',', '').replace(' ', '-')}-seed{seed}"


class _Batches(IterableDataset[Any]):
    """Batches from step `first` on, each depending on the seed and its number alone."""

    def __init__(self, spec: Fit, first: int) -> None:
        self.spec, self.first = spec, first

    def __iter__(self) -> Iterator[Any]:
        batch = None
        for step in range(self.first, self.spec.steps):
            if batch is None or step % self.spec.fresh == 0:
                block = step // self.spec.fresh
                generator = torch.Generator().manual_seed(1_000_003 * (self.spec.seed + 1) + block)
                batch = self.spec.sample(generator)
            yield batch


class _Module(pl.LightningModule):
    def __init__(self, spec: Fit) -> None:
        super().__init__()
        self.spec, self.model = spec, spec.build(spec.seed)
        self.curve: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.spec.loss(self.model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{self.spec.name}: the loss is {value} in step {self.trainer.global_step + 1}; use a smaller lr"
            )
        self.curve.append(value)
        return loss

    def configure_optimizers(self) -> Any:
        spec, weights = self.spec, [p for p in self.parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer
        if spec.optimizer == "sgd":
            optimizer = torch.optim.SGD(weights, lr=spec.lr, momentum=spec.betas[0])
        else:
            optimizer = torch.optim.Adam(weights, lr=spec.lr, betas=spec.betas)
        if spec.schedule == "constant":
            return optimizer

        def factor(step: int) -> float:
            warm = max(1, spec.steps // 20)
            return min(1.0, (step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * step / spec.steps))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["identity"], checkpoint["curve"] = self.spec.identity(), self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curve = checkpoint["curve"]


class _Progress(pl.Callback):
    def __init__(self, done: Callable[[int], object]) -> None:
        self.done = done

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.done(1)


def fit(spec: Fit, folder: Path, done: Callable[[int], object] | None = None) -> tuple[nn.Module, list[float]]:
    """Train, or go on where it was stopped, or read what was trained before.

    Args:
        spec: the model and its training.
        folder: where `NAME.pt` (when it is done) and `NAME.ckpt` (meanwhile) lie.
        done: called with the number of steps done since the last call.

    Returns:
        the model, and the loss of every step.

    Raises:
        ValueError: the folder holds a model of that name which was trained otherwise.
        FloatingPointError: training diverged.
    """
    final, partial = folder / f"{spec.name}.pt", folder / f"{spec.name}.ckpt"
    module = _Module(spec)
    report = done or (lambda steps: None)
    if final.is_file():
        saved = torch.load(final, weights_only=True)
        _check(saved["identity"], spec, final)
        module.model.load_state_dict(saved["model"])
        for callback in spec.callbacks:
            callback.load_state_dict(saved["callbacks"][callback.state_key])
        report(spec.steps)
        return module.model.eval(), saved["curve"]
    first = 0
    if partial.is_file():
        saved = torch.load(partial, weights_only=True)
        _check(saved["identity"], spec, partial)
        first = int(saved["global_step"])
        report(first)
    folder.mkdir(parents=True, exist_ok=True)
    keep = ModelCheckpoint(folder, spec.name, every_n_train_steps=SAVE, save_top_k=1, enable_version_counter=False)
    with global_settings_kept(), quiet():
        torch.set_num_threads(1)  # tensors are tiny: more threads are slower
        trainer = pl.Trainer(
            max_steps=spec.steps, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
            enable_model_summary=False, gradient_clip_val=spec.clip, default_root_dir=folder, num_sanity_val_steps=0,
            callbacks=[*spec.callbacks, keep, _Progress(report)],
        )  # fmt: skip
        loader = DataLoader(_Batches(spec, first), batch_size=None)
        trainer.fit(module, loader, ckpt_path=partial if first else None, weights_only=True)
    if trainer.interrupted or trainer.global_step < spec.steps:
        raise KeyboardInterrupt
    if not all(bool(torch.isfinite(p).all()) for p in module.model.parameters()):
        raise FloatingPointError(
            f"{spec.name}: the last gradient was not finite, nor are the weights; use a smaller lr"
        )
    state = {"identity": spec.identity(), "model": module.model.state_dict(), "curve": module.curve}
    if spec.callbacks:
        state["callbacks"] = {c.state_key: c.state_dict() for c in spec.callbacks}
    write_atomically(final, lambda path: torch.save(state, path))
    partial.unlink(missing_ok=True)
    return module.model.eval(), module.curve


def _check(identity: str, spec: Fit, path: Path) -> None:
    if identity != spec.identity():
        raise ValueError(f"{path} was trained with other options; choose another --out, or remove the folder")
