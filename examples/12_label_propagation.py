"""Label propagation as attention: two labelled members divide a karate club, and the exact answer is kernel ridge."""

import networkx as nx
import torch

from graphtf.incontext import GraphGaussianProcessPrompt, graph_features, label_propagation

club = nx.karate_club_graph()  # weights: contexts in which two members met
officer = torch.tensor([club.nodes[v]["club"] == "Officer" for v in club])
classes = torch.stack([~officer, officer], 1).double()  # a column each
leaders = torch.tensor([0, 33])

# One pass of a transformer whose tokens are nodes and whose scores are a kernel of the graph.
print("members on the right side, of 34, from the labels of the two leaders")
for kernel, time in [("heat", 0.1), ("heat", 1.0), ("random-walk", 3), ("electric", None)]:
    found = label_propagation(club, classes, leaders, kernel, time)
    print(f"  {kernel:>12}", "" if time is None else f"t = {time:<4g}", int((found.argmax(1) == officer).sum()))

# The transformer is kernel ridge regression: exact with adaptive coefficients, slowly reached with fixed ones.
labelled = torch.arange(0, 34, 3)
X = graph_features(club)
K = X @ X.T
ridge = 1e-2 * torch.eye(len(labelled), dtype=torch.float64)
exact = K[:, labelled] @ torch.linalg.solve(K[labelled][:, labelled] + ridge, classes[labelled])
print("largest difference from kernel ridge regression, 12 labels")
for layers in (4, 8, 12, 100):
    errors = [
        float((label_propagation(club, classes, labelled, num_layers=layers, coefficients=kind) - exact).abs().max())
        for kind in ("adaptive", "fixed")
    ]
    print(f"  {layers:>3} layers: conjugate gradients {errors[0]:.0e}, Richardson {errors[1]:.0e}")

# Labels drawn from the heat kernel: what no method can know.
task = GraphGaussianProcessPrompt(club, "heat", time=0.3, n=14)
prompt = task.sample(2_000, torch.Generator().manual_seed(0), torch.float64)
floor = (task.posterior_mean(prompt) - prompt.target).square().mean()
print(f"labels of variance {float(prompt.target.square().mean()):.3f}: Bayes error from 14 nodes {float(floor):.3f}")
