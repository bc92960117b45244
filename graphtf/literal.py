"""The literal twin of a structured layer: explicit Q, K, V, R on the tokens `[B | registers]` of one size of graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtf.activation import check_activations
from graphtf.attention import Layer, StructuredAttention
from graphtf.literal_attention import LinearAttention
from graphtf.lobpcg import LOBPCG, LiteralLOBPCG
from graphtf.memory import ConjugateGradient, LiteralConjugateGradient
from graphtf.momentum import Momentum
from graphtf.norms import rank_tolerance


def literal_layers(layer: Layer, num_edges: int, channels: int, dtype: torch.dtype) -> Sequence[nn.Module]:
    r"""Literal layers that do together what one structured layer does.

    The map of the scores is :math:`Q_h K_h^\top = \mathrm{diag}(\beta_h D_h, A_h)`, that of the values
    :math:`V_h = \mathrm{diag}(M_h, V_h)`; weights of registers act on every one of the `k` columns. Gram-Schmidt
    becomes two attention layers a column: score :math:`\sum_{j<i} \phi_j \phi_j^\top`, value :math:`-\phi_i`.

    Args:
        layer: the structured layer, or one with memory, whose twin is one layer with explicit scores.
        num_edges: number of edges `m`, the width of the block `B`; for prompts `d`, that of a sample.
        channels: number of columns `k` of every register.
        dtype: floating type of the weights.

    Returns:
        A list of literal layers for tokens of width `m + p k`, column `m + a k + j` being column `j` of register `a`.

    Example:
        >>> import torch
        >>> from graphtf.constructions import electric_flow
        >>> literal_layers(electric_flow(1, delta=0.1).layers[0], num_edges=3, channels=1, dtype=torch.float64)
        [LinearAttention(heads=1, width=5)]

    Raises:
        TypeError: the layer is of a kind that has no literal twin.
        ValueError: it has a proximal step, or an activation with a factor outside or a register score inside.
    """
    if isinstance(layer, ConjugateGradient):
        return [LiteralConjugateGradient(layer, num_edges, channels, dtype)]
    if isinstance(layer, LOBPCG):
        return [LiteralLOBPCG(layer, num_edges, channels, dtype)]
    if isinstance(layer, Momentum):
        layer = layer.structured(dtype)
    if not isinstance(layer, StructuredAttention):
        raise TypeError(
            f"a layer must be a StructuredAttention, ConjugateGradient, LOBPCG or Momentum, but got "
            f"{type(layer).__name__}"
        )
    if layer.prox is not None:
        raise ValueError("a layer with a proximal step has no twin in one attention layer; its network comes after")
    if any(act != "id" for act in layer.act) and (layer.score is not None or bool((layer.laplacian != 1).any())):
        raise ValueError("an activation acts on the whole score of a head: laplacian must be 1 and score None")
    m, p = num_edges, layer.skip.shape[0]
    width = m + p * channels
    heads = layer.value.shape[0]

    def block(registers: Tensor | None, edges: Tensor | float = 0.0) -> Tensor:
        out = torch.zeros(width, width, dtype=dtype)
        if isinstance(edges, Tensor) and edges.dim() == 2:
            out[:m, :m] = edges
        else:
            out.diagonal()[:m] = torch.as_tensor(edges, dtype=dtype)
        if registers is not None:
            full = registers.detach().to(dtype).expand(p, p, channels)
            out[m:, m:] = torch.diag_embed(full).permute(0, 2, 1, 3).reshape(p * channels, p * channels)
        return out

    query, key, value = [], [], []
    skip = block(layer.skip)
    for h in range(heads):
        beta = layer.laplacian[h].detach().to(dtype)
        edges = beta if layer.data is None else beta * layer.data[h].detach().to(dtype)
        query.append(block(None if layer.score is None else layer.score[h], edges))
        value.append(block(layer.value[h], 0.0 if layer.move is None else layer.move[h].detach().to(dtype)))
        if layer.identity is not None:
            skip = skip + layer.identity[h].detach().to(dtype) * block(layer.value[h])
    if layer.update is not None:
        keep, coefficient = layer.update.detach()
        query.append(block(layer.update_score, coefficient))
        value.append(block(None, 1.0))
        skip = skip + block(None, keep)
    key = [torch.eye(width, dtype=dtype)] * len(query)

    unit = torch.zeros(width, dtype=torch.bool)
    unit[m:] = layer.norm != "none"
    tiny = torch.finfo(dtype).tiny
    unit_block = 0 if layer.update is None else m
    act = layer.act + check_activations(None, len(query) - heads)
    first = LinearAttention(torch.stack(query), torch.stack(key), torch.stack(value), skip, unit, tiny, unit_block, act)
    return [first, *_gram_schmidt_layers(layer, m, channels, dtype)]


def _gram_schmidt_layers(
    layer: StructuredAttention, m: int, channels: int, dtype: torch.dtype
) -> list[LinearAttention]:
    if layer.norm != "gram_schmidt":
        return []
    p = layer.skip.shape[0]
    width = m + p * channels
    layers = []
    for i in range(1, channels):
        pairs = [(m + a * channels + j, m + a * channels + i) for a in range(p) for j in range(i)]
        source = torch.zeros(len(pairs), width, 1, dtype=dtype)
        value = torch.zeros(len(pairs), width, width, dtype=dtype)
        for h, (j, target) in enumerate(pairs):
            source[h, j] = 1.0
            value[h, target, target] = -1.0
        unit = torch.zeros(width, dtype=torch.bool)
        unit[[target for _, target in pairs]] = True
        for last in (False, True):
            layers.append(
                LinearAttention(
                    source.clone(),
                    source.clone(),
                    value.clone(),
                    torch.zeros(width, width, dtype=dtype),
                    unit if last else None,
                    rank_tolerance(dtype) if last else 0.0,
                )
            )
    return layers
