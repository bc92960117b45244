"""One training run, from a configuration to a run folder."""

from __future__ import annotations

import json
import os
import statistics
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from filelock import FileLock, Timeout
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch_geometric.data import Data

from graphtf.files import write_json, write_yaml
from graphtf.quiet import global_settings_kept, quiet
from graphtf.train.callbacks import (
    AtomicCheckpointIO,
    EpochSeed,
    ExactStatistics,
    FinalEarlyStopping,
    History,
    MovableCheckpoint,
)
from graphtf.train.config import TrainConfig
from graphtf.train.data import MoleculeData, available_splits, cache_root, load_graphs, task_of
from graphtf.train.evaluate import load_checkpoint, predict_graphs
from graphtf.train.muon import check_muon
from graphtf.train.plots import plot_curves
from graphtf.train.regressor import MoleculeRegressor
from graphtf.train.release import pretrain_encoding
from graphtf.train.task import Task, target_statistics


def train(config: TrainConfig, resume: bool = False) -> dict[str, Any]:
    """Train, keep the checkpoint with the best validation metric, evaluate it.

    The run folder gets `config.yaml`, `best.ckpt`, `last.ckpt` (after every epoch), `logs` (CSV and TensorBoard), and
    at the end `curves.png`, `history.json` and `metrics.json`. Nothing is written before the data has been read and the
    model made.

    Args:
        config: the options.
        resume: go on from `last.ckpt` of the run folder. A resumed run ends with the same numbers as one that was not
            interrupted; a finished one is not trained again.

    Returns:
        What `metrics.json` holds: `val_mae`, `test_mae` (`None` without test molecules; other tasks have their metric
        in place of `mae`), `num_parameters`, `seconds_per_epoch` (median), `epochs`, `best_epoch`, `seed`, `pe`. The
        metrics are those of `best.ckpt`.

    Raises:
        ValueError: the data does not exist or is wrong; the folder holds a run already, or another process works in it;
            or there is none, or another one, to resume.
        RuntimeError: the loss became infinite or not a number.
        ImportError: this torch has no Muon, but it is asked for.
    """
    if config.optimizer == "muon":
        check_muon()
    out = Path(config.out)
    splits = available_splits(config.data)
    if int(os.environ.get("LOCAL_RANK", "0")):  # started by Lightning for another device: the first one has checked
        return _fit(config, out, splits, resume)
    finished = _check_folder(config, out, resume)
    if finished is not None:
        return finished
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".lock"
    try:
        with FileLock(lock).acquire(timeout=0):
            try:
                return _fit(config, out, splits, resume)
            finally:
                with suppress(PermissionError):  # Windows does not remove what is open
                    lock.unlink(missing_ok=True)
    except Timeout as error:
        raise ValueError(f"another process is at work in {out}; wait for it, or choose another folder") from error
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()


