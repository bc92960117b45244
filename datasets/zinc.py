"""The official ZINC benchmark, downloaded by PyG or read from a local copy."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch_geometric.datasets
from torch_geometric.data import Data
from tqdm import tqdm

from graphtf.datasets.molecules import Filter, Transform, check_options, complete_file
from graphtf.datasets.unpickle import load_tensors
from graphtf.validate import check_choice

SPLITS = ("train", "val", "test")
FIELDS = ("atom_type", "bond_type", "logP_SA_cycle_normalized")


class ZINC(torch_geometric.datasets.ZINC):
    r"""PyG's ZINC, with help where the download is impossible and without running the pickles it consists of.

    Without a network, put the six files `train.pickle`, `val.pickle`, `test.pickle` (from `molecules.zip`) and
    `train.index`, `val.index`, `test.index` into `root/raw`, or as the archive has them into `root/raw/molecules`; or
    put `molecules.zip` into `root`, whence PyG takes it, and removes it (the index files it downloads then).

    The official files are pickles, which can run any code when they are read, and PyG downloads them without checking
    the server's certificate. Where PyG's own class calls `pickle.load`, this one admits tensors, numbers, strings,
    lists and dictionaries only and refuses everything else. The graphs and the cache, `root/subset` or `root/full`,
    are those of PyG's class.

    Args:
        root: directory of the files and of the cache.
        subset: the 10,000 / 1,000 / 1,000 molecules of the benchmark (PyG's own class defaults to all 249,456).
        split: `"train"`, `"val"` or `"test"`.
        transform: applied to a graph at every access.
        pre_transform: applied to a graph before it is stored; after a change give `force_reload=True`.
        pre_filter: called before `pre_transform`; graphs for which it returns false are left out.
        force_reload: compute the graphs although the cache holds them.
        progress: show a progress bar while computing.

    Returns:
        Graphs of `n` atoms and `m` bonds with `x`, `[n, 1]` int64 atom types in 0 ... 27; `edge_index`, `[2, 2m]`
        int64, both directions; `edge_attr`, `[2m]` int64 bond types in 1 ... 3; `y`, `[1]` float32, the normalised
        penalised logP.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: there is no such split, or a file is damaged or not what it should be.
        FileNotFoundError: files are missing and cannot be downloaded.

    Example:
        >>> ZINC("data/zinc", split="valid")
        Traceback (most recent call last):
        ...
        ValueError: split must be one of 'train', 'val', 'test', but got 'valid'

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023; Irwin et al., "ZINC: A Free Tool to
    Discover Chemistry for Biology", J. Chem. Inf. Model. 2012.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        subset: bool = True,
        split: str = "train",
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        pre_filter: Filter | None = None,
        force_reload: bool = False,
        progress: bool = True,
    ) -> None:
        if not isinstance(subset, bool):
            raise TypeError(f"subset must be a bool, but got {subset!r} ({type(subset).__name__})")
        check_choice("split", split, SPLITS)
        check_options(root, transform, pre_transform, pre_filter, force_reload=force_reload, progress=progress)
        self.progress = progress
        super().__init__(os.fspath(root), subset, split, transform, pre_transform, pre_filter, force_reload)

    @property
    def raw_dir(self) -> str:
        """The directory of the official files."""
        raw = os.path.join(self.root, "raw")
        nested = os.path.join(raw, "molecules")
        return nested if os.path.isdir(nested) else raw

    def download(self) -> None:
        """Download the official files, unless the cache is complete or some of them are there already."""
        if not self.force_reload and all(map(os.path.exists, self.processed_paths)):
            return
        # PyG would delete a copy that is not complete.
        if len(self._missing()) < len(self.raw_file_names):
            raise FileNotFoundError(f"the copy of ZINC in {self.raw_dir} is not complete; {self._advice()}")
        try:
            super().download()
        except (OSError, zipfile.BadZipFile) as error:
            archive = os.path.join(self.root, "molecules.zip")
            damaged = f"delete {archive}, which is not complete; " if isinstance(error, zipfile.BadZipFile) else ""
            raise FileNotFoundError(f"ZINC cannot be downloaded ({error}); {damaged}{self._advice()}") from error

    def _missing(self) -> list[str]:
        return [name for name in self.raw_file_names if not Path(self.raw_dir, name).exists()]

    def _advice(self) -> str:
        return (
            f"put {', '.join(self._missing())} into {self.raw_dir} (pickles: in molecules.zip, {self.url}; index: "
            f"{self.split_url.format('{train,val,test}')}), or use graphtf.datasets.CleanLeads, which needs no download"
        )

    def process(self) -> None:
        """Compute the graphs of all three splits and store them."""
        for split in SPLITS:
            path = Path(self.raw_dir, f"{split}.pickle")
            molecules = load_tensors(path)
            if not isinstance(molecules, list | tuple):
                raise ValueError(f"{path} must hold a list of molecules, but holds a {type(molecules).__name__}")
            chosen = self._indices_of(split, len(molecules)) if self.subset else range(len(molecules))
            graphs = [
                data if self.pre_transform is None else self.pre_transform(data)
                for data in self._graphs(path, molecules, chosen)
                if self.pre_filter is None or self.pre_filter(data)
            ]
            if not graphs:
                raise ValueError(f"none of the {len(chosen)} molecules of {path} is left; check pre_filter")
            with complete_file(os.path.join(self.processed_dir, f"{split}.pt")) as name:
                self.save(graphs, name)

    def _graphs(self, path: Path, molecules: Any, chosen: list[int] | range) -> Iterator[Data]:
        bar = tqdm(chosen, desc=f"zinc_{path.stem}", unit="molecule", disable=not self.progress)
        for index in bar:
            molecule = molecules[index]
            if not isinstance(molecule, dict) or not all(torch.is_tensor(molecule.get(name)) for name in FIELDS):
                raise ValueError(f"molecule {index} of {path} must be a dict with tensors {', '.join(FIELDS)}")
            atoms, bonds, target = (molecule[name] for name in FIELDS)
            edge_index = bonds.nonzero().t().contiguous()
            yield Data(
                x=atoms.to(torch.long).view(-1, 1),
                edge_index=edge_index,
                edge_attr=bonds[edge_index[0], edge_index[1]].to(torch.long),
                y=target.to(torch.float).view(-1),
            )

    def _indices_of(self, split: str, count: int) -> list[int]:
        """Return the molecules of the benchmark among the `count` of a split."""
        path = Path(self.raw_dir, f"{split}.index")
        try:
            indices = [int(number) for number in path.read_text(encoding="ascii").strip().rstrip(",").split(",")]
        except ValueError as error:
            raise ValueError(f"{path} must hold numbers of molecules between commas ({error})") from error
        if wrong := next((index for index in indices if not 0 <= index < count), None):
            raise ValueError(f"{path} holds molecule {wrong}, but {split}.pickle has {count} (0 ... {count - 1})")
        return indices
