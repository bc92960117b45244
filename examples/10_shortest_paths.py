"""A transformer of 96 numbers that finds shortest paths, layer by layer, and what its flows say about all edges."""

import networkx as nx
import torch
from torch_geometric.data import Data

from graphtf.incontext import ShortestPathTransformer
from graphtf.incontext.shortest_path import ShortestPathPrompt, path_rate, support_rate
from graphtf.transforms import AddPathFlowPE

torch.set_num_threads(1)  # the tensors are tiny
model = ShortestPathTransformer.from_pretrained("shortest-path")
print(f"{model.num_parameters} trained numbers; of steps 1, 16, 32:")
for number in (0, 15, 31):
    print("  step {:.2f}, threshold {:.3f}, memory {:.2f}".format(*model.coefficients()[number].tolist()))

print("\nunseen random graphs, exact paths in percent")
print("nodes   layer 4   8  16  24  32")
for n in (12, 25, 50):
    problem = ShortestPathPrompt(n).sample(300, torch.Generator().manual_seed(1))
    with torch.no_grad():
        flows = model(problem.graph, problem.length, problem.demand, return_all=True)
    rates = [100 * support_rate(problem, flows[step]) for step in (4, 8, 16, 24, 32)]
    walk = 100 * path_rate(problem, flows[-1])
    print(f"{n:5d}   " + "".join(f"{rate:4.0f}" for rate in rates) + f"   following the largest flow: {walk:.0f}")

# Flows between all pairs of nodes, summed over pairs: an encoding of edges, close to their betweenness.
graph = nx.random_regular_graph(3, 30, seed=0)
edges = torch.tensor(list(graph.edges)).T
length = torch.exp(2 * torch.rand(edges.shape[1], generator=torch.Generator().manual_seed(0)) - 1)
nx.set_edge_attributes(graph, dict(zip(graph.edges, length.tolist(), strict=True)), "length")
weight = torch.cat([1 / length, 1 / length])
data = AddPathFlowPE(k=8)(Data(edge_index=torch.cat([edges, edges.flip(0)], 1), edge_weight=weight, num_nodes=30))
exact = torch.tensor(list(nx.edge_betweenness_centrality(graph, weight="length").values()))
soft = data.path_flow_edge_pe[: len(exact)]
print("\na 3-regular graph: correlation of the encoding with edge betweenness, column by column (every fourth layer)")
print("  ", *(f"{torch.corrcoef(torch.stack([column, exact]))[0, 1]:.3f}" for column in soft.T))
