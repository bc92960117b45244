"""Regression in context: layers that are steps of gradient descent, and the steps that training finds."""

import torch

from graphtf.incontext import InContextRegression, InContextTransformer, from_algorithm, linear_transformer

LAYERS, STEPS = 4, 1000
torch.set_num_threads(1)  # the tensors are tiny
task = InContextRegression(d=5, n=20)
test = task.sample(20_000, torch.Generator().manual_seed(1))


def log_loss(predictions: torch.Tensor) -> list[float]:
    """Natural log of the mean squared error, layer by layer."""
    return (predictions - test.target).square().mean(-1).log().tolist()


def train(model: InContextTransformer) -> InContextTransformer:
    """Adam on fresh prompts, from small random weights."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        prompt = task.sample(500, generator)
        loss = (model(prompt) - prompt.target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


models = {
    # weights that are set
    "equal steps": from_algorithm("gradient-descent", d=5, steps=[0.63] * LAYERS),
    "best unequal steps": from_algorithm("gradient-descent", d=5, steps=[2.14, 0.89, 0.52, 0.36]),
    "GD++, three layers": from_algorithm("gd++", d=5, steps=[0.738, 4.564, 5.136], moves=[0.339, 0.163, 0.0]),
    # and weights that are learned
    "trained descent": train(linear_transformer(5, LAYERS, sparsity="a", std=0.2)),
    "trained GD++": train(linear_transformer(5, LAYERS, sparsity="ab", std=0.1)),
}
print("ln of the squared error after 1 ... 4 layers")
with torch.no_grad():
    for name, model in models.items():
        print(f"{name:>20}", *(f"{value:6.2f}" for value in log_loss(model(test, return_all=True)[1:])))
steps = sorted(models["trained descent"].effective_steps().tolist(), reverse=True)
print("steps of the trained descent:", *(f"{step:.2f}" for step in steps))
