"""Splits of molecules as lists of graphs, and their loaders."""

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

from graphtf.datasets import ZINC, CleanLeads, SMILESDataset, molecule_splits
from graphtf.train.encodings import build_transform

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

    Raises:
        ValueError: `data` is neither `embedded` nor `zinc` nor a directory with `train` and `val`.
    """
    if data in ("embedded", "zinc"):
        return SPLITS
    if not Path(data).is_dir():
        raise ValueError(
            f"data must be 'embedded', 'zinc' or a directory with train/val[/test].csv[.gz], but {data!r} is none"
        )
    return tuple(split for split in SPLITS if split in molecule_splits(data))


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
        data: `embedded`, `zinc` or a directory, see :class:`graphtf.train.TrainConfig`.
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
    """
    splits = available_splits(data)
    if split not in splits:
        raise ValueError(f"{data!r} has no split {split!r}, only {', '.join(splits)}")
    cache = cache_root(root)
    dataset: Any
    if data == "embedded":
        dataset = CleanLeads(str(cache / "clean_leads"), split=split, progress=progress)
    elif data == "zinc":
        dataset = ZINC(str(cache / "zinc"), subset=True, split=split, progress=progress)
    else:
        dataset = SMILESDataset(str(cache / "smiles"), molecule_splits(data)[split], progress=progress)
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


class MoleculeData(pl.LightningDataModule):
    """Loaders of the training and validation molecules; the order depends on the seed and the epoch alone."""

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
