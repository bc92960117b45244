"""Attention between all nodes of every graph of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout, scaled_dot_product_attention

from graphtf.models.dense_layout import DenseLayout


def attend_to_all(qkv: Tensor, layout: DenseLayout, bias: Tensor | None = None, rate: float = 0.0) -> Tensor:
    r"""Multi-head attention of every node to all nodes of its graph.

    .. math:: o_i = \sum_j \mathrm{softmax}_j\Bigl(\frac{q_i \cdot k_j}{\sqrt d} + b_{ij}\Bigr) v_j

    Args:
        qkv: `[n, 3 H d]` queries, keys and values, each head after head.
        layout: where they go; it knows the number of heads.
        bias: `[G, H, N, N]`, or what can be expanded to it, with the least finite number where the key is padding;
            `None`: :meth:`DenseLayout.logits_mask`. Gradients reach it.
        rate: dropout probability of the attention weights.

    Returns:
        `[n, H d]`.

    Example:
        >>> import torch
        >>> layout = DenseLayout.from_batch(torch.tensor([0, 0, 1]), num_nodes=3, num_graphs=2, heads=1)
        >>> qkv = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0], [0.0, 0.0, 7.0]])
        >>> attend_to_all(qkv, layout).flatten()  # without queries the mean over each graph
        tensor([3., 3., 7.])
    """
    bias = layout.logits_mask(qkv.dtype) if bias is None else bias.to(qkv.dtype)
    graphs, size = layout.mask.shape
    if qkv.device.type == "cpu" and not rate:
        return _Attention.apply(qkv, bias.expand(graphs, layout.heads, size, size), layout)
    rows = qkv.reshape(len(qkv) * 3 * layout.heads, -1).index_select(0, layout.source)
    q, k, v = rows.view(3, graphs, layout.heads, size, -1).unbind(0)
    if qkv.device.type == "cpu":
        logits = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).add_(bias)
        out = dropout(logits.softmax(-1), rate) @ v
    else:
        out = scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=rate)
    return out.reshape(-1, out.shape[-1]).index_select(0, layout.merged).view(len(qkv), -1)


class _Attention(torch.autograd.Function):
    """By products of padded matrices: as small as molecules, they take half the time of torch's fused kernel."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, layout: DenseLayout) -> Tensor:
        graphs, size = layout.mask.shape
        blocks = graphs * layout.heads
        width = qkv.shape[1] // (3 * layout.heads)
        # Rows in the padding are copies of others, so finite; as keys they are masked, as queries nobody reads them.
        rows = qkv.reshape(-1, width).index_select(0, layout.source).view(3, blocks, size, width)
        q, k, v = rows.unbind(0)
        logits = torch.bmm(q, k.transpose(1, 2)).view(bias.shape)
        torch.add(bias, logits, alpha=width**-0.5, out=logits)
        weight = logits.softmax(-1).view(blocks, size, size)
        ctx.save_for_backward(rows, weight)
        ctx.layout = layout
        return torch.bmm(weight, v).view(-1, width).index_select(0, layout.merged).view(len(qkv), -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (rows, weight), layout = ctx.saved_tensors, ctx.layout
        (q, k, v), width = rows.unbind(0), rows.shape[-1]
        of_out = (
            torch.zeros_like(q).view(-1, width).index_copy_(0, layout.merged, grad.reshape(-1, width)).view(q.shape)
        )
        of_weight = torch.bmm(of_out, v.transpose(1, 2))
        of_logits = torch._softmax_backward_data(of_weight, weight, -1, weight.dtype)
        of_rows = torch.empty_like(rows)
        torch.bmm(of_logits, k, out=of_rows[0])
        torch.bmm(of_logits.transpose(1, 2), q, out=of_rows[1])
        torch.bmm(weight.transpose(1, 2), of_out, out=of_rows[2])
        of_rows[:2].mul_(width**-0.5)
        of_qkv = of_rows.view(-1, width).index_select(0, layout.target).view(len(grad), -1)
        graphs, size = layout.mask.shape
        of_bias = of_logits.view(graphs, layout.heads, size, size) if ctx.needs_input_grad[1] else None
        return of_qkv, of_bias, None
