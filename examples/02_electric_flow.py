"""A linear transformer solves for the electric flow in a graph; NetworkX checks the effective resistance."""

import networkx as nx
import torch

from graphtf import Incidence, electric_flow

graph = nx.circulant_graph(10, [1, 3])
nx.set_edge_attributes(graph, {(u, v): 1 + (u + v) % 3 for u, v in graph.edges}, "weight")  # conductances
B = Incidence.from_networkx(graph)  # incidence operator, L = B B^T
psi = torch.eye(10, dtype=torch.float64)[:, 0] - torch.eye(10, dtype=torch.float64)[:, 5]  # in at 0, out at 5

solver = electric_flow(num_layers=200, delta=1 / B.lambda_bound().item())  # 200 layers of linear attention
x = solver(B, psi=psi)  # potentials L^+ psi
flow = B.weight.sqrt() * (B.T @ x)  # current through every edge
print((x[0] - x[5]).item(), nx.resistance_distance(graph, 0, 5, weight="weight", invert_weight=False))
