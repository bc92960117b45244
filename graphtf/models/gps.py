"""The GPS model: message passing beside attention over all pairs, with a positional encoding plugged in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from graphtf.models.base import GraphModel
from graphtf.models.dense_layout import DenseLayout
from graphtf.models.edge_loops import EdgeLoops
from graphtf.models.gps_layer import GPSLayer


class GPS(GraphModel):
    r"""General, powerful, scalable graph transformer: layers of PyG's `GPSConv` with `GINEConv`, see :class:`GPSLayer`.

    With `attention_bias` an encoding that knows all pairs of nodes speaks to the attention of all layers:

    .. math:: b_{hij} = \sum_c W_{hc}\, \mathrm{pair}_{ijc}, \qquad W = 0 \text{ at first}

    is added to the logits of head `h`.

    Args:
        channels: width.
        num_layers: number of layers.
        heads: heads of the global attention, a divisor of `channels`.
        node_types, edge_types, out_channels, encoding, readout: see :class:`graphtf.models.GraphTransformer`.
        dropout: dropout probability of states, in [0, 1).
        attention_dropout: the same of attention weights.
        norm: `"batch"` or `"layer"`.
        attention_bias: use `all_pairs(data) -> [G, N, N, node_channels]` of the encoding, where node `i` of a graph is
            its `i`-th in the batch and the padding is ignored; see :meth:`graphtf.nn.LinearTransformerPE.all_pairs`. If
            it takes an argument `project`, it gets `W` there and gives `[G, N, N, heads]`. An encoding that also has
            :meth:`encode_with_pairs <graphtf.nn.LinearTransformerPE.encode_with_pairs>` is asked once for everything.

    Shapes:
        a `Data` or `Batch` of `G` graphs -> `[G, out_channels]`.

    Raises:
        TypeError, ValueError: an option is not as described, or the encoding does not know all pairs.

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
        attention_bias: bool = False,
    ) -> None:
        all_pairs: Any = getattr(encoding, "all_pairs", None)
        if attention_bias and not callable(all_pairs):
            raise TypeError(
                "attention_bias=True needs an encoding with all_pairs(data) -> [G, N, N, node_channels], such as "
                f"LinearTransformerPE, but got {'none' if encoding is None else type(encoding).__name__}"
            )
        super().__init__(channels, num_layers, node_types, edge_types, out_channels, readout)
        self.layers = nn.ModuleList(
            GPSLayer(channels, heads, dropout, attention_dropout, norm) for _ in range(num_layers)
        )
        self.heads = heads
        self.add_head(out_channels, encoding)
        # Nothing is drawn for it: with and without a bias, all other weights start the same.
        width: Any = getattr(encoding, "node_channels", 0)
        self.pair_weight = nn.Parameter(torch.zeros(heads, width)) if attention_bias else None
        self._projects = attention_bias and "project" in inspect.signature(all_pairs).parameters

    def encode(self, encoding: Any, data: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Encoding of the nodes, of the edges, and with a bias of all pairs of nodes."""
        if self.pair_weight is None:
            return super().encode(encoding, data)
        options = {"project": self.pair_weight} if self._projects else {}
        if self._projects and callable(getattr(encoding, "encode_with_pairs", None)):
            node, edge, pairs = encoding.encode_with_pairs(data, **options)
            return node, edge, pairs
        return *encoding(data, return_edge=True), encoding.all_pairs(data, **options)

    def propagate(
        self, h: Tensor, e: Tensor, data: Any, batch: Tensor, num_graphs: int, pairs: Tensor | None = None
    ) -> Tensor:
        """Apply the layers."""
        loops = EdgeLoops.find(data.edge_index, len(h), batch)
        bias = None
        if pairs is None:
            layout = DenseLayout.for_attention(batch, len(h), num_graphs, self.heads)
        else:
            layout = DenseLayout(batch, len(h), num_graphs, self.heads)
            mask = layout.groups[0].mask
            real = mask[:, None, :, None] & mask[:, None, None, :]
            bias = torch.where(real, self._pair_bias(pairs, mask).to(h.dtype), torch.finfo(h.dtype).min)
        for layer in self.layers:
            h = layer(h, data.edge_index, edge_attr=e, layout=layout, loops=loops, bias=bias)
        return h

    def _pair_bias(self, pairs: Tensor, mask: Tensor) -> Tensor:
        """`[G, heads, N, N]`."""
        weight: Any = self.pair_weight
        (graphs, size), (heads, channels) = mask.shape, weight.shape
        expected = [graphs, size, size, heads if self._projects else channels]
        if list(pairs.shape) != expected:
            raise ValueError(
                f"all_pairs of the encoding must give {expected}, a number for every channel and pair of nodes, but "
                f"gives {list(pairs.shape)}"
            )
        return (pairs if self._projects else linear(pairs, weight.to(pairs.dtype))).permute(0, 3, 1, 2)
