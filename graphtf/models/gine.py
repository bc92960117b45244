"""Message passing with edge features (GINE), with a positional encoding plugged in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GINEConv

from graphtf.models.base import GraphModel
from graphtf.models.edge_loops import EdgeLoops, add_messages
from graphtf.models.linear import Linear
from graphtf.models.norms import NORMS
from graphtf.validate import check_choice, check_dropout


def gine_layer(channels: int) -> GINEConv:
    """PyG's `GINEConv` with a network of two layers."""
    return GINEConv(
        nn.Sequential(Linear(channels, 2 * channels), nn.ReLU(), Linear(2 * channels, channels)), train_eps=True
    )


def gine_sum(layer: GINEConv, h: Tensor, edge_index: Tensor, e: Tensor, loops: EdgeLoops | None = None) -> Tensor:
    r"""What a `GINEConv` computes, in fewer passes over the edges.

    .. math:: \mathrm{MLP}\bigl((1 + \epsilon) h_i + \sum_j \mathrm{relu}(h_j + e_{ij})\bigr)

    Args:
        layer: one of :func:`gine_layer`.
        h: `[n, channels]` node states.
        edge_index: `[2, E]`; the messages go from `edge_index[0]` to `edge_index[1]`.
        e: `[E, channels]` edge states.
        loops: compiled loops over these edges.

    Returns:
        `[n, channels]`.

    Example:
        >>> import torch
        >>> h, e, path = torch.ones(3, 4), torch.ones(2, 4), torch.tensor([[0, 1], [1, 2]])
        >>> layer = gine_layer(4)
        >>> torch.allclose(gine_sum(layer, h, path, e), layer(h, path, e))
        True
    """
    total = add_messages(h * (1 + layer.eps), h, e, edge_index, loops)
    first, _, last = layer.nn
    return last(first(total).relu_())


class GINE(GraphModel):
    r"""Graph isomorphism network with edge features, residual connections and norms.

    .. math:: h_i \leftarrow \mathrm{norm}\Bigl(h_i + \mathrm{relu}\,\mathrm{MLP}\bigl((1 + \epsilon) h_i +
        \sum_j \mathrm{relu}(h_j + e_{ij})\bigr)\Bigr)

    Args:
        channels: width.
        num_layers: number of layers.
        node_types, edge_types, out_channels, encoding, readout: see :class:`graphtf.models.GraphTransformer`.
        dropout: dropout probability, in [0, 1).
        norm: `"batch"` or `"layer"`.

    Shapes:
        a `Data` or `Batch` of `G` graphs -> `[G, out_channels]`.

    Raises:
        TypeError, ValueError: an option is not as described.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
        >>> kind = torch.tensor([1, 1, 2, 2])
        >>> molecule = Data(x=torch.tensor([[0], [0], [1]]), edge_index=edge_index, edge_attr=kind)
        >>> GINE(channels=16, num_layers=2).eval()(molecule).shape
        torch.Size([1, 1])

    Reference: Hu et al., "Strategies for pre-training graph neural networks", ICLR 2020.
    """

    def __init__(
        self,
        channels: int = 64,
        num_layers: int = 4,
        node_types: int | Sequence[int] = 28,
        edge_types: int | Sequence[int] = 4,
        out_channels: int = 1,
        encoding: nn.Module | None = None,
        dropout: float = 0.0,
        norm: str = "batch",
        readout: str = "sum",
    ) -> None:
        super().__init__(channels, num_layers, node_types, edge_types, out_channels, readout)
        check_choice("norm", norm, tuple(NORMS))
        self.layers = nn.ModuleList(gine_layer(channels) for _ in range(num_layers))
        self.norms = nn.ModuleList(NORMS[norm](channels) for _ in range(num_layers))
        self.dropout = nn.Dropout(check_dropout("dropout", dropout))
        self.add_head(out_channels, encoding)

    def propagate(self, h: Tensor, e: Tensor, data: Any, batch: Tensor, num_graphs: int) -> Tensor:
        """Apply the layers."""
        loops = EdgeLoops.find(data.edge_index, len(h), batch)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            h = norm(h + self.dropout(gine_sum(layer, h, data.edge_index, e, loops).relu_()))
        return h
