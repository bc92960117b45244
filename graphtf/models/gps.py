"""The GPS model of PyG's layers: message passing beside global attention, with a positional encoding plugged in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import GPSConv

from graphtf.models.base import GraphModel
from graphtf.models.gine import gine_layer
from graphtf.models.norms import NORMS
from graphtf.validate import check_choice, check_positive_int

PYG_NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "batch": ("batch_norm", {"allow_single_element": True}),
    "layer": ("layer_norm", {"mode": "node"}),
}


class GPS(GraphModel):
    """General, powerful, scalable graph transformer: `GPSConv` with `GINEConv`.

    Args:
        channels: width.
        num_layers: number of layers.
        heads: heads of the global attention, a divisor of `channels`.
        node_types, edge_types, out_channels, encoding, readout: see :class:`graphtf.models.GraphTransformer`.
        dropout: dropout probability of states, in [0, 1).
        attention_dropout: the same of attention weights.
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
        >>> GPS(channels=16, num_layers=2, heads=4).eval()(molecule).shape
        torch.Size([1, 1])

    Reference: Rampášek et al., "Recipe for a general, powerful, scalable graph transformer", NeurIPS 2022.
    """

    def __init__(
        self,
        channels: int = 64,
        num_layers: int = 4,
        heads: int = 4,
        node_types: int | Sequence[int] = 28,
        edge_types: int | Sequence[int] = 4,
        out_channels: int = 1,
        encoding: nn.Module | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        norm: str = "batch",
        readout: str = "sum",
    ) -> None:
        super().__init__(channels, num_layers, node_types, edge_types, out_channels, readout)
        check_positive_int("heads", heads)
        if channels % heads:
            raise ValueError(f"heads must divide channels, but got channels={channels} and heads={heads}")
        name, options = PYG_NORMS[check_choice("norm", norm, tuple(NORMS))]
        self.layers = nn.ModuleList(
            GPSConv(
                channels,
                gine_layer(channels),
                heads,
                dropout,
                norm=name,
                norm_kwargs=options,
                attn_kwargs={"dropout": attention_dropout},
            )
            for _ in range(num_layers)
        )
        self.add_head(out_channels, encoding)

    def propagate(self, h: Tensor, e: Tensor, data: Any) -> Tensor:
        """Apply the layers."""
        batch = data.get("batch")
        for layer in self.layers:
            h = layer(h, data.edge_index, batch, edge_attr=e)
        return h
