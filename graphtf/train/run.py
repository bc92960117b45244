"""One training run, from a configuration to a run folder."""

from __future__ import annotations

import logging
import os
import statistics
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch_geometric.data import Data

from graphtf.train.callbacks import EpochSeed, History
from graphtf.train.config import TrainConfig
from graphtf.train.data import MoleculeData, available_splits, load_graphs
from graphtf.train.evaluate import load_checkpoint, mean_absolute_error
from graphtf.train.files import write_json, write_yaml
from graphtf.train.plots import plot_curves
from graphtf.train.regressor import MoleculeRegressor


def train(config: TrainConfig, resume: bool = False) -> dict[str, Any]:
    """Train, keep the checkpoint with the best validation MAE, evaluate it.

    The run folder gets `config.yaml`, `best.ckpt`, `last.ckpt` (after every epoch), `logs` (CSV and TensorBoard), and
    at the end `curves.png` and `metrics.json`.

    Args:
        config: the options.
        resume: go on from `last.ckpt` of the run folder. A resumed run ends with the same numbers as one that was not
            interrupted; a finished one is not trained again.

    Returns:
        What `metrics.json` holds: `val_mae`, `test_mae` (`None` without test molecules), `num_parameters`,
        `seconds_per_epoch` (median), `epochs`, `best_epoch`, `seed`, `pe`. The MAEs are those of `best.ckpt`.

    Raises:
        ValueError: the data does not exist; the folder holds a run already; or there is none, or another one, to
            resume.
    """
    out = Path(config.out)
    splits = available_splits(config.data)
    main_process = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if main_process:
        finished = _prepare_folder(config, out, resume)
        if finished is not None:
            return finished
    torch.set_num_threads(config.threads)
    show = main_process and config.progress != "none"
    train_graphs, val_graphs = (_graphs(config, split, show) for split in ("train", "val"))
    targets = torch.cat([graph.y.view(-1) for graph in train_graphs]).double()
    module = MoleculeRegressor(
        config.pe,
        config.pe_dim or 0,
        {
            "channels": config.channels,
            "num_layers": config.layers,
            "heads": config.heads,
            "dropout": config.dropout,
            "norm": config.norm,
            "readout": config.readout,
        },
        config.seed,
        config.lr,
        config.weight_decay,
        float(targets.mean()),
        float(targets.std()) if len(targets) > 1 and float(targets.std()) > 0 else 1.0,
    )
    if show:
        print(
            f"{config.pe} encoding, {module.num_parameters:,} parameters, {len(train_graphs):,} training and "
            f"{len(val_graphs):,} validation molecules, run folder {out}",
            flush=True,
        )
    bar = config.progress == "bar" or (config.progress == "auto" and sys.stderr.isatty())
    history = History(lines=show and not bar)
    with _quiet():
        trainer = _trainer(config, out, history, bar and main_process)
        last = out / "last.ckpt"
        try:
            trainer.fit(
                module,
                datamodule=MoleculeData(config, train_graphs, val_graphs),
                ckpt_path=str(last) if resume and last.is_file() else None,
                weights_only=True,
            )
        except SystemExit as stop:  # what Lightning makes of Ctrl-C
            if trainer.interrupted:
                raise KeyboardInterrupt from stop
            raise
    if not trainer.is_global_zero:
        return {}
    best = load_checkpoint(out / "best.ckpt")
    test = _graphs(config, "test", show) if "test" in splits else None
    metrics = {
        "val_mae": mean_absolute_error(best, val_graphs),
        "test_mae": None if test is None else mean_absolute_error(best, test),
        "num_parameters": module.num_parameters,
        "seconds_per_epoch": statistics.median(row["seconds"] for row in history.epochs),
        "epochs": len(history.epochs),
        "best_epoch": int(min(history.epochs, key=lambda row: row["val_mae"])["epoch"]),
        "seed": config.seed,
        "pe": config.pe,
    }
    plot_curves(history.epochs, out / "curves.png", f"{config.pe} encoding, seed {config.seed}")
    write_json(out / "history.json", history.epochs)
    write_json(out / "metrics.json", metrics)
    return metrics


def _prepare_folder(config: TrainConfig, out: Path, resume: bool) -> dict[str, Any] | None:
    """Check and write `config.yaml`; the metrics if the run is finished already."""
    import json

    path = out / "config.yaml"
    if not resume:
        if path.exists():
            raise ValueError(
                f"{out} already holds a run; add --resume to go on with it, or choose another folder with --out"
            )
        write_yaml(path, config.to_dict())
        return None
    if not path.exists():
        raise ValueError(f"{out} holds no run to resume (no config.yaml); leave --resume out to start one")
    different = TrainConfig.load(path).differences(config)
    if different:
        raise ValueError(
            f"{out} holds a run with other options ({'; '.join(different)}); resume it with its own, or choose "
            "another folder"
        )
    metrics = out / "metrics.json"
    if metrics.exists():
        print(f"{out} is finished: nothing to resume", flush=True)
        return dict(json.loads(metrics.read_text(encoding="utf-8")))
    return None


def _graphs(config: TrainConfig, split: str, show: bool) -> list[Data]:
    subset = config.subset
    if subset is not None and split != "train":
        subset = max(1, subset // 10)
    graphs = load_graphs(config.data, split, config.pe, config.pe_dim or 0, config.root, subset, show)
    if not graphs:
        raise ValueError(f"the {split} split of {config.data!r} holds no molecule")
    return graphs


def _trainer(config: TrainConfig, out: Path, history: History, bar: bool) -> pl.Trainer:
    callbacks: list[pl.Callback] = [EpochSeed(config.seed), history]
    if config.patience:
        callbacks.append(EarlyStopping("val_mae", patience=config.patience, mode="min"))
    if bar:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    # Both after the whole epoch, so that a checkpoint is always between two epochs.
    callbacks += [
        ModelCheckpoint(
            out, "best", monitor="val_mae", mode="min", save_on_train_epoch_end=True, enable_version_counter=False
        ),
        ModelCheckpoint(out, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        max_epochs=config.epochs,
        gradient_clip_val=config.clip,
        callbacks=callbacks,
        logger=[CSVLogger(out, name="logs"), TensorBoardLogger(str(out), name="logs")],
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # the order of the molecules is a function of the epoch
        log_every_n_steps=50,
        deterministic="warn",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Lightning says about choices that are made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*does not have many workers",
                ".*Checkpoint directory .* exists and is not empty",
                ".*The number of training batches .* is smaller than the logging interval",
                ".*GPU available but not used",
                ".*isinstance\\(treespec, LeafSpec\\)",  # Lightning with torch 2.13
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