def _fit(config: TrainConfig, out: Path, splits: tuple[str, ...], resume: bool) -> dict[str, Any]:
    first_process = int(os.environ.get("LOCAL_RANK", "0")) == 0
    show = first_process and config.progress != "none"
    train_graphs, val_graphs = (_graphs(config, split, show) for split in ("train", "val"))
    task = task_of(config.data)
    module = _module(config, task, train_graphs)
    bar = first_process and (config.progress == "bar" or (config.progress == "auto" and sys.stderr.isatty()))
    history = History(lines=show and not bar, train=task.train_log, val=f"val_{task.metric}")
    checkpoint = out / "last.ckpt" if resume and (out / "last.ckpt").is_file() else None
    with global_settings_kept(), quiet():
        torch.set_num_threads(config.threads)
        if checkpoint is None:
            pretrain_encoding(module.model.encoding, config.pe, train_graphs, cache_root(config.root), bar)
        trainer = _trainer(config, task, out, history, bar)
        if first_process:
            write_yaml(out / "config.yaml", config.to_dict())
        if show:
            start = "the beginning" if checkpoint is None else str(checkpoint)
            print(
                f"{config.pe} encoding, {module.num_parameters:,} parameters, {len(train_graphs):,} training and "
                f"{len(val_graphs):,} validation molecules; run folder {out}, from {start}",
                flush=True,
            )
        try:
            trainer.fit(
                module,
                datamodule=MoleculeData(config, train_graphs, val_graphs),
                ckpt_path=None if checkpoint is None else str(checkpoint),
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
    name = f"val_{task.metric}"
    metrics = {
        name: _score(best, val_graphs),
        f"test_{task.metric}": None if test is None else _score(best, test),
        "num_parameters": module.num_parameters,
        "seconds_per_epoch": statistics.median(row["seconds"] for row in history.epochs),
        "epochs": len(history.epochs),
        "best_epoch": int((max if task.mode == "max" else min)(history.epochs, key=lambda row: row[name])["epoch"]),
        "seed": config.seed,
        "pe": config.pe,
    }
    plot_curves(history.epochs, out / "curves.png", f"{config.pe} encoding, seed {config.seed}", task)
    write_json(out / "history.json", history.epochs)
    write_json(out / "metrics.json", metrics)
    return metrics


def _score(module: MoleculeRegressor, graphs: list[Data]) -> float:
    return module.task.score(predict_graphs(module, graphs), torch.cat([graph.y for graph in graphs]))


def _check_folder(config: TrainConfig, out: Path, resume: bool) -> dict[str, Any] | None:
    """Whether the run may go into this folder; the metrics if it is finished already."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"the run folder {out} is a file; choose another with --out")
    path, last, metrics = (out / name for name in ("config.yaml", "last.ckpt", "metrics.json"))
    started = path.exists() and (last.exists() or metrics.exists())
    if not resume:
        if started:
            raise ValueError(
                f"{out} already holds a run; add --resume to go on with it, or choose another folder with --out"
            )
        return None
    if not path.exists():
        raise ValueError(f"{out} holds no run to resume (no config.yaml); leave --resume out to start one")
    if not started:
        return None
    different = TrainConfig.load(path).differences(config)
    if different:
        raise ValueError(
            f"{out} holds a run with other options ({'; '.join(different)}); resume it with its own (graphtf train "
            f"--out {out} --resume), or choose another folder"
        )
    if metrics.exists():
        print(f"{out} is finished: nothing to resume", flush=True)
        return dict(json.loads(metrics.read_text(encoding="utf-8")))
    try:
        torch.load(last, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{last} is damaged ({reason}); remove it to start the run from the beginning") from error
    return None


def _module(config: TrainConfig, task: Task, graphs: list[Data]) -> MoleculeRegressor:
    mean, std = target_statistics(task, torch.cat([graph.y for graph in graphs]))
    model: dict[str, Any] = {
        "channels": config.channels,
        "num_layers": config.layers,
        "dropout": config.dropout,
        "norm": config.norm,
        "readout": config.readout,
    }
    if config.model != "gine":  # which has no attention
        model["heads"] = config.heads
    if config.attention_dropout:
        model["attention_dropout"] = config.attention_dropout
    if config.attention_bias:
        model["attention_bias"] = True
    return MoleculeRegressor(
        config.pe,
        config.pe_dim or 0,
        model,
        config.seed,
        config.lr,
        config.weight_decay,
        mean,
        std,
        config.data,
        config.model,
        task.to_dict(),
        config.pe_lr_scale,
        config.optimizer,
        config.precision,
    )


def _graphs(config: TrainConfig, split: str, show: bool) -> list[Data]:
    subset = config.subset
    if subset is not None and split != "train":
        subset = max(1, subset // 10)
    graphs = load_graphs(config.data, split, config.pe, config.pe_dim or 0, config.root, subset, show)
    if not graphs:
        raise ValueError(f"the {split} split of {config.data!r} holds no molecule")
    return graphs


def _trainer(config: TrainConfig, task: Task, out: Path, history: History, bar: bool) -> pl.Trainer:
    best: dict[str, Any] = {"monitor": f"val_{task.metric}", "mode": task.mode}
    callbacks: list[pl.Callback] = [EpochSeed(config.seed), ExactStatistics(), history]
    if config.patience:
        callbacks.append(FinalEarlyStopping(patience=config.patience, **best))
    if bar:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    # After the whole epoch, so that a checkpoint is always between two epochs.
    when: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    callbacks += [
        MovableCheckpoint(out, "best", **best, **when),
        MovableCheckpoint(out, "last", **when),
    ]
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=config.strategy,
            max_epochs=config.epochs,
            gradient_clip_val=config.clip,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            logger=[CSVLogger(out / "logs", name="csv"), TensorBoardLogger(str(out / "logs"), name="tensorboard")],
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,  # the order of the molecules is a function of the epoch
            log_every_n_steps=50,
            deterministic="warn",
        )
    except (MisconfigurationException, ValueError) as error:
        raise ValueError(
            f"Lightning has no trainer for accelerator={config.accelerator!r}, devices={config.devices}, "
            f"strategy={config.strategy!r}: {str(error).splitlines()[0]}"
        ) from error
