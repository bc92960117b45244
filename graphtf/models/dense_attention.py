"""Attention between all nodes of every graph of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.nn.functional import dropout, scaled_dot_product_attention

from graphtf.compiled import is_traced
from graphtf.differentiable import is_differentiated_again
from graphtf.models.dense_layout import DenseLayout
from graphtf.precision import full_precision
from graphtf.validate import check_dropout


def attend_to_all(qkv: Tensor, layout: DenseLayout, bias: Tensor | None = None, rate: float = 0.0) -> Tensor:
    r"""Multi-head attention of every node to all nodes of its graph.

    .. math:: o_i = \sum_j \mathrm{softmax}_j\Bigl(\frac{q_i \cdot k_j}{\sqrt d} + b_{ij}\Bigr) v_j

    Args:
        qkv: `[n, 3 H d]` queries, keys and values, each head after head.
        layout: where they go; it knows the number of heads.
        bias: `[G, H, N, N]`, or what can be expanded to it, with the least finite number where the key is padding;
            `None`: :meth:`DenseLayout.logits_masks`. Gradients reach it. It needs a layout of one group.
        rate: dropout probability of the attention weights.

    Returns:
        `[n, H d]`.

    Raises:
        ValueError: there is a bias, and the layout has several groups; or `rate` is no probability below 1.

    Example:
        >>> import torch
        >>> layout = DenseLayout(torch.tensor([0, 0, 1]), num_nodes=3, num_graphs=2, heads=1)
        >>> qkv = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0], [0.0, 0.0, 7.0]])
        >>> attend_to_all(qkv, layout).flatten()  # without queries the mean over each graph
        tensor([3., 3., 7.])
    """
    check_dropout("rate", rate)
    if bias is not None and len(layout.groups) > 1:
        raise ValueError(f"a bias needs a layout of one group, but this one has {len(layout.groups)}")
    with full_precision(qkv.device.type):  # half precision would make the mask of the padding infinite
        return _attend_to_all(qkv, layout, bias, rate)


def _attend_to_all(qkv: Tensor, layout: DenseLayout, bias: Tensor | None, rate: float) -> Tensor:
    if bias is not None:
        graphs, size = layout.groups[0].mask.shape
        bias = bias.to(qkv.dtype).expand(graphs, layout.heads, size, size)
    if qkv.device.type == "cpu" and not is_traced():
        return _Attention.apply(qkv, bias, layout, rate)
    masks = layout.logits_masks(qkv.dtype) if bias is None else [bias]
    rows = qkv.reshape(len(qkv) * 3 * layout.heads, qkv.shape[1] // (3 * layout.heads)).index_select(0, layout.source)
    outs = []
    for group, added in zip(layout.groups, masks, strict=True):
        graphs, size = group.mask.shape
        q, k, v = (
            part.narrow(0, group.first, graphs * layout.heads * size).view(graphs, layout.heads, size, rows.shape[1])
            for part in rows.view(3, -1, rows.shape[1])
        )
        if qkv.device.type == "cpu":
            logits = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).add_(added)
            out = dropout(logits.softmax(-1), rate) @ v
        else:
            out = scaled_dot_product_attention(q, k, v, attn_mask=added, dropout_p=rate)
        outs.append(out.reshape(-1, out.shape[-1]))
    return torch.cat(outs).index_select(0, layout.merged).view(len(qkv), qkv.shape[1] // 3)


class _Attention(torch.autograd.Function):
    """By products of padded matrices: as small as molecules, they take half the time of torch's fused kernel."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, qkv: Tensor, bias: Tensor | None, layout: DenseLayout, rate: float) -> Tensor:
        width = qkv.shape[1] // (3 * layout.heads)
        # Rows in the padding are copies of others, so finite; as keys they are masked, as queries nobody reads them.
        rows = qkv.reshape(-1, width).index_select(0, layout.source).view(3, -1, width)
        out, weights, kept = torch.empty_like(rows[0]), [], []
        masks = layout.logits_masks(qkv.dtype) if bias is None else [bias]
        for (q, k, v), of_group, added in zip(
            _matrices(rows, layout), _matrices(out[None], layout), masks, strict=True
        ):
            logits = torch.bmm(q, k.transpose(1, 2)).unflatten(0, (len(q) // layout.heads, layout.heads))
            weights.append(torch.add(added, logits, alpha=width**-0.5, out=logits).softmax(-1).flatten(0, 1))
            dropped, mask = torch.native_dropout(weights[-1], rate, True) if rate else (weights[-1], None)
            kept.append(mask)
            torch.bmm(dropped, v, out=of_group[0])
        ctx.save_for_backward(rows, *weights, *kept)
        ctx.layout, ctx.scale = layout, 1 / (1 - rate)
        return out.index_select(0, layout.merged).view(len(qkv), qkv.shape[1] // 3)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_differentiated_again(grad):
            raise RuntimeError(
                "attention over all pairs of nodes has no second derivatives on the CPU by torch.autograd, and none of "
                "many at once; leave out create_graph=True or vectorize=True, use torch.func, or a model without such "
                "attention, GINE or GraphTransformer"
            )
        (rows, *saved), layout = ctx.saved_tensors, ctx.layout
        weights, kept = saved[: len(layout.groups)], saved[len(layout.groups) :]
        width, of_bias = rows.shape[-1], None
        of_rows = torch.empty_like(rows)
        of_out = torch.zeros_like(rows[0]).index_copy_(0, layout.merged, grad.reshape(-1, width))[None]
        for (q, k, v), of_parts, (of_o,), weight, mask in zip(
            *(_matrices(x, layout) for x in (rows, of_rows, of_out)), weights, kept, strict=True
        ):
            of_weight, dropped = torch.bmm(of_o, v.transpose(1, 2)), weight
            if mask is not None:
                of_weight.mul_(mask).mul_(ctx.scale)
                dropped = (weight * mask).mul_(ctx.scale)
            of_logits = torch._softmax_backward_data(of_weight, weight, -1, weight.dtype)
            for out, left, right in ((of_parts[0], of_logits, k), (of_parts[1], of_logits.transpose(1, 2), q)):
                torch.baddbmm(out, left, right, beta=0, alpha=width**-0.5, out=out)
            torch.bmm(dropped.transpose(1, 2), of_o, out=of_parts[2])
            if ctx.needs_input_grad[1]:
                of_bias = of_logits.unflatten(0, (len(q) // layout.heads, layout.heads))
        of_qkv = of_rows.view(-1, width).index_select(0, layout.target).view(len(grad), 3 * grad.shape[1])
        return of_qkv, of_bias, None, None


def _matrices(rows: Tensor, layout: DenseLayout) -> list[list[Tensor]]:
    """`[G H, N, d]` matrices of every group in each of the parts of `[parts, S, d]`."""
    found = []
    for group in layout.groups:
        graphs, size = group.mask.shape
        blocks = graphs * layout.heads
        found.append(
            [part.narrow(0, group.first, blocks * size).view(blocks, size, part.shape[1]) for part in rows.unbind(0)]
        )
    return found
