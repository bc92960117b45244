"""What the molecular models share: embeddings, the place of a positional encoding, and the readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from graphtf.models.linear import Linear
from graphtf.models.norms import BatchNorm
from graphtf.nn.categories import CategoricalEmbedding
from graphtf.nn.repeated import map_rows
from graphtf.precision import full_precision
from graphtf.validate import check_choice, check_positive_int

READOUTS = ("mean", "sum")


class GraphModel(nn.Module):
    """Embeddings of nodes and edges, an encoding added to both, layers of a subclass, readout and a small network.

    A subclass makes its layers, calls :meth:`add_head`, and defines :meth:`propagate`. So the encoding's own parameters
    are drawn last, and models that differ in the encoding alone start with the same weights everywhere else.

    Args:
        channels: width.
        num_layers: number of layers.
        node_types: number of values of the categorical node feature, or one number for every column of `data.x`.
        edge_types: the same for `data.edge_attr`; 0 if the graphs have no edge features.
        out_channels: numbers predicted for a graph.
        readout: `"mean"` or `"sum"` over the nodes.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        channels: int,
        num_layers: int,
        node_types: int | Sequence[int],
        edge_types: int | Sequence[int],
        out_channels: int,
        readout: str,
    ) -> None:
        super().__init__()
        for name, value in [("channels", channels), ("num_layers", num_layers), ("out_channels", out_channels)]:
            check_positive_int(name, value)
        self.channels = channels
        self.readout = check_choice("readout", readout, READOUTS)
        self.node_embedding = CategoricalEmbedding("x", node_types, channels)
        self.edge_embedding = CategoricalEmbedding("edge_attr", edge_types, channels) if edge_types else None
        self.edge_constant = None if edge_types else nn.Parameter(torch.ones(channels))

    def add_head(self, out_channels: int, encoding: nn.Module | None) -> None:
        """Make the network behind the readout, and the maps of the encoding's columns.

        Raises:
            TypeError: the encoding does not say how wide it is.
        """
        channels = self.channels
        widths = [channels, max(channels // 2, 1), max(channels // 4, 1)]
        self.head = nn.Sequential(
            nn.Linear(widths[0], widths[1]), nn.ReLU(), nn.Linear(widths[1], widths[2]), nn.ReLU(),
            nn.Linear(widths[2], out_channels),
        )  # fmt: skip
        self.encoding = encoding
        self.node_projection = self.edge_projection = None
        if encoding is not None:
            sizes: list[Any] = [getattr(encoding, name, None) for name in ("node_channels", "edge_channels")]
            if not all(isinstance(size, int) for size in sizes):
                raise TypeError(
                    f"the encoding {type(encoding).__name__} must have int attributes node_channels and edge_channels, "
                    f"but they are {sizes}"
                )
            self.node_projection = _projection(check_positive_int("node_channels of the encoding", sizes[0]), channels)
            if check_positive_int("edge_channels of the encoding", sizes[1], minimum=0):
                self.edge_projection = _projection(int(sizes[1]), channels)

    def encode(self, encoding: nn.Module, data: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Encoding of nodes and edges, and of all pairs of nodes in models whose :meth:`propagate` takes `pairs`.

        Under `torch.compile` it runs as it is: its loops are compiled already.
        """
        return *encoding(data, return_edge=True), None

    def propagate(self, h: Tensor, e: Tensor, data: Any, batch: Tensor, num_graphs: int) -> Tensor:
        """Node states `[n, channels]` after all layers, from embedded nodes and edges `[E, channels]`.

        `batch` `[n]` is the graph of every node, of `num_graphs`.
        """
        raise NotImplementedError

    def forward(self, data: Any) -> Tensor:
        """Predict for every graph of a `Data` or `Batch`: `[num_graphs, out_channels]`."""
        if getattr(data, "edge_index", None) is None:  # nor has a HeteroData
            raise ValueError("data has no edge_index, but the layers attend along it; a graph without edges has [2, 0]")
        num_edges = data.edge_index.shape[1]
        h = self.node_embedding(data.x)
        if self.edge_embedding is not None:
            e = _rows(self.edge_embedding(data.edge_attr), num_edges, "data.edge_attr", "edges")
        else:
            e = h.new_zeros(num_edges, h.shape[1]) + self.edge_constant
        more = {}
        if self.encoding is not None and self.node_projection is not None:
            node, edge, pairs = _as_it_is(self.encode, self.encoding, data)
            more = {} if pairs is None else {"pairs": pairs}
            with full_precision(h.device.type):  # encodings of two places may differ little
                h = h + self.node_projection(_rows(node, len(h), "the encoding", "nodes").to(h.dtype))
                if self.edge_projection is not None:
                    edge = _rows(edge, num_edges, "the encoding", "edges")
                    # Who looks at the encoding by a hook may want derivatives by its very rows.
                    seen = bool(self.encoding._forward_hooks)
                    edge = edge.to(e.dtype)
                    e = e + (self.edge_projection(edge) if seen else map_rows(self.edge_projection, edge))
        batch = data.get("batch")
        if batch is None:
            graphs, batch = 1, data.edge_index.new_zeros(len(h))
        else:
            graphs = data.num_graphs if isinstance(data, Batch) else int(batch.max()) + 1
        h = self.propagate(h, e, data, batch, graphs, **more)
        pooled = h.new_zeros(graphs, h.shape[1]).index_add(0, batch, h)
        if self.readout == "mean":
            pooled = pooled / torch.bincount(batch, minlength=graphs).clamp(min=1).unsqueeze(1).to(h.dtype)
        with full_precision(pooled.device.type):  # predictions keep all their digits
            return self.head(pooled.to(next(self.head.parameters()).dtype))


@torch.compiler.disable
def _as_it_is(encode: Any, encoding: nn.Module, data: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    found: tuple[Tensor, Tensor | None, Tensor | None] = encode(encoding, data)
    return found


def _rows(x: Tensor | None, rows: int, name: str, what: str) -> Tensor:
    """`x` if it has one row for each of the `rows` nodes or edges, which broadcasting would not notice."""
    if x is None or x.shape[0] != rows:
        got = "nothing" if x is None else f"{x.shape[0]} row(s)"
        raise ValueError(f"{name} must have one row for each of the {rows} {what}, but has {got}")
    return x


def _projection(columns: int, channels: int) -> nn.Module:
    # Columns of an encoding differ in scale by orders of magnitude: normalise before mapping. Their means are large
    # beside their spread and move while the encoding learns: statistics of the last few batches, not of twenty.
    return nn.Sequential(BatchNorm(columns, momentum=0.5, affine=False), Linear(columns, channels, bias=False))
