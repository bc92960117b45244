"""Molecules of the Open Graph Benchmark, with help where the download is impossible."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from graphtf.datasets._optional import optional_import

SPLITS = {"train": "train", "val": "valid", "test": "test"}
RAW = ("edge", "node-feat", "edge-feat", "graph-label", "num-node-list", "num-edge-list")


def is_ogb_name(name: str) -> bool:
    """Whether a name is that of a data set of molecules of the Open Graph Benchmark.

    Example:
        >>> is_ogb_name("ogbg-molesol"), is_ogb_name("ogbg-code2")
        (True, False)
    """
    return name.startswith("ogbg-mol")


def ogb_molecules(name: str, root: str | os.PathLike[str]) -> Any:
    """Load a data set `ogbg-mol*` with PyG's classes, and download it at the first use.

    Args:
        name: for example `"ogbg-molesol"` or `"ogbg-molhiv"`.
        root: directory of data sets; this one is in `root/ogbg_molesol`, as OGB has it.

    Returns:
        `ogb.graphproppred.PygGraphPropPredDataset`, whose graphs have `x`, `[n, 9]` int64; `edge_attr`, `[2m, 3]`
        int64; `y`, `[1, t]`, not a number where a target is missing. `get_idx_split()` has the official split.

    Raises:
        ValueError: there is no such data set, or a file is damaged.
        FileNotFoundError: files are missing and cannot be downloaded.
        ImportError: OGB is not installed.

    Example:
        >>> ogb_molecules("ogbg-molecules", "data/ogb")
        Traceback (most recent call last):
        ...
        ValueError: OGB has no molecules 'ogbg-molecules', only ogbg-molbace, ogbg-molbbbp, ...

    Source: Hu et al., "Open Graph Benchmark", NeurIPS 2020.
    """
    evaluator = ogb_evaluator(name)
    made = optional_import("ogb.graphproppred", "ogb").PygGraphPropPredDataset
    folder = Path(root, name.replace("-", "_"))
    _check_copy(name, folder)
    try:
        # OGB's remarks would stand among results; it reads arrays of pandas without writing to them; and torch loads
        # its cache, which holds PyG's containers of tensors, only if these are named.
        containers = torch.serialization.safe_globals([DataEdgeAttr, DataTensorAttr, GlobalStorage])
        with redirect_stdout(io.StringIO()), warnings.catch_warnings(), containers:
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
            dataset = made(name=name, root=os.fspath(root))
            splits = dataset.get_idx_split()
    except (OSError, RuntimeError, UnpicklingError, zipfile.BadZipFile) as error:
        _remove_empty(folder)
        raise FileNotFoundError(f"{name} cannot be downloaded or read ({error}); {_advice(name, folder)}") from error
    if dataset._data.y.shape[1] != evaluator.num_tasks:
        raise ValueError(
            f"{folder} must have {evaluator.num_tasks} targets a molecule, but has {dataset._data.y.shape[1]}; "
            f"{_advice(name, folder)}"
        )
    for ours, theirs in SPLITS.items():
        index = splits[theirs]
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(dataset):
            raise ValueError(f"the {ours} split of {folder} names molecules beyond the {len(dataset)} there are")
    return dataset


@cache
def ogb_evaluator(name: str) -> Any:
    """The official evaluator of a data set `ogbg-mol*`, with `num_tasks` and `eval_metric`.

    Raises:
        ValueError: there is no such data set.
        ImportError: OGB is not installed.

    Example:
        >>> ogb_evaluator("ogbg-molhiv").eval_metric
        'rocauc'
    """
    package = optional_import("ogb.graphproppred", "ogb")
    with redirect_stdout(io.StringIO()):
        try:
            return package.Evaluator(name)
        except ValueError as error:
            known = sorted(word for word in str(error).split() if is_ogb_name(word) and word != f"{name}.")
            raise ValueError(f"OGB has no molecules {name!r}, only {', '.join(known)}") from error


def ogb_feature_sizes() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of values of OGB's nine features of an atom and three of a bond.

    Example:
        >>> ogb_feature_sizes()[1]
        (5, 6, 2)
    """
    features = optional_import("ogb.utils.features", "ogb")
    return tuple(features.get_atom_feature_dims()), tuple(features.get_bond_feature_dims())


def _check_copy(name: str, folder: Path) -> None:
    """Stop before OGB asks on the terminal whether a folder without its mark of the version shall be deleted."""
    if not folder.is_dir():
        return
    _remove_empty(folder)
    if folder.is_dir() and not any(folder.glob("RELEASE_v*.txt")):
        raise FileNotFoundError(f"the copy of {name} in {folder} is not complete; {_advice(name, folder)}")


def _remove_empty(folder: Path) -> None:
    """Remove folders without files, which a download that failed leaves."""
    if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir()
        folder.rmdir()


def _advice(name: str, folder: Path) -> str:
    files = ", ".join(f"{part}.csv.gz" for part in RAW)
    return (
        f"unpack the archive of {name} (http://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download) so that "
        f"{folder} holds RELEASE_v1.txt, raw ({files}) and split/scaffold (train.csv.gz, valid.csv.gz, test.csv.gz)"
    )
