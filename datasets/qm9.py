"""QM9 with categorical features and a fixed split, and help where the download is impossible."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import torch
import torch_geometric.datasets
from torch import Tensor
from torch_geometric.data import Data

from graphtf.datasets.molecules import Filter, Transform, check_options

TARGETS = (
    *("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "u0", "u298", "h298", "g298", "cv"),
    *("u0_atom", "u298_atom", "h298_atom", "g298_atom", "A", "B", "C"),
)
"""The targets of PyG's QM9 in the order of its columns; energies are in eV."""

NODE_TYPES = (5, 2, 4, 5)
"""Values of the features of an atom: element, aromaticity, hybridisation, hydrogens."""

EDGE_TYPES = 4


class QM9(torch_geometric.datasets.QM9):
    r"""PyG's QM9, which says what to do where the download is impossible.

    Without a network, put `gdb9.sdf`, `gdb9.sdf.csv` (from `qm9.zip`) and `uncharacterized.txt` into `root/raw`.

    Args:
        root: directory of the files and of the cache.
        transform: applied to a graph at every access.
        pre_transform: applied to a graph before it is stored; after a change give `force_reload=True`.
        pre_filter: called before `pre_transform`; graphs for which it returns false are left out.
        force_reload: compute the graphs although the cache holds them.

    Returns:
        Graphs of PyG's class, hydrogens included: `x`, `[n, 11]`, `edge_attr`, `[2m, 4]`, `y`, `[1, 19]` float32
        (:data:`TARGETS`), and others. :func:`qm9_categories` gives the integers that embeddings want.

    Raises:
        TypeError: an argument has the wrong type.
        FileNotFoundError: files are missing and cannot be downloaded.

    Source: Ramakrishnan et al., "Quantum chemistry structures and properties of 134 kilo molecules", Scientific Data
    2014; Wu et al., "MoleculeNet", Chemical Science 2018.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        pre_filter: Filter | None = None,
        force_reload: bool = False,
    ) -> None:
        check_options(root, transform, pre_transform, pre_filter, force_reload=force_reload, progress=False)
        super().__init__(os.fspath(root), transform, pre_transform, pre_filter, force_reload)

    def download(self) -> None:
        """Download the files."""
        try:
            super().download()
        except (OSError, zipfile.BadZipFile) as error:
            source = self.raw_url if "gdb9.sdf" in self.raw_file_names else self.processed_url
            raise FileNotFoundError(
                f"QM9 cannot be downloaded ({error}); put {', '.join(self.raw_file_names)} into {self.raw_dir} "
                f"(from {source}; uncharacterized.txt: {self.raw_url2})"
            ) from error


def qm9_split(size: int) -> dict[str, Tensor]:
    """Indices of a fixed random split; PyG's data set has none of its own.

    10,000 molecules (at most a tenth) are for validation, as many for testing, and the others for training.

    Args:
        size: number of molecules.

    Returns:
        Indices of `train`, `val` and `test`.

    Example:
        >>> {name: len(index) for name, index in qm9_split(130_831).items()}
        {'train': 110831, 'val': 10000, 'test': 10000}
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    held = min(10_000, size // 10)
    return {"train": order[2 * held :], "val": order[:held], "test": order[held : 2 * held]}


def qm9_categories(data: Data) -> Data:
    """Replace the one-hot features of a graph of QM9 by the integers of :data:`NODE_TYPES` and :data:`EDGE_TYPES`.

    Args:
        data: a graph with `x`, `[n, 11]`, and `edge_attr`, `[2m, 4]`.

    Returns:
        Graph with `x`, `[n, 4]` int64 (element H, C, N, O, F; aromatic; hybridisation none, sp, sp2, sp3; number of
        hydrogens), `edge_index`, `edge_attr`, `[2m]` int64 (single, double, triple, aromatic), and `y`.

    Raises:
        ValueError: the features have other widths.

    Example:
        >>> x = torch.tensor([[0, 1, 0, 0, 0, 6.0, 0, 0, 0, 1, 4]])
        >>> methane = Data(x=x, edge_index=torch.empty(2, 0).long(), edge_attr=torch.empty(0, 4))
        >>> qm9_categories(methane).x
        tensor([[1, 0, 3, 4]])
    """
    x: Any = data.x
    edge_attr: Any = data.edge_attr
    if x is None or x.dim() != 2 or x.shape[1] != 11 or edge_attr is None or edge_attr.shape[1:] != (4,):
        shapes = [None if value is None else list(value.shape) for value in (x, edge_attr)]
        raise ValueError(f"a graph of QM9 has x [n, 11] and edge_attr [E, 4], but got {shapes[0]} and {shapes[1]}")
    hybridization = torch.arange(1, 4, device=x.device) * x[:, 7:10]
    columns = [x[:, :5].argmax(1), x[:, 6], hybridization.sum(1), x[:, 10]]
    categories = torch.stack([column.long() for column in columns], 1)
    return Data(x=categories, edge_index=data.edge_index, edge_attr=edge_attr.argmax(1), y=data.y)


def qm9_target(name: str) -> int:
    """Column of a target, from its number or its name.

    Raises:
        ValueError: there is no such target.

    Example:
        >>> qm9_target("gap"), qm9_target("4")
        (4, 4)
    """
    if name in TARGETS:
        return TARGETS.index(name)
    if name.isdecimal() and int(name) < len(TARGETS):
        return int(name)
    raise ValueError(f"QM9 has no target {name!r}; give 0 ... {len(TARGETS) - 1} or one of {', '.join(TARGETS)}")
