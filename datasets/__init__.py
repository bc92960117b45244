"""Molecular data sets for PyTorch Geometric: embedded, user-supplied and official.

Importing this package imports neither RDKit nor OGB nor networkx; they are imported when the first molecule is read.
"""

# The folder is `datasets/` at the top of the repository: Python started there would find it under that name too.
if __name__ == "datasets":
    raise ImportError("this folder is graphtf.datasets; use `python -P` or another working directory")

from graphtf.datasets.clean_leads import CleanLeads, clean_leads_smiles
from graphtf.datasets.csl import CSL
from graphtf.datasets.featurize import ATOM_TYPES, BOND_TYPES, ogb_graph, zinc_graph
from graphtf.datasets.ogb_molecules import ogb_molecules
from graphtf.datasets.penalized_logp import logp, penalized_logp, synthetic_accessibility
from graphtf.datasets.qm9 import QM9
from graphtf.datasets.smiles import SMILESDataset
from graphtf.datasets.splits import molecule_splits
from graphtf.datasets.table import SkippedRow
from graphtf.datasets.zinc import ZINC

__all__ = [
    "ATOM_TYPES",
    "BOND_TYPES",
    "CSL",
    "QM9",
    "ZINC",
    "CleanLeads",
    "SMILESDataset",
    "SkippedRow",
    "clean_leads_smiles",
    "logp",
    "molecule_splits",
    "ogb_graph",
    "ogb_molecules",
    "penalized_logp",
    "synthetic_accessibility",
    "zinc_graph",
]
