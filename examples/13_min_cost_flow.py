"""A transformer that routes flows of least cost within capacities: what prices are worth, and a short training."""

import torch

from graphtf.incontext import FlowTransformer, MinCostFlowPrompt, exact_rate, flow_score

torch.set_num_threads(1)  # the tensors are tiny
task = MinCostFlowPrompt(n=12)  # random graphs, three pairs of nodes that exchange up to three units each
unseen = task.sample(500, torch.Generator().manual_seed(1))  # with exact flows, from a linear program


def report(name, model):
    """Print how good the flows on unseen graphs are."""
    with torch.no_grad():
        flow = model(unseen.graph, unseen.length, unseen.demand, unseen.capacity)
    score, exact = flow_score(unseen, flow), 100 * exact_rate(unseen, flow)
    gap, missing = 100 * float(score.gap.mean()), 100 * float(score.demand.mean())
    print(f"{name:38s} {gap:6.2f} {missing:8.2f} {exact:7.1f}")


print("percent, mean over 500 graphs            gap  missing   exact")
shrinkage = FlowTransformer.from_coefficients(torch.tensor([[1 / 12, 0.05, 0.0]]).expand(200, 3))
report("200 layers without prices", shrinkage)
for depth in (16, 50, 200):
    report(f"{depth} layers with prices, not trained", FlowTransformer.primal_dual(depth))

model = FlowTransformer(16, lambda_max=5.0, threshold=1.2)
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01, betas=(0.9, 0.99))
generator = torch.Generator().manual_seed(0)
for step in range(150):
    if step % 4 == 0:
        batch = task.sample(64, generator)
    flow = model(batch.graph, batch.length, batch.demand, batch.capacity)
    loss = (flow - batch.flow).square().sum() / 64
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
report(f"16 layers, {model.num_parameters} numbers trained", model)

print("\none graph: edge, length, capacity, flow of the layers, exact flow")
first = unseen.graph.batch[unseen.graph.index[0]] == 0
with torch.no_grad():
    flow = model(unseen.graph, unseen.length, unseen.demand, unseen.capacity)
for (u, v), *values in zip(
    unseen.graph.index[:, first].T.tolist(),
    *(x[first].tolist() for x in (unseen.length, unseen.capacity, flow, unseen.flow)),
    strict=True,
):
    if abs(values[-1]) > 0 or abs(values[-2]) > 0.05:
        print("  {:2d} - {:2d}   {:.2f}  {:.0f}  {:5.2f}  {:4.0f}".format(u, v, *values))
