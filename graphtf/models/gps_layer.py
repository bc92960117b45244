"""One layer of the GPS model: PyG's `GPSConv` with `GINEConv`, computed without what padding and copies cost."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import dropout
from torch_geometric.nn import GPSConv

from graphtf.models.dense_attention import attend_to_all
from graphtf.models.dense_layout import DenseLayout
from graphtf.models.edge_loops import EdgeLoops
from graphtf.models.gine import gine_layer, gine_sum
from graphtf.models.linear import linear
from graphtf.models.norms import NORMS
from graphtf.validate import check_choice, check_dropout, check_positive_int

PYG_NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch": ("batch_norm", {"allow_single_element": True}),
    "layer": ("layer_norm", {"mode": "node"}),
}


class GPSLayer(GPSConv):
    r"""Message passing and attention over all pairs, side by side, then a feed-forward network.

    .. math::
        h \leftarrow \mathrm{norm}_1(x + \mathrm{GINE}(x, e)) + \mathrm{norm}_2(x + \mathrm{MHA}(x)), \qquad
        x \leftarrow \mathrm{norm}_3(h + \mathrm{MLP}(h)), \qquad
        \mathrm{MHA}_h(x) = \mathrm{softmax}\Bigl(\frac{Q_h K_h^\top}{\sqrt d} + b_h\Bigr) V_h .

    It is a `GPSConv` with the same parameters, whose state it loads and saves; without a bias `b` it gives the same
    numbers. What differs is how they come about: the places of nodes in padded matrices are found once a batch.

    Args:
        channels: width.
        heads: number of heads, a divisor of `channels`.
        dropout: dropout probability of states, in [0, 1).
        attention_dropout: the same of attention weights.
        norm: `"batch"` or `"layer"`.

    Shapes:
        x `[n, channels]`, edge_index `[2, E]`, batch `[n]`, edge_attr `[E, channels]`, bias `[G, heads, N, N]` for `N`
        nodes in the largest graph -> `[n, channels]`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> import torch
        >>> layer = GPSLayer(16, heads=4)
        >>> path, e = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.ones(4, 16)
        >>> layer(torch.randn(3, 16), path, edge_attr=e).shape
        torch.Size([3, 16])

    Reference: Rampášek et al., "Recipe for a general, powerful, scalable graph transformer", NeurIPS 2022.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm: str = "batch",
    ) -> None:
        check_positive_int("channels", channels)
        check_positive_int("heads", heads)
        if channels % heads:
            raise ValueError(f"heads must divide channels, but got channels={channels} and heads={heads}")
        check_dropout("dropout", dropout)
        check_dropout("attention_dropout", attention_dropout)
        name, options = PYG_NORMS[check_choice("norm", norm, tuple(NORMS))]
        super().__init__(
            channels,
            gine_layer(channels),
            heads,
            dropout,
            norm=name,
            norm_kwargs=options,
            attn_kwargs={"dropout": attention_dropout},
        )

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        batch: Tensor | None = None,
        *,
        edge_attr: Tensor,
        layout: DenseLayout | None = None,
        loops: EdgeLoops | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Apply the layer.

        Args:
            x: node states.
            edge_index: senders and receivers.
            batch: graph of every node; `None` for a single graph.
            edge_attr: edge states.
            layout: that of the batch, if it is at hand.
            loops: compiled loops over the edges.
            bias: what is added to the logits of the attention, the mask of the padding included
                (:meth:`DenseLayout.logits_masks`); `None`: that mask alone.
        """
        if layout is None:
            batch = edge_index.new_zeros(len(x)) if batch is None else batch
            graphs = int(batch.max()) + 1 if len(x) else 0
            layout = DenseLayout(batch, len(x), graphs, self.heads)
        local = self._drop(gine_sum(self.conv, x, edge_index, edge_attr, loops)).add_(x)
        everywhere = self._drop(self._attend(x, layout, bias)).add_(x)
        h = self.norm1(local) + self.norm2(everywhere)
        hidden = self._drop(linear(h, self.mlp[0].weight, self.mlp[0].bias).relu_())
        return self.norm3(self._drop(linear(hidden, self.mlp[3].weight, self.mlp[3].bias)).add_(h))

    def _drop(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training) if self.dropout else x

    def _attend(self, x: Tensor, layout: DenseLayout, bias: Tensor | None) -> Tensor:
        attn: nn.MultiheadAttention = self.attn
        rate = attn.dropout if self.training else 0.0
        out = attend_to_all(linear(x, attn.in_proj_weight, attn.in_proj_bias), layout, bias, rate)
        return linear(out, attn.out_proj.weight, attn.out_proj.bias)
