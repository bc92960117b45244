"""The linear transformers behind a positional encoding: at a construction, at random, or as in the paper's release."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graphtf.attention import Norm, StructuredAttention
from graphtf.constructions import (
    electric_flow,
    heat_kernel,
    random_walk,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.constructions.heat import chebyshev_coefficients
from graphtf.nn.conductances import EdgeConductances
from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.transformer import LinearTransformer


def build_transformer(config: LinearTransformerPEConfig, head: int = 0) -> LinearTransformer:
    """The transformer that a configuration names, with its weights at the start.

    Args:
        config: the configuration; its seed decides random weights.
        head: which head it is for; random weights differ between heads.

    Returns:
        A transformer whose first register takes the initial state of the encoding.

    Example:
        >>> build_transformer(LinearTransformerPEConfig(k=3)).num_layers
        3
    """
    depth = config.num_layers or 1
    delta = 0.5 if config.normalization == "sym" else 1.0  # 1 / the largest possible eigenvalue
    slots = config.init == "slots"
    if config.start == "electric":
        transformer = electric_flow(depth, delta, dtype=torch.float32)
    elif config.start == "resistive" and not config.memory:
        transformer = resistive_embedding(depth, delta, dtype=torch.float32)
    elif config.start == "heat" and slots:
        transformer = heat_kernel(depth, s=depth / 2, lambda_max=1 / delta, dtype=torch.float32)
    elif config.start in ("eigenvectors", "resistive"):
        # Slightly more than the largest eigenvalue, so that its eigenvector (of a bipartite graph) is not lost.
        mu = 1.125 / delta if slots else 1 / delta
        transformer = subspace_iteration(depth, mu, orthonormalize=slots, dtype=torch.float32)
    elif config.start in ("random-walk", "heat"):
        transformer = random_walk(depth, dtype=torch.float32)
    else:
        transformer = _random(config, config.seed + 1000 * head, release=config.start == "release")
    transformer.loops = config.num_loops or 1
    return transformer.requires_grad_()


def build_memory(config: LinearTransformerPEConfig) -> nn.Parameter | None:
    r"""How the states after the layers add up to the columns, if the configuration has memory.

    .. math:: \mathrm{column}_l = \sum_{j=0}^{k} \Gamma_{lj} \Phi_j

    At the start column `l` is the state after layer `l`. The two starts that need memory have layers
    :math:`\Phi_j = M^j \Phi_0`. Resistive, :math:`M = I - \delta L`: the first `l` terms of the power series of
    :math:`(L^+)^{1/2}`. Heat, :math:`M = I - L`: the Chebyshev expansion of :math:`e^{-l L / 2}` up to degree `k`.

    Returns:
        `[H, k, k + 1]`, equal for all heads.

    Example:
        >>> build_memory(LinearTransformerPEConfig(k=2, memory=True))[0].tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if not config.memory:
        return None
    k = config.k
    gamma = torch.zeros(k, k + 1, dtype=torch.float64)
    if config.start == "heat":
        times = [column / 2 for column in range(1, k + 1)]
        gamma = torch.stack([chebyshev_coefficients(k, t, 2.0) for t in times]) @ _chebyshev_in_walk(k)
    elif config.start == "resistive":
        term = math.sqrt(0.5 if config.normalization == "sym" else 1.0)
        for j in range(k):
            gamma[j:, j] = term
            term *= (2 * j + 1) / (2 * j + 2)
    else:
        gamma.diagonal(1).fill_(1.0)
    return nn.Parameter(gamma.float().repeat(config.heads, 1, 1))


def _chebyshev_in_walk(degree: int) -> Tensor:
    r"""`[degree + 1, degree + 1]`, row `j`: the Chebyshev polynomial :math:`T_j(\lambda - 1)` in powers of 1 - lambda.

    The interval [0, 2] serves both normalizations: a tighter one has coefficients that cancel.
    """
    rows = torch.eye(degree + 1, dtype=torch.float64)
    for j in range(1, degree + 1):
        product = -rows[j - 1].roll(1)  # the top coefficient is still zero
        rows[j] = product if j == 1 else 2 * product - rows[j - 2]
    return rows


