"""The embedded molecules: 12,000 of the ZINC Clean Leads collection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.resources import files

import torch
from torch_geometric.data import Data

from graphtf.datasets.featurize import parse_smiles, zinc_graph
from graphtf.datasets.molecules import Filter, MoleculeDataset, Transform
from graphtf.datasets.penalized_logp import penalized_logp
from graphtf.datasets.table import read_table
from graphtf.validate import check_choice

SPLITS = ("train", "val", "test")


def clean_leads_smiles(split: str = "train") -> list[str]:
    """Return the SMILES of the embedded molecules.

    Args:
        split: `"train"` (10,000 molecules), `"val"` or `"test"` (1,000 each); no molecule is in two of them.

    Returns:
        The SMILES, in the order of :class:`CleanLeads`.

    Raises:
        ValueError: there is no such split.

    Example:
        >>> smiles = clean_leads_smiles("val")
        >>> len(smiles), smiles[0]
        (1000, 'NC(=O)c1ccc(F)c(COc2cccc(N)c2)c1')

    Source: a seeded sample of the data set of MOSES (Polykovskiy et al., "Molecular Sets", Frontiers in Pharmacology
    2020), itself filtered from the ZINC Clean Leads collection; MIT licence.
    """
    content, name = _content(split)
    return [row.smiles for row in read_table(content, name, "smiles", None)[0]]


class CleanLeads(MoleculeDataset):
    r"""12,000 real molecules with the features and the target of ZINC, computed at first use; no network is needed.

    The target is the normalised penalised logP, :func:`penalized_logp`. The molecules are not those of the ZINC
    benchmark: they are smaller (21.7 heavy atoms on average, at most 26) and rarely have long rings, so errors here do
    not compare with errors published there. The first use takes some 10 to 30 seconds, later ones read the cache.

    Args:
        root: directory of the cache.
        split: `"train"` (10,000 graphs), `"val"` or `"test"` (1,000 each).
        transform: applied to a graph at every access.
        pre_transform: applied to a graph before it is stored; another one gets a cache of its own.
        pre_filter: called before `pre_transform`; graphs for which it returns false are left out.
        force_reload: compute the graphs although the cache holds them.
        progress: show a progress bar while computing.

    Returns:
        Graphs of `n` atoms and `m` bonds with `x`, `[n, 1]` int64 atom types in 0 ... 27; `edge_index`, `[2, 2m]`
        int64, both directions; `edge_attr`, `[2m]` int64 bond types in 1 ... 3; `y`, `[1]` float32, without unit;
        `smiles`, a `str` (in a batch a list of them).

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: there is no such split, or `pre_filter` leaves no graph.
        ImportError: RDKit or networkx is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     small = CleanLeads(root, "test", pre_filter=lambda data: data.num_nodes < 16, progress=False)
        >>> small[0]
        Data(x=[14, 1], edge_index=[2, 30], edge_attr=[30], y=[1], smiles='Cc1c(Br)cnn1Cc1ccccc1')

    Source: see :func:`clean_leads_smiles`; `data/README.md` beside this module has the seed and the command.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        pre_filter: Filter | None = None,
        force_reload: bool = False,
        progress: bool = True,
    ) -> None:
        content, _ = _content(split)
        self.split = split
        super().__init__(
            root, f"clean_leads_{split}", [content], transform, pre_transform, pre_filter, force_reload, progress
        )

    def process(self) -> None:
        """Compute the graphs and targets of the split and store them."""
        molecules = clean_leads_smiles(self.split)
        self.store(_graphs(molecules), len(molecules))


def _graphs(molecules: list[str]) -> Iterator[Data]:
    for smiles in molecules:
        mol = parse_smiles(smiles)
        data = zinc_graph(mol)
        data.y = torch.tensor([penalized_logp(mol)], dtype=torch.float)
        data.smiles = smiles
        yield data


def _content(split: str) -> tuple[bytes, str]:
    name = f"clean_leads_{check_choice('split', split, SPLITS)}.csv.gz"
    return files("graphtf.datasets").joinpath("data", name).read_bytes(), name
