"""Transformers that optimise in context: gradient descent, conjugate gradients, and steps that training finds."""

import torch

from graphtf.incontext import InContextRegression, gradient_descent_transformer, linear_transformer, memformer

LAYERS = 4
task = InContextRegression(d=5, n=20)
test = task.sample(20_000, torch.Generator().manual_seed(1))


def log_loss(predictions: torch.Tensor) -> list[float]:
    """Natural log of the mean squared error, layer by layer."""
    return (predictions - test.target).square().mean(-1).log().tolist()


# Constructed: equal steps, the best unequal ones, and memory whose coefficients are computed from the prompt.
equal = gradient_descent_transformer([0.63 * torch.eye(5)] * LAYERS)
unequal = gradient_descent_transformer([step * torch.eye(5) for step in (2.14, 0.89, 0.52, 0.36)])
adaptive = memformer(5, LAYERS, coefficients="adaptive", preconditioner="scalar")

# Trained from small random weights.
torch.set_num_threads(1)  # the tensors are tiny
trained = linear_transformer(5, LAYERS, sparsity="a", std=0.2)
optimizer = torch.optim.Adam(trained.parameters(), lr=0.03, betas=(0.9, 0.99))
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=1000)
generator = torch.Generator().manual_seed(0)
for _ in range(1000):
    prompt = task.sample(500, generator)
    loss = (trained(prompt) - prompt.target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
    optimizer.step()
    schedule.step()

print("ln of the squared error after 1 ... 4 layers")
with torch.no_grad():
    for name, model in [
        ("equal steps", equal),
        ("best unequal steps", unequal),
        ("conjugate gradients", adaptive),
        ("trained", trained),
    ]:
        print(f"{name:>20}", *(f"{value:6.2f}" for value in log_loss(model(test, return_all=True)[1:])))
print(
    "steps that training found:", *(f"{step:.2f}" for step in sorted(trained.effective_steps().tolist(), reverse=True))
)