def build_conductances(config: LinearTransformerPEConfig) -> EdgeConductances | None:
    """The network that learns conductances, if the configuration declares features."""
    if not config.learned_conductances:
        return None
    return EdgeConductances(
        config.heads,
        config.node_types,
        config.edge_types,
        config.node_dim,
        config.edge_dim,
        config.hidden,
        seed=config.seed + 2,
    )


def build_slots(config: LinearTransformerPEConfig) -> tuple[nn.Parameter | None, nn.Linear | None, Tensor | None]:
    """The table of slots, the linear readout and the order of the slots at evaluation, where there are such.

    Args:
        config: the configuration; its seed decides all three.

    Returns:
        Table `[num_slots, c]`, a map from `c` to `k` columns (random starts only) and `[num_slots]` a permutation; all
        `None` unless `init="slots"`.

    Example:
        >>> table, readout, order = build_slots(LinearTransformerPEConfig(k=6, init="slots"))
        >>> table.shape, readout.weight.shape
        (torch.Size([64, 8]), torch.Size([6, 8]))
    """
    if config.init != "slots":
        return None, None, None
    generator = torch.Generator().manual_seed(config.seed + 1)
    columns = config.channels or 1
    if config.start == "eigenvectors":
        columns -= 1  # the first column is the trivial vector
    table = nn.Parameter(torch.randn(config.num_slots, columns, generator=generator))
    order = torch.randperm(config.num_slots, generator=generator)
    if config.start not in ("release", "random"):
        return table, None, order
    weight = (2 * torch.rand(config.k, columns, generator=generator) - 1) * columns**-0.5
    readout = nn.Linear(columns, config.k, bias=False, device="meta").to_empty(device="cpu")  # draws nothing
    readout.weight = nn.Parameter(weight)
    return table, readout, order


def _random(config: LinearTransformerPEConfig, seed: int, release: bool) -> LinearTransformer:
    """Random weights; `release` adds what the paper's module has: per-channel weights, unit columns, an update of B."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> Tensor:
        return torch.randn(shape, generator=generator) * std

    layers = []
    norm: Norm = "column" if config.init == "slots" else "none"
    for _ in range(config.num_layers or 1):
        if release:
            c = config.channels or 1
            layer = StructuredAttention(
                laplacian=normal(1, std=0.5),
                value=1 + normal(1, 1, 1, c, std=0.5),
                skip=torch.ones(1, 1, c),  # Phi <- 2 Phi + S Phi V
                score=normal(1, 1, 1, c, std=0.5),
                norm=norm,
                update=torch.stack([torch.ones(()), normal(std=0.5)]),  # B <- 2 B + S_B B
                update_score=normal(1, 1, c, std=0.5),
            )
        else:
            layer = StructuredAttention(
                laplacian=1 + normal(1, std=0.3),
                value=-1 + normal(1, 1, 1, 1, std=0.3),
                skip=normal(1, 1, 1, std=0.1),
                norm=norm,
            )
            if config.init != "slots":
                _bound(layer, 2.0 if config.normalization == "sym" else 1.0)
        layers.append(layer)
    return LinearTransformer(layers, registers=("phi",), readout="phi")


@torch.no_grad()
def _bound(layer: StructuredAttention, lambda_max: float) -> None:
    """Scale a layer `x -> (1 + r) x + b v L x`, so that it makes nothing longer and something stay as long as it is."""
    at_zero = 1 + layer.skip
    at_end = at_zero + layer.laplacian * layer.value * lambda_max
    gain = torch.maximum(at_zero.abs(), at_end.abs()).max()
    layer.skip.copy_(at_zero / gain - 1)
    layer.value.div_(gain)
