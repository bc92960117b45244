"""What four heads have learned: how well every bond conducts, drawn on molecules, and by kind of bond."""

import math
from collections import defaultdict
from io import BytesIO

import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import imread
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.nn import LinearTransformerPE, edge_conductances

shown = {
    "fused rings, amide": "COCC(=O)Nc1c(-c2cccc(F)c2)nc2ccccn12",
    "spiro, lactam": "CN1CC2(CCN(C(=O)c3ccc[nH]3)CC2)OCC1=O",
    "ester, nitrile": "CCOC(=O)c1cc2c(ccn2C)n1Cc1ccccc1C#N",
    "sulfonamide": "Cc1ccc(F)cc1S(=O)(=O)NCCOCC(F)(F)F",
}
encoder = LinearTransformerPE.from_pretrained("zinc12k")


def bonds(text):
    """The molecule with the single and double bonds that the features have, and log2 of the conductances [bonds, 4]."""
    mol = Chem.MolFromSmiles(text)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    graph = zinc_graph(text)
    with torch.no_grad():
        logarithm = edge_conductances(encoder, graph).log2()  # one row for every column of edge_index
    number = [mol.GetBondBetweenAtoms(u, v).GetIdx() for u, v in graph.edge_index.t().tolist()]
    rows = torch.empty(mol.GetNumBonds(), encoder.config.heads)
    rows[number] = logarithm
    return mol, rows


def kind(bond):
    """The kind of a bond, such as C=O."""
    ends = sorted((bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()), key="C S N O F Cl Br".find)
    return {1: "{}–{}", 2: "{}={}", 3: "{}≡{}"}[int(bond.GetBondTypeAsDouble())].format(*ends)


def picture(mol, colors):
    """The molecule with its bonds in these colors."""
    drawer = rdMolDraw2D.MolDraw2DCairo(520, 340)
    options = drawer.drawOptions()
    options.useBWAtomPalette()
    options.highlightBondWidthMultiplier, options.bondLineWidth, options.minFontSize, options.padding = 20, 3, 26, 0.02
    highlight = {"highlightAtoms": [], "highlightBonds": list(colors), "highlightBondColors": colors}
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, mol, kekulize=False, **highlight)
    drawer.FinishDrawing()
    return imread(BytesIO(drawer.GetDrawingText()))


found = defaultdict(list)
for text in clean_leads_smiles("val"):
    mol, rows = bonds(text)
    for bond, row in zip(mol.GetBonds(), rows, strict=True):
        found[kind(bond)].append(row)
# The encoding stays the same if all conductances of a head are multiplied by one number: divide them by their mean.
mean = torch.cat([torch.stack(rows) for rows in found.values()]).mean(0)
kinds = sorted((name for name in found if len(found[name]) >= 50), key=lambda name: -len(found[name]))
table = torch.stack([torch.stack(found[name]).mean(0) - mean for name in kinds])
print("conductance over the geometric mean of the head, by kind of bond")
for name, row in zip(kinds, table.exp2().tolist(), strict=True):
    print(f"{name:<5} {len(found[name]):>5} bonds  " + "  ".join(f"{value:.2f}" for value in row))

limit = max(0.25, math.ceil(4 * float(table.abs().max())) / 4)  # quarters of a doubling; what is beyond has its color
shades = ListedColormap(colormaps["PuOr"](torch.linspace(0.12, 0.88, 256)))  # atoms stay readable
scale = Normalize(-limit, limit)
figure = Figure(figsize=(13, 7.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[3.1, 1])
panels = left.subplots(len(shown), encoder.config.heads)
for panel_row, (title, text) in zip(panels, shown.items(), strict=True):
    mol, rows = bonds(text)
    for head, axes in enumerate(panel_row):
        values = (rows[:, head] - mean[head]).tolist()
        axes.imshow(picture(mol, {index: shades(scale(value))[:3] for index, value in enumerate(values)}))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    panel_row[0].set_ylabel(title)
for head, axes in enumerate(panels[0]):
    axes.set_title(f"head {head + 1}")
axes = right.subplots()
axes.imshow(table, cmap=shades, norm=scale, aspect="auto")
for (i, j), value in zip(torch.cartesian_prod(*map(torch.arange, table.shape)).tolist(), table.flatten(), strict=True):
    axes.text(j, i, f"{float(value.exp2()):.2f}", ha="center", va="center")
axes.set(xticks=range(encoder.config.heads), yticks=range(len(kinds)), title="by kind of bond")
axes.set_xticklabels([f"head {head + 1}" for head in range(encoder.config.heads)])
axes.set_yticklabels(kinds)
axes.tick_params(length=0)
bar = right.colorbar(ScalarMappable(scale, shades), ax=axes, location="bottom", extend="both")
ticks = torch.linspace(-limit, limit, 5)
bar.set_ticks(ticks.tolist(), labels=[f"{value:.2f}" for value in ticks.exp2()])
bar.set_label("conductance over the head's mean")
figure.savefig("conductances.png", dpi=100)
print("wrote conductances.png")
