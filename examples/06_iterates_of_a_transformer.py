"""The iterates of three transformers on one graph: layer by layer, the potential spreads from the poles."""

import networkx as nx
import torch
from matplotlib.figure import Figure

from graphtf import Incidence, electric_flow
from graphtf.constructions import chebyshev, conjugate_gradient
from graphtf.solvers import electric_potential

side = 24
grid = nx.grid_2d_graph(side, side)
B = Incidence.from_networkx(grid)
psi = torch.zeros(side * side, dtype=torch.float64)
psi[3 * side + 3], psi[20 * side + 17] = 1.0, -1.0
exact = electric_potential(B, psi, method="dense").value
largest = float(B.lambda_bound())
smallest = float(torch.linalg.eigvalsh(B.laplacian_dense())[1])

transformers = {
    "gradient": electric_flow(60, 1 / largest),
    "Chebyshev memory": chebyshev(60, smallest, largest),
    "conjugate gradient": conjugate_gradient(60),
}
figure = Figure(figsize=(10, 7.4), layout="constrained")
rows = figure.subplots(3, 5)
limit = float(exact.abs().max())
for row, (name, transformer) in zip(rows, transformers.items(), strict=True):
    states = transformer(B, psi=psi, return_all=True)
    states = states - states.mean(1, keepdim=True)
    errors = (states - exact).norm(dim=1) / exact.norm()
    print(f"{name:<20} relative error after 10, 30, 60 layers: " + ", ".join(f"{errors[i]:.1e}" for i in (10, 30, 60)))
    for axes, layer in zip(row, (2, 10, 30, 60, None), strict=True):
        values, title = (
            (exact, "exact") if layer is None else (states[layer], f"layer {layer}, error {float(errors[layer]):.1%}")
        )
        axes.imshow(values.view(side, side), cmap="RdBu", vmin=-limit, vmax=limit)
        axes.set(xticks=[], yticks=[], title=title)
    row[0].set_ylabel(name)
figure.savefig("iterates.png", dpi=110)
print("wrote iterates.png")
