"""Deterministic evaluation of a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphtf.train.data import load_graphs
from graphtf.train.regressor import MoleculeRegressor
from graphtf.validate import check_positive_int

BATCH_SIZE = 256


def load_checkpoint(path: str | Path) -> MoleculeRegressor:
    """The trained module in a checkpoint, on the CPU and in evaluation mode.

    Only tensors and plain containers are read (`weights_only=True`), never code.

    Args:
        path: a `best.ckpt` or `last.ckpt` of a run folder.

    Raises:
        ValueError: there is no such file, or it is no checkpoint of graphtf.
    """
    path = Path(path)
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


def mean_absolute_error(module: MoleculeRegressor, graphs: list[Data]) -> float:
    """Mean absolute error over graphs with a target `y`, summed in double precision.

    Raises:
        ValueError: there is no graph.
    """
    if not graphs:
        raise ValueError("the split holds no molecule, so it has no mean absolute error")
    predicted = predict_graphs(module, graphs).double()
    target = torch.cat([graph.y.view(-1) for graph in graphs]).double()
    return math.fsum((predicted - target).abs().tolist()) / len(graphs)


def evaluate(
    checkpoint: str | Path,
    data: str | None = None,
    split: str = "val",
    root: str | None = None,
    subset: int | None = None,
) -> dict[str, Any]:
    """Mean absolute error of a checkpoint on one split.

    Args:
        checkpoint: path of a checkpoint.
        data: `embedded`, `zinc` or a directory, see :class:`graphtf.train.TrainConfig`; `None` for what it was trained
            on.
        split: `train`, `val` or `test`.
        root: folder of cached data sets.
        subset: number of molecules, from the first on; `None` for all.

    Returns:
        `mae`, `num_graphs`, `split`, `data`. The same every time, to the last digit.

    Raises:
        ValueError: the checkpoint, the data or the split does not exist, or `subset` is not positive.
    """
    if subset is not None:
        check_positive_int("subset", subset)
    module = load_checkpoint(checkpoint)
    data = module.hparams["data"] if data is None else data
    graphs = load_graphs(data, split, module.hparams["pe"], module.hparams["pe_dim"], root, subset)
    return {"mae": mean_absolute_error(module, graphs), "num_graphs": len(graphs), "split": split, "data": data}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
