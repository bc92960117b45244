"""Memory in context: momentum that is learned, conjugate gradients that are computed, and a solver on graphs."""

import torch

from graphtf.incontext import (
    GraphMemformer,
    InContextRegression,
    InContextTransformer,
    from_algorithm,
    linear_transformer,
    memformer,
)
from graphtf.solvers import electric_potential

LAYERS, STEPS = 4, 600
torch.set_num_threads(1)  # the tensors are tiny
# covariates of condition 16, rotated: the same in all prompts, so that it can be learned
task = InContextRegression(5, 20, (1.0, 1.0, 0.5, 0.25, 1.0), convention="scales", rotate=True)
test = task.sample(20_000, torch.Generator().manual_seed(1))


def train(model: InContextTransformer) -> InContextTransformer:
    """Adam on fresh prompts, from small random weights."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=0.03, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        prompt = task.sample(500, generator)
        loss = (model(prompt) - prompt.target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    return model


models = {
    "no memory, trained": train(linear_transformer(5, LAYERS, sparsity="a", std=0.2)),
    "cgd memory, trained": train(memformer(5, LAYERS, "cgd", std=0.2)),
    "lfom memory, trained": train(memformer(5, LAYERS, "lfom", std=0.2)),
    "conjugate gradients": from_algorithm("conjugate-gradient", num_layers=LAYERS),  # of every prompt, not trained
}
print("ln of the squared error after 4 layers, and trained numbers")
with torch.no_grad():
    for name, model in models.items():
        print(f"{name:>20} {float((model(test) - test.target).square().mean().log()):6.2f} {model.num_parameters:5}")

# On a graph the samples are the rows of the incidence matrix, and memory is a solver.
ring = torch.stack([torch.arange(20), (torch.arange(20) + 1) % 20])
psi = torch.zeros(20)
psi[0], psi[10] = 1.0, -1.0
print("\nresidual of the potentials in a ring of 20 nodes")
for layers in (5, 10, 20):
    solver = GraphMemformer.from_spectrum(layers, lambda_min=0.02)  # smallest eigenvalue over the largest
    plain = from_algorithm("gradient-descent", "electric", steps=[1.0] * layers)
    found = [float(electric_potential(ring, psi, method=model).residual) for model in (solver, plain)]
    print(f"{layers:2} layers: memory {found[0]:.1e}, without {found[1]:.1e}")
