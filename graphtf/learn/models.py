"""Both transformers for many seeds at once: the weights as stacked tensors, the layers as batched dense products.

A thousand graphs of ten nodes are one `bmm`. What is trained here is exported as :class:`graphtf.LinearTransformer` or
:class:`graphtf.LiteralTransformer`, and computes the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from graphtf.attention import Norm, StructuredAttention
from graphtf.layout import PaddedLayout
from graphtf.learn.symmetry import average_over_edges
from graphtf.learn.tasks import MAX_EDGES, NUM_NODES, Problem, Task
from graphtf.literal_attention import LinearAttention
from graphtf.transformer import LinearTransformer, LiteralTransformer

Model = Literal["structured", "literal"]
MODELS: tuple[Model, ...] = ("structured", "literal")
Weights = dict[str, Tensor]
LITERAL = ("query", "key", "value", "skip")
MEAN_TRACE = 72.5  # of L on skip-link graphs: 40 edge ends of mean conductance sinh(2) / 2


@dataclass(frozen=True)
class Design:
    """What a task needs of its transformer.

    Args:
        registers: names of the registers; the answer is read from the last.
        heads: attention heads of a structured layer.
        score: whether registers attend to each other.
        update: whether `B` moves and is normalised in every layer, which makes powers of `L` cheap.
        norm: what a layer does to the registers at its end.
    """

    registers: tuple[str, ...]
    heads: int
    score: bool
    update: bool
    norm: Norm


DESIGNS: dict[Task, Design] = {
    "electric": Design(("psi", "x"), 1, False, True, "none"),
    "resistive": Design(("psi", "x"), 1, False, True, "none"),
    "heat": Design(("e", "m", "psi", "x"), 2, True, False, "none"),
    "eigenvectors": Design(("phi",), 1, False, True, "gram_schmidt"),
}


def design_of(model: Model, task: Task) -> Design:
    """The design of a model.

    The literal one learns heat on two registers, as squares of the one-hot one overflow, and eigenvectors with a second
    register to work on, as the published one.
    """
    if model == "literal" and task == "heat":
        return Design(("psi", "x"), 1, False, False, "none")
    if model == "literal" and task == "eigenvectors":
        return replace(DESIGNS[task], registers=("psi", "phi"))
    return DESIGNS[task]


def initial_weights(model: Model, task: Task, depth: int, seed: int) -> Weights:
    """Random weights of one seed, `[1, depth, ...]`."""
    design = design_of(model, task)
    generator = torch.Generator().manual_seed(seed)

    def normal(scale: float, *shape: int) -> Tensor:
        return scale * torch.randn(1, depth, *shape, generator=generator)

    if model == "literal":
        d = MAX_EDGES + len(design.registers) * NUM_NODES
        scale = {"query": 1.5 * d**-0.5, "key": 1.5 * d**-0.5, "value": 0.01, "skip": 0.01}
        weights = {name: normal(scale[name], d, d) for name in LITERAL}
        if task == "eigenvectors":
            # The score starts as 100 L + Phi Phi^T; with a weaker L the registers see too little of the graph.
            eye = torch.cat([torch.full((MAX_EDGES,), float(NUM_NODES)), torch.ones(d - MAX_EDGES)]).diag()
            weights = {name: average_over_edges(weight) for name, weight in weights.items()}
            weights["query"] = eye.expand(1, depth, d, d)
        # Tied at the start, so that the score is near Z Z^T; two independent maps see nothing of the graph.
        return {**weights, "key": weights["query"].clone()}
    h, p, c = design.heads, len(design.registers), NUM_NODES if task == "eigenvectors" else 1
    weights = {
        "laplacian": NUM_NODES * (1 + normal(0.1, h)),
        "value": (1 if task == "eigenvectors" else 0) + normal(0.03, h, p, p, c),
        "skip": normal(0.03, p, p, c),
    }
    if design.score:
        weights["score"] = normal(0.1, h, p, p, 1)
    if design.update:
        weights["update"] = (torch.tensor([0.0, -0.1]) + normal(0.05, 2))[:, : depth - 1]
    return weights


def initial_registers(design: Design, psi: Tensor) -> Tensor:
    """`[..., n, k]` demands to `[p, ..., n, k]` registers."""
    eye = torch.eye(NUM_NODES, dtype=psi.dtype).expand_as(psi)
    start = {"psi": psi, "phi": psi, "x": torch.zeros_like(psi), "e": eye, "m": torch.zeros_like(psi)}
    return torch.stack([start[name] for name in design.registers])


def operator_scale(task: Task, laplacian: Tensor) -> Tensor:
    """`[G, 1, 1]` that `L` is divided by: its trace, or for heat, where the scale counts, one number for all graphs."""
    if DESIGNS[task].update:
        return laplacian.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    return torch.full_like(laplacian[:, :1, :1], MEAN_TRACE)


def dense_incidence(problem: Problem) -> Tensor:
    """`[G, n, MAX_EDGES]` incidence matrices, columns without edge zero."""
    graph = problem.graph
    m = graph.num_edges // graph.num_graphs
    index = graph.index % NUM_NODES
    edge = torch.arange(graph.num_edges)
    B = torch.zeros(graph.num_graphs, NUM_NODES, MAX_EDGES, dtype=graph.dtype)
    B[edge // m, index[0], edge % m] = graph.weight.sqrt()
    B[edge // m, index[1], edge % m] = -graph.weight.sqrt()
    return B


def model_input(model: Model, task: Task, problem: Problem) -> tuple[Tensor, Tensor]:
    """The scaled operator (`L` for structured, `B` for literal) and the registers `[p, G, n, k]`."""
    laplacian = PaddedLayout(problem.graph).laplacian_blocks
    scale = operator_scale(task, laplacian)
    registers = initial_registers(design_of(model, task), problem.psi)
    return (laplacian / scale if model == "structured" else dense_incidence(problem) / scale.sqrt()), registers


def forward(model: Model, task: Task, weights: Weights, operator: Tensor, registers: Tensor) -> Tensor:
    """Run all layers of all seeds.

    Args:
        model: `"structured"` or `"literal"`.
        task: the task, which fixes the design.
        weights: stacked weights `[S, depth, ...]`.
        operator: `[S, G, n, n]` Laplacians, or `[S, G, n, m]` incidence matrices for the literal model.
        registers: `[S, p, G, n, k]`.

    Returns:
        `[S, G, n, k]` last register.
    """
    if model == "literal":
        return _literal(design_of(model, task), weights, operator, registers)
    return _structured(design_of(model, task), weights, operator, registers)


def _structured(design: Design, weights: Weights, L: Tensor, x: Tensor) -> Tensor:
    for layer in range(weights["skip"].shape[1]):
        new = x + _mix(x, weights["skip"][:, layer])
        for head in range(design.heads):
            score = weights["laplacian"][:, layer, head, None, None, None] * L
            if design.score:
                score = score + _outer(_mix(x, weights["score"][:, layer, head]), x)
            new = new + score.unsqueeze(1) @ _mix(x, weights["value"][:, layer, head])
        x = _gram_schmidt(new) if design.norm == "gram_schmidt" else new
        if design.update and layer + 1 < weights["skip"].shape[1]:
            keep, power = weights["update"][:, layer].unbind(1)
            M = NUM_NODES * power[:, None, None, None] * L + (1 + keep)[:, None, None, None] * torch.eye(
                NUM_NODES, dtype=L.dtype
            )
            L = M @ L @ M
            L = L / L.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    return x[:, -1]


def _outer(query: Tensor, x: Tensor) -> Tensor:
    """`sum_b query_b x_b^T`: `[S, p, G, n, k]` twice to `[S, G, n, n]`."""
    q, key = (t.permute(0, 2, 3, 1, 4).flatten(3) for t in (query, x))
    return q @ key.transpose(-1, -2)


def _mix(x: Tensor, weight: Tensor) -> Tensor:
    """`out[b] = sum_a x[a] weight[a, b]` for `[S, p, G, n, k]` and `[S, p, p, c]`."""
    if weight.shape[1] == 1:
        return x * weight[:, 0, 0, None, None, None]
    return (weight[..., 0].transpose(1, 2) @ x.flatten(2)).view_as(x)


def _gram_schmidt(x: Tensor) -> Tensor:
    """Orthonormal columns with the signs of Gram-Schmidt."""
    q, r = torch.linalg.qr(x)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _literal(design: Design, weights: Weights, B: Tensor, x: Tensor) -> Tensor:
    m = B.shape[-1]
    Z = torch.cat([B, x.permute(0, 2, 3, 1, 4).flatten(3)], dim=3)  # [S, G, n, d]
    for layer in range(weights["skip"].shape[1]):
        flat = Z.flatten(1, 2)
        query, key, value, skip = ((flat @ weights[name][:, layer]).view_as(Z) for name in LITERAL)
        Z = Z + skip + (query @ key.transpose(-1, -2)) @ value
        block, registers = Z[..., :m], Z[..., m:]
        if design.update:
            block = block / block.norm(dim=(2, 3), keepdim=True)
        if design.norm != "none":
            registers = registers / registers.norm(dim=2, keepdim=True)
        Z = torch.cat([block, registers], dim=3)
    return Z[..., -x.shape[-1] :]


def export(model: Model, task: Task, weights: Weights, seed: int) -> LinearTransformer | LiteralTransformer:
    """One seed's trained weights as a module of the library.

    Args:
        model: `"structured"` or `"literal"`.
        task: the task, which fixes the design.
        weights: stacked weights `[S, depth, ...]`.
        seed: position in the stack.

    Returns:
        A `LinearTransformer` whose operator is `B` with unit Frobenius norm (for heat `B / sqrt(72.5)`), or a
        `LiteralTransformer` on tokens `[B | registers]`, `B` likewise and padded to 20 columns.

    Example:
        >>> export("structured", "electric", initial_weights("structured", "electric", 3, seed=0), 0).num_layers
        3
    """
    design = design_of(model, task)
    own = {name: weight[seed].detach() for name, weight in weights.items()}
    depth = own["skip"].shape[0]
    if model == "literal":
        unit = torch.zeros(own["skip"].shape[-1], dtype=torch.bool)
        unit[MAX_EDGES:] = design.norm != "none"
        block = MAX_EDGES if design.update else 0
        layers: list[LinearAttention] = []
        for i in range(depth):
            query, key, value = (own[name][i][None] for name in LITERAL[:3])
            layers.append(LinearAttention(query, key, value, own["skip"][i], unit, 0.0, block))
        return LiteralTransformer(layers)
    structured: list[StructuredAttention] = []
    for i in range(depth):
        update = own["update"][i] * torch.tensor([1, NUM_NODES]) if design.update and i + 1 < depth else None
        score = own["score"][i] if design.score else None
        structured.append(
            StructuredAttention(own["laplacian"][i], own["value"][i], own["skip"][i], None, score, design.norm, update)
        )
    return LinearTransformer(structured, design.registers, design.registers[-1])
