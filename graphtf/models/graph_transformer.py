"""The sparse graph transformer of Dwivedi and Bresson, with a positional encoding plugged in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graphtf.models.base import GraphModel
from graphtf.models.edge_loops import EdgeLoops, attend_along_edges
from graphtf.models.linear import Linear, linear
from graphtf.models.norms import NORMS
from graphtf.validate import check_choice, check_dropout, check_positive_int


class GraphTransformerLayer(nn.Module):
    r"""Multi-head attention over the edges of a graph, with edge features, and a feed-forward network.

    For a head of width :math:`d` and an edge from `j` to `i`

    .. math::
        w_{ij} = \frac{Q h_i \odot K h_j}{\sqrt d} \odot E e_{ij}, \qquad
        \alpha_{ij} = \mathrm{softmax}_j\Bigl(\sum_c w_{ijc}\Bigr), \qquad
        \hat h_i = O_h \sum_j \alpha_{ij} V h_j, \qquad \hat e_{ij} = O_e w_{ij},

    each followed by a residual connection, a norm, and a two-layer network with the same around it.

    Args:
        channels: width of node and edge states.
        heads: number of heads, a divisor of `channels`.
        dropout: dropout probability, in [0, 1).
        norm: `"batch"` or `"layer"`.
        update_edges: `False` leaves the edge states as they are and has no parameters for them (the last layer).

    Shapes:
        h `[n, channels]`, e `[E, channels]`, edge_index `[2, E]` -> h, e.

    Raises:
        TypeError: a number has the wrong type.
        ValueError: it is out of its range.

    Example:
        >>> import torch
        >>> layer = GraphTransformerLayer(16, heads=4)
        >>> h, e = layer(torch.randn(3, 16), torch.randn(4, 16), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]))
        >>> h.shape, e.shape
        (torch.Size([3, 16]), torch.Size([4, 16]))

    Reference: Dwivedi, Bresson, "A Generalization of Transformer Networks to Graphs", 2020, section 2.3.
    """

    def __init__(
        self, channels: int, heads: int = 8, dropout: float = 0.0, norm: str = "batch", update_edges: bool = True
    ) -> None:
        super().__init__()
        check_positive_int("channels", channels)
        check_positive_int("heads", heads)
        if channels % heads:
            raise ValueError(f"heads must divide channels, but got channels={channels} and heads={heads}")
        check_dropout("dropout", dropout)
        check_choice("norm", norm, tuple(NORMS))
        self.heads, self.update_edges = heads, update_edges
        # A bias in front of a norm or inside a softmax over neighbours has no effect, or almost none.
        self.query, self.key, self.value, self.edge = (Linear(channels, channels, bias=False) for _ in range(4))
        self.node_block = _ResidualBlock(channels, dropout, norm)
        self.edge_block = _ResidualBlock(channels, dropout, norm) if update_edges else None

    def forward(
        self, h: Tensor, e: Tensor, edge_index: Tensor, loops: EdgeLoops | None = None
    ) -> tuple[Tensor, Tensor]:
        """Apply the layer; `edge_index[0]` are the senders `j`, `edge_index[1]` the receivers `i`.

        `loops` are compiled loops over these edges, if they are at hand.
        """
        scale = (h.shape[1] // self.heads) ** -0.5
        weight = torch.cat([self.query.weight * scale, self.key.weight, self.value.weight])
        attended, w = attend_along_edges(linear(h, weight), self.edge(e), edge_index, self.heads, loops)
        h = self.node_block(h, attended)
        return h, e if self.edge_block is None else self.edge_block(e, w)


class _ResidualBlock(nn.Module):
    """`x <- norm(x + O y)`, then `x <- norm(x + W2 relu(W1 x))`."""

    def __init__(self, channels: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.out = Linear(channels, channels, bias=False)
        self.norm1, self.norm2 = NORMS[norm](channels), NORMS[norm](channels)
        self.hidden = Linear(channels, 2 * channels)
        self.back = Linear(2 * channels, channels, bias=norm == "layer")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.norm1(self.dropout(self.out(y)).add_(x))
        return self.norm2(self.dropout(self.back(self.hidden(x).relu_())).add_(x))


class GraphTransformer(GraphModel):
    r"""Graph transformer for regression of one or several numbers a graph, with any positional encoding.

    Categorical node and edge features are embedded; the encoding's columns are normalised, mapped linearly and added
    to the node states, and to the edge states if it encodes edges. Layers of :class:`GraphTransformerLayer` follow,
    then the mean or sum over the nodes of every graph and a network of three layers.

    Args:
        channels: width; 64 by default, 128 in the paper.
        num_layers: number of layers.
        heads: attention heads, a divisor of `channels`.
        node_types: number of values of the categorical node feature, or one number for every column of `data.x`.
        edge_types: the same for `data.edge_attr`; 0 if the graphs have no edge features.
        out_channels: numbers predicted for a graph.
        encoding: a module with `node_channels`, `edge_channels` and
            `forward(data, return_edge=True) -> (node, edge)`, such as :class:`graphtf.nn.LinearTransformerPE` (learned
            along with the model) or :class:`StoredEncoding`; `None` for no encoding.
        dropout: dropout probability, in [0, 1).
        norm: `"batch"` or `"layer"`.
        readout: `"mean"` or `"sum"`.

    Shapes:
        a `Data` or `Batch` of `G` graphs with `x` `[n]` or `[n, f]`, `edge_index` `[2, E]`, `edge_attr` `[E]` or
        `[E, f']` -> `[G, out_channels]`.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from graphtf.nn import LinearTransformerPE
        >>> molecule = Data(x=torch.tensor([[0], [0], [1]]), edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]),
        ...                 edge_attr=torch.tensor([1, 1, 2, 2]))
        >>> model = GraphTransformer(channels=16, heads=4, encoding=LinearTransformerPE(k=8)).eval()
        >>> model(molecule).shape
        torch.Size([1, 1])

    Reference: Dwivedi, Bresson, "A Generalization of Transformer Networks to Graphs", 2020; the setting with a linear
    transformer as encoding is that of Cheng, Carin, Sra, ICLR 2025, section 6.
    """

    def __init__(
        self,
        channels: int = 64,
        num_layers: int = 4,
        heads: int = 8,
        node_types: int | Sequence[int] = 28,
        edge_types: int | Sequence[int] = 4,
        out_channels: int = 1,
        encoding: nn.Module | None = None,
        dropout: float = 0.0,
        norm: str = "batch",
        readout: str = "sum",
    ) -> None:
        super().__init__(channels, num_layers, node_types, edge_types, out_channels, readout)
        self.layers = nn.ModuleList(
            GraphTransformerLayer(channels, heads, dropout, norm, update_edges=i < num_layers - 1)
            for i in range(num_layers)
        )
        self.add_head(out_channels, encoding)

    def propagate(self, h: Tensor, e: Tensor, data: Any, batch: Tensor, num_graphs: int) -> Tensor:
        """Apply the layers."""
        loops = EdgeLoops.find(data.edge_index, len(h), batch)
        for layer in self.layers:
            h, e = layer(h, e, data.edge_index, loops)
        return h
