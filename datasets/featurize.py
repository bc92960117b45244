"""From SMILES to graphs: the integer features of ZINC and those of the Open Graph Benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Data

from graphtf.datasets._optional import optional_import

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ATOM_TYPES: dict[str, int] = {
    name: number
    for number, name in enumerate(
        (
            *("C", "O", "N", "F", "C H1", "S", "Cl", "O -", "N H1 +", "Br", "N H3 +", "N H2 +", "N +", "N -", "S -"),
            *("I", "P", "O H1 +", "N H1 -", "O +", "S +", "P H1", "P H2", "C H2 -", "P +", "S H1 +", "C H1 -"),
            "P H1 +",
        )
    )
}
"""The 28 atom types of ZINC: element, explicit hydrogens and charge of a kekulised atom, and its number in `x`."""

BOND_TYPES: dict[str, int] = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3}
"""RDKit's name of a kekulised bond and its number in `edge_attr`; 0 is left for "no bond", as in ZINC's matrices."""


_OTHERS = 'leave it out, or use the features of ogb_graph, SMILESDataset(features="ogb")'


def parse_smiles(smiles: str) -> Mol:
    """Parse one SMILES, strictly.

    Args:
        smiles: one molecule; white space around it is ignored, CXSMILES extensions are allowed.

    Returns:
        The sanitised RDKit molecule, with at least one atom.

    Raises:
        TypeError: `smiles` is not a string.
        ValueError: RDKit cannot parse it, or it holds no atom.
        ImportError: RDKit is not installed.

    Example:
        >>> parse_smiles("CCO").GetNumAtoms()
        3

    Source: RDKit, `Chem.MolFromSmiles`.
    """
    if not isinstance(smiles, str):
        raise TypeError(f"smiles must be a str, but got {smiles!r} ({type(smiles).__name__})")
    Chem = optional_import("rdkit.Chem", "data")
    rdBase = optional_import("rdkit.rdBase", "data")
    params = Chem.SmilesParserParams()
    # With names allowed, RDKit reads "CCO CCN" as the molecule CCO called CCN.
    params.parseName = False
    block = rdBase.BlockLogs()
    try:
        mol = Chem.MolFromSmiles(smiles.strip(), params)
    finally:
        del block
    if mol is None:
        raise ValueError(f"RDKit cannot parse the SMILES {smiles!r}; correct or remove it")
    if mol.GetNumAtoms() == 0:
        raise ValueError(f"the SMILES {smiles!r} holds no atom; correct or remove it")
    return mol


def zinc_graph(smiles: str | Mol) -> Data:
    r"""Build the graph of a molecule with the features of the ZINC benchmark.

    The molecule is kekulised; an atom's type is its element, explicit hydrogens and charge (:data:`ATOM_TYPES`), a
    bond's its order (:data:`BOND_TYPES`). Heavy atoms only.

    Args:
        smiles: one molecule of `n` heavy atoms and `m` bonds, as SMILES or as a sanitised RDKit molecule, which is
            left unchanged.

    Returns:
        Graph with `x`, `[n, 1]` int64 atom types in 0 ... 27; `edge_index`, `[2, 2m]` int64, both directions, sorted;
        `edge_attr`, `[2m]` int64 bond types in 1 ... 3.

    Raises:
        TypeError: `smiles` is neither a string nor a molecule.
        ValueError: RDKit cannot parse it, or an atom or bond has none of ZINC's types.
        ImportError: RDKit is not installed.

    Example:
        >>> zinc_graph("c1cc[nH]c1")
        Data(x=[5, 1], edge_index=[2, 10], edge_attr=[10])
        >>> zinc_graph("C#N").edge_attr
        tensor([3, 3])
        >>> zinc_graph("C[Si](C)C")
        Traceback (most recent call last):
        ...
        ValueError: atom 1 of 'C[Si](C)C' has type 'Si', which is not among the 28 of ZINC ('C', 'O', 'N', ...);
        leave it out, or use the features of ogb_graph, SMILESDataset(features="ogb"), which has all elements

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023, whose matrices this reproduces.
    """
    Chem = optional_import("rdkit.Chem", "data")
    mol = Chem.Mol(smiles) if isinstance(smiles, Chem.Mol) else parse_smiles(smiles)
    Chem.Kekulize(mol, clearAromaticFlags=True)

    types = []
    for atom in mol.GetAtoms():
        name = atom_type(atom)
        if name not in ATOM_TYPES:
            raise ValueError(
                f"atom {atom.GetIdx()} of {_name(smiles, Chem)} has type {name!r}, which is not among the 28 of ZINC "
                f"('C', 'O', 'N', ...); {_OTHERS}, which has all elements"
            )
        types.append(ATOM_TYPES[name])

    edges = []
    for bond in mol.GetBonds():
        u, v, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType().name
        if order not in BOND_TYPES:
            raise ValueError(
                f"bond ({u}, {v}) of {_name(smiles, Chem)} is {order}, which is not among those of ZINC "
                f"{tuple(BOND_TYPES)}; {_OTHERS}"
            )
        edges += [(u, v, BOND_TYPES[order]), (v, u, BOND_TYPES[order])]
    table = torch.tensor(sorted(edges), dtype=torch.long).view(-1, 3)
    return Data(
        x=torch.tensor(types, dtype=torch.long).view(-1, 1),
        edge_index=table[:, :2].t().contiguous(),
        edge_attr=table[:, 2].contiguous(),
    )


def ogb_graph(smiles: str) -> Data:
    """Build the graph of a molecule with the features of the Open Graph Benchmark.

    Importing OGB starts a thread that asks PyPI for its latest version; without a network nothing happens.

    Args:
        smiles: one molecule of `n` heavy atoms and `m` bonds.

    Returns:
        Graph with `x`, `[n, 9]` int64; `edge_index`, `[2, 2m]` int64, both directions; `edge_attr`, `[2m, 3]` int64:
        the input of OGB's `AtomEncoder` and `BondEncoder`.

    Raises:
        TypeError: `smiles` is not a string.
        ValueError: RDKit cannot parse it.
        ImportError: OGB or RDKit is not installed.

    Example:
        >>> ogb_graph("CCO")
        Data(x=[3, 9], edge_index=[2, 4], edge_attr=[4, 3])

    Source: `ogb.utils.smiles2graph`; Hu et al., "Open Graph Benchmark", NeurIPS 2020.
    """
    parse_smiles(smiles)
    ogb_utils = optional_import("ogb.utils", "ogb")
    rdBase = optional_import("rdkit.rdBase", "data")
    block = rdBase.BlockLogs()
    try:
        graph = ogb_utils.smiles2graph(smiles.strip())
    finally:
        del block
    return Data(
        x=torch.from_numpy(graph["node_feat"]),
        edge_index=torch.from_numpy(graph["edge_index"]),
        edge_attr=torch.from_numpy(graph["edge_feat"]),
    )


def atom_type(atom: Any) -> str:
    """Return the ZINC name of a kekulised RDKit atom's type, such as `"C"`, `"N H1 +"` or `"O -"`."""
    name = str(atom.GetSymbol())
    if hydrogens := atom.GetNumExplicitHs():
        name += f" H{hydrogens}"
    if charge := atom.GetFormalCharge():
        name += " " + ("+" if charge > 0 else "-") * abs(charge)
    return name


def _name(smiles: str | Mol, Chem: Any) -> str:
    return repr(smiles if isinstance(smiles, str) else Chem.MolToSmiles(smiles))
