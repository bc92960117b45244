"""Why Adam trains linear attention faster than SGD: curvature along both paths, and the noise of the gradients."""

import copy

import torch

from graphtf.diagnostics import directional_smoothness, gradient_noise, noise_tails, robust_condition_number
from graphtf.incontext import InContextRegression, Prompt, linear_transformer

torch.set_num_threads(1)  # the tensors are tiny
task = InContextRegression(d=5, n=20)
test = task.sample(500, torch.Generator().manual_seed(99))


def loss(model: torch.nn.Module, prompt: Prompt) -> torch.Tensor:
    """Mean squared error of the query's label."""
    return (model(prompt) - prompt.target).square().mean()


def trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trained weights."""
    return [p for p in model.parameters() if p.requires_grad]


def clipped_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, prompt: Prompt) -> None:
    """One step, with gradients of norm 1 at most."""
    optimizer.zero_grad()
    loss(model, prompt).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


# Three layers, 150 weights; the same start and batches for both optimizers.
print("optimizer  step  test loss  condition number  curvature along the update  gradient norm")
for name, build in [
    ("SGD", lambda weights: torch.optim.SGD(weights, lr=0.02, momentum=0.9)),
    ("Adam", lambda weights: torch.optim.Adam(weights, lr=0.02, betas=(0.9, 0.9))),
]:
    model = linear_transformer(5, 3, sparsity="ab", std=0.05)
    weights = trained(model)
    optimizer, generator = build(weights), torch.Generator().manual_seed(0)
    for step in range(501):
        before = copy.deepcopy(model) if step % 250 == 0 else None
        clipped_step(model, optimizer, task.sample(500, generator))
        if before is not None:
            update = [w.detach() - b.detach() for w, b in zip(weights, trained(before), strict=True)]
            smoothness = directional_smoothness(before, loss, test, update)
            condition = robust_condition_number(before, loss, test)
            numbers = f"{loss(before, test).item():9.4f}  {condition:16.0f}  {smoothness.curvature:26.3f}"
            print(f"{name:9}  {step:4}  {numbers}  {smoothness.gradient_norm:13.3f}")

# Heavy-tailed covariates make heavy-tailed gradient noise.
print("\ngradient noise, 300 batches of 100 prompts")
for name, covariates in [
    ("normal", task),
    ("gamma", InContextRegression(5, 20, (0.2,) * 5, covariates="gamma", weights="identity")),
]:
    generator = torch.Generator().manual_seed(1)
    model = linear_transformer(5, 3, sparsity="ab", std=0.05)
    batches = (covariates.sample(100, generator) for _ in range(300))
    tails = noise_tails(gradient_noise(model, loss, batches, covariates.sample(10_000, generator)))
    numbers = f"excess kurtosis {tails.excess_kurtosis:6.1f}  largest over median {tails.max_over_median:5.1f}"
    print(f"{name:6}  skew {tails.skew:4.1f}  {numbers}")
