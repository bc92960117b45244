"""The encoding that starts at random columns: diagonals and entries of polynomials in `L`, estimated at linear cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import edge_at, local_index
from graphtf.nn.head_encoding import head_mixes, leverages_of, networks, on_networks
from graphtf.precision import full_precision

if TYPE_CHECKING:
    from graphtf.nn.linear_transformer_pe import LinearTransformerPE

BLOCK = 64  # nodes whose random numbers are drawn at once


def encode_random(
    module: LinearTransformerPE,
    graph: Incidence,
    pairs: Tensor,
    mix: Tensor | None = None,
    listed: Tensor | None = None,
    x: Tensor | None = None,
    edge_attr: Tensor | None = None,
    leverage: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Estimate the entries of :math:`p_l(L)` from `q` columns :math:`\Phi_0` and :math:`\Phi_l = p_l(L) \Phi_0`.

    .. math:: \mathrm{node}_{il} = \frac1q \sum_c \Phi_l[i, c] \Phi_0[i, c], \qquad
        \mathrm{edge}_{(u, v) l} = \frac1{2q} \sum_c \Phi_l[u, c] \Phi_0[v, c] + \Phi_0[u, c] \Phi_l[v, c]

    Their mean over all draws is the encoding with `init="basis"`, their deviation from it falls with
    :math:`1 / \sqrt q`. With demands that sum to zero :math:`\Phi_0` is projected first.

    Args:
        module: the encoder, with `init="random"`.
        graph: an operator that is not normalized, or with a single network any.
        pairs: `[2, P]` pairs of nodes.
        mix: `[k, k + 1]` what `module.coefficients` gives, if it is at hand, with a single network.
        listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
        x: node features.
        edge_attr: edge features.
        leverage: whether pairs also get leverages, where the configuration has them.

    Returns:
        `[n, node_channels]` and `[P, edge_channels]`; zero for pairs of different components.

    Raises:
        ValueError: there are several heads and the operator is normalized, or features are missing.

    Reference: Hutchinson, Commun. Stat. Simul. 18, 1989; Bekas, Kokiopoulou, Saad, "An estimator for the diagonal of a
    matrix", Appl. Numer. Math. 57, 2007.
    """
    config, parameter = module.config, module.transformer.stack[0].value.dtype
    with full_precision(graph.device.type):
        if graph.scale is None or module.many_heads:
            graph, weight = networks(module, graph, listed, x, edge_attr)
            split = graph.split_components()
            each = [split._replace(weight=w).normalized(config.normalization) for w in weight]  # type: ignore[arg-type]
        else:
            graph = graph.to(torch.promote_types(graph.dtype, parameter))
            weight = graph.weight.unsqueeze(0)
            each = [graph.split_components()]
        start = _probes(module, each[0])
        mix = head_mixes(module, graph.dtype) if mix is None else mix.to(graph.dtype).unsqueeze(0)
        nodes, edges = [], []
        for network, maps in zip(each, on_networks(mix, weight), strict=True):
            phi = network.center(start) if config.centered else start
            node, edge = _estimates(network, phi, pairs, config.k)
            nodes.append(node @ maps.t())
            edges.append(edge @ maps.t())
        if config.leverage and leverage:
            edges.append(leverages_of(graph, weight, edge_at(graph, pairs)).expand(-1, config.heads))
        edge = torch.cat(edges, 1)
        labels = graph.components()
        edge = torch.where((labels[pairs[0]] == labels[pairs[1]]).unsqueeze(1), edge, 0.0)
    out = parameter if parameter in (torch.float16, torch.bfloat16) else graph.dtype
    return torch.cat(nodes, 1).to(out), edge.to(out)


def _probes(module: LinearTransformerPE, graph: Incidence) -> Tensor:
    """`[n, q]` normal numbers: drawn in training; at evaluation by seed and place within the component alone."""
    columns = module.config.num_probes or 1
    if module.training:
        return torch.randn(graph.num_nodes, columns, dtype=graph.dtype, device=graph.device)
    local, largest = local_index(graph)
    generator = torch.Generator().manual_seed(module.config.seed)
    # Blocks that double, so that the first rows do not depend on how many there are.
    blocks, rows = [], 0
    while rows < max(largest, 1):
        blocks.append(torch.randn(max(rows, BLOCK), columns, dtype=torch.float32, generator=generator))
        rows += len(blocks[-1])
    return torch.cat(blocks).to(graph.device, graph.dtype).index_select(0, local)


def _estimates(graph: Incidence, phi: Tensor, pairs: Tensor, degree: int) -> tuple[Tensor, Tensor]:
    """`[n, degree + 1]` and `[P, degree + 1]` estimated entries of the powers of `T = I - L`."""
    u, v, off, diagonal = graph._laplacian_entries()
    tail, head = pairs
    power, nodes, edges = phi, [], []
    for j in range(degree + 1):
        power = _Walk.apply(off, 1 - diagonal, power, u, v) if j else phi
        nodes.append((power * phi).mean(1))
        edges.append(_Inner.apply(power, phi, tail, head) / (2 * phi.shape[1]))
    return torch.stack(nodes, 1), torch.stack(edges, 1)


def _products(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """`[P]` sums of `x[u] y[v] + y[u] x[v]` over the columns."""
    first = (x.index_select(0, u) * y.index_select(0, v)).sum(1)
    return first + (y.index_select(0, u) * x.index_select(0, v)).sum(1)


def _walk(off: Tensor, diagonal: Tensor, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """`T x` from the entries of `T` at the edges and on the diagonal."""
    out = diagonal.unsqueeze(1) * x
    out.index_add_(0, u, off.unsqueeze(1) * x.index_select(0, v))
    return out.index_add_(0, v, off.unsqueeze(1) * x.index_select(0, u))


class _Walk(torch.autograd.Function):
    """`T x`, which keeps `x` and nothing that is as long as the edges are many."""

    @staticmethod
    def forward(ctx: Any, off: Tensor, diagonal: Tensor, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(off, diagonal, x, u, v)
        return _walk(off, diagonal, x, u, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        off, diagonal, x, u, v = ctx.saved_tensors
        g = gradients[0]
        of_weight = (_products(g, x, u, v), (g * x).sum(1)) if ctx.needs_input_grad[0] else (None, None)
        return *of_weight, _walk(off, diagonal, g, u, v) if ctx.needs_input_grad[2] else None, None, None


class _Inner(torch.autograd.Function):
    """`_products` that keeps no gathered rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, u, v)
        return _products(x, y, u, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, u, v = ctx.saved_tensors
        g, needs = gradients[0], ctx.needs_input_grad
        of_x = _scattered(g, y, u, v) if needs[0] else None
        of_y = _scattered(g, x, u, v) if needs[1] else None
        return of_x, of_y, None, None


def _scattered(g: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Derivative of `_products` in one of its factors: `g` is an operator whose diagonal is zero."""
    return _walk(g, g.new_zeros(len(y)), y, u, v)
