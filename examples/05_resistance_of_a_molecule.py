"""Bonds of a molecule coloured by leverage, w R: 1 for a bridge, (k - 1) / k in a ring of k atoms."""

from pathlib import Path

import torch
from matplotlib import colormaps
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from graphtf.datasets import zinc_graph
from graphtf.solvers import effective_resistance, leverage_scores

smiles = "CC(C)Cc1ccc(cc1)C(C)C(=O)NC1CCCCCCC1"
molecule = zinc_graph(smiles)
leverage = leverage_scores(molecule)  # one for every column of edge_index: every bond twice
print(f"sum over the bonds: {float(leverage.sum()) / 2:.6f}, atoms less components: {molecule.num_nodes - 1}")
for value in torch.unique(leverage.round(decimals=4)).tolist():
    ring = "a bridge" if value > 0.9999 else f"a ring of {round(1 / (1 - value))}"
    print(f"leverage {value:.4f}: {ring}")
ends = torch.tensor([[0], [molecule.num_nodes - 1]])
print(f"resistance between the first and the last atom: {float(effective_resistance(molecule, ends)):.4f}")

mol = Chem.MolFromSmiles(smiles)
bond_of = {}
for (u, v), value in zip(molecule.edge_index.t().tolist(), leverage.tolist(), strict=True):
    bond_of[mol.GetBondBetweenAtoms(u, v).GetIdx()] = value
shades = colormaps["coolwarm"]
colors = {bond: shades((value - 0.8) / 0.2)[:3] for bond, value in bond_of.items()}
drawer = rdMolDraw2D.MolDraw2DCairo(900, 420)
drawer.drawOptions().highlightBondWidthMultiplier = 14
for bond, value in bond_of.items():
    mol.GetBondWithIdx(bond).SetProp("bondNote", f"{value:.2f}")
rdMolDraw2D.PrepareAndDrawMolecule(
    drawer,
    mol,
    legend="leverage of the bonds",
    highlightAtoms=[],
    highlightBonds=list(colors),
    highlightBondColors=colors,
)
drawer.FinishDrawing()
Path("molecule.png").write_bytes(drawer.GetDrawingText())
print("wrote molecule.png")
