"""Sparse recovery: weights that belong to one matrix, and layers that get the matrix with the prompt."""

import torch

from graphtf import reference
from graphtf.incontext import FixedMatrixLasso, SparseRecoveryPrompt, UnrolledLasso, nmse_db

LAYERS, STEPS = 12, 300
torch.set_num_threads(1)  # the tensors are small
one_matrix, new_matrices = SparseRecoveryPrompt(m=25, n=50, vary=False), SparseRecoveryPrompt(m=25, n=50)


def train(model: torch.nn.Module, task: SparseRecoveryPrompt, lr: float) -> None:
    """Adam on fresh prompts; the loss is the relative error after the last layer."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        A, y, x = task.sample(128, generator)
        loss = (model(A, y) - x).square().sum() / x.square().sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()


lista = FixedMatrixLasso(one_matrix.matrix.float(), LAYERS, "lista")
train(lista, one_matrix, 3e-3)
in_context = UnrolledLasso(LAYERS, "analytic", memory=True)
train(in_context, new_matrices, 2e-2)

print("error in dB on           one matrix   new matrices   trained numbers")
for name, solve, count in [
    ("LISTA", lista, lista.num_parameters),
    ("layers with memory", in_context, in_context.num_parameters),
    ("FISTA, 12 steps", lambda A, y: reference.fista(A, y, 0.3, LAYERS)[-1], 0),
    ("FISTA, 1000 steps", lambda A, y: reference.fista(A, y, 0.003, 1000)[-1], 0),
]:
    errors = []
    for task in (one_matrix, new_matrices):
        A, y, x = task.sample(300, torch.Generator().manual_seed(1))
        with torch.no_grad():
            errors.append(nmse_db(solve(A, y), x))
    print(f"{name:>20} {errors[0]:14.1f} {errors[1]:14.1f} {count:17}")
