"""The regression target of ZINC, normalised penalised logP, and its two main terms."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

from graphtf.datasets._optional import optional_import
from graphtf.datasets.featurize import parse_smiles

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# Mean and standard deviation of each term over the 250k molecules of ZINC, as published with the target.
LOGP = (2.4570953396190123, 1.434324401111988)
SCORE = (-3.0525811293166134, 0.8335207024513095)
RING = (-0.0485696876403053, 0.2860212110245455)


def penalized_logp(smiles_or_mol: str | Mol) -> float:
    r"""Compute the normalised penalised logP of a molecule, the target `y` of ZINC.

    .. math:: y = \frac{\mathrm{logP} - \mu_1}{\sigma_1} + \frac{-\mathrm{SA} - \mu_2}{\sigma_2}
              + \frac{-\max(\mathrm{ring} - 6, 0) - \mu_3}{\sigma_3}

    with Crippen's estimate of the octanol-water partition coefficient, the synthetic-accessibility score (1 easy ...
    10 hard) and the atoms of the longest ring in networkx' cycle basis. The constants are those of ZINC, so `y` is a
    sum of three standard scores and has no unit.

    Args:
        smiles_or_mol: one molecule, as SMILES or as a sanitised RDKit molecule (not kekulised; left unchanged).

    Returns:
        The target, larger for greasier molecules that are easier to make.

    Raises:
        TypeError: the argument is neither a string nor a molecule.
        ValueError: RDKit cannot parse it, or it holds no atom.
        ImportError: RDKit or networkx is not installed.

    Example:
        >>> round(penalized_logp("COCc1ccc(C(=O)Oc2ccc(F)cc2)cc1"), 5)
        2.4691

    Source: Gómez-Bombarelli et al., "Automatic Chemical Design", ACS Central Science 2018; Kusner et al., "Grammar
    Variational Autoencoder", ICML 2017, for the constants; Ertl and Schuffenhauer, J. Cheminformatics 1:8, 2009, for
    the score, computed by RDKit's contributed `SA_Score`.
    """
    mol = _molecule(smiles_or_mol, "penalised logP")
    terms = (
        (logp(mol), *LOGP),
        (-synthetic_accessibility(mol), *SCORE),
        (-max(longest_ring(mol) - 6, 0), *RING),
    )
    return float(sum((value - mean) / std for value, mean, std in terms))


def logp(smiles_or_mol: str | Mol) -> float:
    """Estimate the logarithm of the octanol-water partition coefficient of a molecule.

    Args:
        smiles_or_mol: one molecule, as SMILES or as a sanitised RDKit molecule.

    Raises:
        TypeError, ValueError, ImportError: see :func:`penalized_logp`.

    Example:
        >>> round(logp("CCO"), 4)
        -0.0014

    Source: Wildman and Crippen, J. Chem. Inf. Comput. Sci. 39:868, 1999, computed by RDKit.
    """
    mol = _molecule(smiles_or_mol, "logP")
    return float(optional_import("rdkit.Chem.Crippen", "data").MolLogP(mol))


def synthetic_accessibility(smiles_or_mol: str | Mol) -> float:
    """Score how hard a molecule is to make, from 1 (easy) to 10 (hard).

    Args:
        smiles_or_mol: one molecule, as SMILES or as a sanitised RDKit molecule.

    Raises:
        TypeError, ValueError, ImportError: see :func:`penalized_logp`.

    Example:
        >>> round(synthetic_accessibility("CC(=O)Oc1ccccc1C(=O)O"), 2)
        1.58

    Source: Ertl and Schuffenhauer, J. Cheminformatics 1:8, 2009, computed by RDKit's contributed `SA_Score`.
    """
    return float(_scorer().calculateScore(_molecule(smiles_or_mol, "synthetic accessibility")))


def _molecule(smiles_or_mol: str | Mol, what: str) -> Mol:
    Chem = optional_import("rdkit.Chem", "data")
    mol = smiles_or_mol if isinstance(smiles_or_mol, Chem.Mol) else parse_smiles(smiles_or_mol)
    if mol.GetNumAtoms() == 0:
        raise ValueError(f"the molecule holds no atom, so it has no {what}")
    return mol


def longest_ring(mol: Mol) -> int:
    """Return the number of atoms of the longest ring in networkx' cycle basis, 0 without rings.

    A cycle basis is not unique: nodes and edges are inserted in ascending order and the search starts at the last
    atom, as networkx does for an adjacency matrix, because the published targets depend on it.

    Example:
        >>> longest_ring(parse_smiles("c1ccc2ccccc2c1"))
        6
    """
    nx = optional_import("networkx", "data")
    size = mol.GetNumAtoms()
    graph = nx.Graph()
    graph.add_nodes_from(range(size))
    graph.add_edges_from(sorted(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()))
    return max(map(len, nx.cycle_basis(graph, size - 1)), default=0)


@cache
def _scorer() -> Any:
    """Return RDKit's `sascorer` with its table of fragments read."""
    sascorer = optional_import("rdkit.Contrib.SA_Score.sascorer", "data")
    with warnings.catch_warnings():
        # RDKit reads its table without closing the file, which later versions of Python report.
        warnings.simplefilter("ignore", ResourceWarning)
        sascorer.readFragmentScores()
    return sascorer
