"""Deterministic evaluation of a checkpoint or of exported weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphtf.train.data import available_splits, load_graphs, task_of
from graphtf.train.regressor import MoleculeRegressor
from graphtf.train.task import Task, metric_label
from graphtf.validate import check_positive_int
from graphtf.weights import load as load_weights
from graphtf.weights.named import load_state

BATCH_SIZE = 256


def load_checkpoint(path: str | Path) -> MoleculeRegressor:
    """The trained module in a checkpoint, on the CPU and in evaluation mode.

    Only tensors and plain containers are read (`weights_only=True`), never code.

    Args:
        path: a `best.ckpt` or `last.ckpt` of a run folder, or the `.safetensors` file of exported weights
            (:func:`graphtf.weights.path`).

    Raises:
        ValueError: there is no such file, or it is no checkpoint of graphtf.
        FileNotFoundError: weights lack one of their two files.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _from_weights(path)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}; give the best.ckpt of a run folder")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        module = MoleculeRegressor(**content["hyper_parameters"])
        module.load_state_dict(content["state_dict"])
    except Exception as error:  # whatever torch, pickle or the module raise on a file that is something else
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no checkpoint of this version of graphtf: {reason}") from error
    return module.eval()


def _from_weights(path: Path) -> MoleculeRegressor:
    weights = load_weights(path)
    try:
        module = MoleculeRegressor(**weights.info["model"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no model of this version of graphtf: {error}") from error
    load_state(module, weights.tensors, path)
    return module.eval()


@torch.no_grad()
def predict_graphs(module: MoleculeRegressor, graphs: list[Data]) -> Tensor:
    """Predictions `[len(graphs)]` in order, on the CPU and with one thread, so that the digits are always the same.

    Args:
        module: a trained module.
        graphs: graphs with the attributes that its encoding needs.
    """
    module = module.eval()
    with _one_thread():
        batches = [module(batch) for batch in DataLoader(graphs, batch_size=BATCH_SIZE)]
    return torch.cat(batches) if batches else torch.empty(0)


def evaluate(
    checkpoint: str | Path,
    data: str | None = None,
    split: str = "val",
    root: str | None = None,
    subset: int | None = None,
) -> dict[str, Any]:
    """The metric of a checkpoint on one split, by default the mean absolute error.

    Args:
        checkpoint: path of a checkpoint or of exported weights, see :func:`load_checkpoint`.
        data: `embedded`, `zinc` or a directory, see :class:`graphtf.train.TrainConfig`; `None` for what it was trained
            on.
        split: `train`, `val` or `test`.
        root: folder of cached data sets.
        subset: number of molecules, from the first on; `None` for all.

    Returns:
        `mae` (or the metric that the model was trained for), `num_graphs`, `split`, `data`. The same every time, to the
        last digit.

    Raises:
        ValueError: the checkpoint, the data or the split does not exist, the data has other targets or features, or
            `subset` is not positive.
    """
    if subset is not None:
        check_positive_int("subset", subset)
    module = load_checkpoint(checkpoint)
    data = _trained_on(module) if data is None else data
    _check_task(module.task, task_of(data), data)
    graphs = load_graphs(data, split, module.hparams["pe"], module.hparams["pe_dim"], root, subset)
    if not graphs:
        raise ValueError(
            f"the {split} split of {data} holds no molecule, so it has no {metric_label(module.task.metric)}"
        )
    score = module.task.score(predict_graphs(module, graphs), torch.cat([graph.y for graph in graphs]))
    return {module.task.metric: score, "num_graphs": len(graphs), "split": split, "data": data}


def _trained_on(module: MoleculeRegressor) -> str:
    data = str(module.hparams["data"])
    try:
        available_splits(data)
    except ValueError:
        if Path(data).is_dir():
            raise
        known, zinc = ("ZINC-12k", ", or --data zinc") if data == "zinc12k" else (repr(data), "")
        raise ValueError(
            f"the model was trained on the molecules of {known}, which are neither part of graphtf nor a folder here; "
            f"name data to evaluate it on by --data DIR (data=), a directory with train/val[/test].csv[.gz]{zinc}"
        ) from None
    return data


def _check_task(trained: Task, given: Task, data: str) -> None:
    if (trained.features, trained.targets) != (given.features, given.targets):
        raise ValueError(
            f"the model predicts {trained.targets} target(s) from the features of {trained.features}, but {data} has "
            f"{given.targets} with the features of {given.features}; evaluate it on data like that it was trained on"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
