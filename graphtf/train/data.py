"""Splits of molecules as lists of graphs, what is predicted for them, and their loaders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import torch
from torch.utils.data import Dataset, DistributedSampler
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from tqdm import tqdm

from graphtf.datasets import QM9, ZINC, CleanLeads, SMILESDataset, molecule_splits, ogb_molecules
from graphtf.datasets.ogb_molecules import SPLITS as OGB_SPLITS
from graphtf.datasets.ogb_molecules import is_ogb_name, ogb_evaluator, ogb_feature_sizes
from graphtf.datasets.qm9 import EDGE_TYPES, NODE_TYPES, qm9_categories, qm9_split, qm9_target
from graphtf.train.encodings import build_transform
from graphtf.train.task import Task

if TYPE_CHECKING:
    from graphtf.train.config import TrainConfig

SPLITS = ("train", "val", "test")


def cache_root(root: str | None) -> Path:
    """The folder of cached data sets: `root`, `$XDG_CACHE_HOME/graphtf` or `~/.cache/graphtf`."""
    if root is not None:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graphtf"


def available_splits(data: str) -> tuple[str, ...]:
    """The splits that `data` has, `test` being optional in a directory.

    Args:
        data: `embedded`, `zinc`, `ogbg-mol*`, `qm9`, `qm9:TARGET` (a number or a name), a directory, or
            `DIRECTORY:COLUMN` (of the targets, by default `y`).

    Raises:
        ValueError: `data` is none of these, or the directory has no `train` and `val`.
    """
    if data in ("embedded", "zinc"):
        return SPLITS
    if is_ogb_name(data):
        ogb_evaluator(data)  # raises if there is no such data set
        return SPLITS
    if _is_qm9(data):
        _qm9_column(data)
        return SPLITS
    folder, _ = _folder_and_column(data)
    return tuple(split for split in SPLITS if split in molecule_splits(folder))


def task_of(data: str) -> Task:
    """What is predicted for the graphs of `data`, see :func:`available_splits`.

    Example:
        >>> task_of("ogbg-moltox21").metric, task_of("ogbg-moltox21").targets
        ('rocauc', 12)
    """
    if is_ogb_name(data):
        evaluator, (node_types, edge_types) = ogb_evaluator(data), ogb_feature_sizes()
        return Task(evaluator.eval_metric, evaluator.num_tasks, node_types, edge_types, "ogb", data)
    if _is_qm9(data):
        return Task(node_types=NODE_TYPES, edge_types=EDGE_TYPES, features="qm9")
    return Task()


def _is_qm9(data: str) -> bool:
    return data.partition(":")[0] == "qm9" and not Path(data).is_dir()


def _qm9_column(data: str) -> int:
    return qm9_target(data.partition(":")[2] or "0")


def _folder_and_column(data: str) -> tuple[str, str]:
    if Path(data).is_dir():
        return data, "y"
    folder, _, column = data.rpartition(":")
    if not (folder and column and Path(folder).is_dir()):
        raise ValueError(
            "data must be 'embedded', 'zinc' or a directory with train/val[/test].csv[.gz] (perhaps with the column of "
            f"the targets, DIR:COLUMN), 'ogbg-mol...' or 'qm9:TARGET', but {data!r} is none"
        )
    return folder, column


def load_graphs(
    data: str,
    split: str,
    pe: str,
    pe_dim: int,
    root: str | None = None,
    subset: int | None = None,
    progress: bool = True,
) -> list[Data]:
    """The graphs of one split with the attributes that an encoding needs.

    Args:
        data: see :func:`available_splits`.
        split: `train`, `val` or `test`.
        pe: encoding.
        pe_dim: its number of columns.
        root: folder of cached data sets.
        subset: number of graphs to keep, from the first on.
        progress: show bars for what takes long.

    Returns:
        A list of graphs in the order of the split.

    Raises:
        ValueError: `data` is not known, or has no such split.
        FileNotFoundError: it cannot be downloaded.
    """
    splits = available_splits(data)
    if split not in splits:
        raise ValueError(f"{data!r} has no split {split!r}, only {', '.join(splits)}")
    dataset = _dataset(data, split, cache_root(root), progress)
    number = len(dataset) if subset is None else min(subset, len(dataset))
    transform = build_transform(pe, pe_dim)
    graphs = []
    hide = not progress or transform is None
    for i in tqdm(range(number), desc=f"{pe} encoding, {split}", unit="graph", leave=False, disable=hide):
        graph = dataset[i]
        if "smiles" in graph:
            del graph.smiles
        graphs.append(graph if transform is None else transform(graph))
    return graphs


def _dataset(data: str, split: str, cache: Path, progress: bool) -> Any:
    if data == "embedded":
        return CleanLeads(str(cache / "clean_leads"), split=split, progress=progress)
    if data == "zinc":
        return ZINC(str(cache / "zinc"), subset=True, split=split, progress=progress)
    if is_ogb_name(data):
        ogb = ogb_molecules(data, cache / "ogb")
        return ogb[ogb.get_idx_split()[OGB_SPLITS[split]]]
    if _is_qm9(data):
        target = _qm9_column(data)

        def chosen(graph: Data) -> Data:
            graph = qm9_categories(graph)
            graph.y = cast(torch.Tensor, graph.y)[:, target]
            return graph

        qm9 = QM9(str(cache / "qm9"), transform=chosen)
        return qm9[qm9_split(len(qm9))[split]]
    folder, column = _folder_and_column(data)
    table = molecule_splits(folder)[split]
    return SMILESDataset(str(cache / "smiles"), table, target_column=column, progress=progress)


class MoleculeData(pl.LightningDataModule):
    """Loaders of the training and validation molecules; the order depends on the seed and the epoch alone.

    Processes share one order: batch `b` of all of them together is batch `b` of one process with so many times the
    batch size. Where molecules do not divide evenly among processes, training sees a few of them twice.
    """

    def __init__(self, config: TrainConfig, train: list[Data], val: list[Data]) -> None:
        super().__init__()
        self.config, self.train, self.val = config, train, val

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, a share of them for every process; made anew for every epoch."""
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        return self._loader(self.train, shuffle=True, epoch=epoch)

    def val_dataloader(self) -> DataLoader:
        """Batches in order."""
        return self._loader(self.val, shuffle=False, epoch=0)

    def _loader(self, graphs: list[Data], shuffle: bool, epoch: int) -> DataLoader:
        size, rank = (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)
        config, dataset = self.config, cast(Dataset[Data], graphs)
        sampler: DistributedSampler[Data] = DistributedSampler(dataset, size, rank, shuffle=shuffle, seed=config.seed)
        # Lightning sets the epoch too, but in the first epoch of a resumed run after the first batch was drawn.
        sampler.set_epoch(epoch)
        return DataLoader(
            dataset,
            batch_size=config.batch_size,
            sampler=sampler,
            num_workers=config.workers,
            generator=torch.Generator(),  # of its own: iterators draw from it, and not equally often after a resume
        )
