"""Electric current through a grid of streets with missing blocks, drawn: the wider the street, the more current."""

import networkx as nx
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from graphtf.solvers import electric_flow

rng = np.random.default_rng(0)
streets = nx.grid_2d_graph(40, 25)
streets.remove_nodes_from(
    [(x, y) for x, y in streets if (14 <= x < 18 and 4 <= y < 21) or (x - 29) ** 2 + (y - 15) ** 2 < 20]
)
streets.remove_edges_from([edge for edge in list(streets.edges) if rng.random() < 0.12])  # closed streets
streets = streets.subgraph(max(nx.connected_components(streets), key=len)).copy()
for u, v in streets.edges:
    streets.edges[u, v]["weight"] = 5.0 if u[1] == v[1] == 12 else 1.0  # an avenue conducts five times as well

nodes = list(streets)
demands = torch.zeros(len(nodes), dtype=torch.float64)
source, sink = (min(nodes, key=lambda p: (p[0] - x) ** 2 + (p[1] - y) ** 2) for x, y in [(0, 0), (39, 24)])
demands[nodes.index(source)], demands[nodes.index(sink)] = 1.0, -1.0
flow = electric_flow(streets, demands, tol=1e-10)  # current along every edge, in the order of streets.edges
print(f"{len(nodes)} crossings, {flow.num_layers} layers of {flow.method}, residual {float(flow.residual):.1e}")

net = dict.fromkeys(nodes, 0.0)  # Kirchhoff: what leaves a crossing, less what enters it, is its demand
for (u, v), current in zip(streets.edges, flow.tolist(), strict=True):
    net[u] += current
    net[v] -= current
violation = max(abs(net[p] - float(d)) for p, d in zip(nodes, demands, strict=True))
print(f"largest violation of Kirchhoff's law: {violation:.1e}")

figure = Figure(figsize=(9, 5.6), layout="constrained")
axes = figure.subplots()
current = flow.abs().numpy()
lines = LineCollection(list(streets.edges), linewidths=0.4 + 9 * np.sqrt(current / current.max()), cmap="viridis_r")
lines.set_array(current)
lines.set_norm(PowerNorm(0.5))
axes.add_collection(lines)
for place, mark in [(source, "in"), (sink, "out")]:
    axes.plot(*place, "o", color="crimson", markersize=9)
    axes.annotate(mark, place, textcoords="offset points", xytext=(8, 8), color="crimson", fontsize=12)
axes.set(aspect="equal", xticks=[], yticks=[], title="Current from one corner to the other")
figure.colorbar(lines, label="current", shrink=0.8)
figure.savefig("currents.png", dpi=130)
print("wrote currents.png")
