"""A positional encoding that a transform has stored in the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graphtf.validate import check_positive_int


class StoredEncoding(nn.Module):
    r"""Read an encoding that a PyG transform has stored, for :class:`graphtf.models.GraphTransformer`.

    It has no parameters; the model that uses it normalises and maps the columns.

    Args:
        node_attr: attribute with the `[n, node_channels]` encoding of the nodes.
        node_channels: its width.
        edge_attr: attribute with the `[E, edge_channels]` encoding of the columns of `edge_index`, if there is one.
        edge_channels: its width, 0 without `edge_attr`.
        random_sign: in training, flip the sign of every column of the node encoding in every graph at random. Made for
            eigenvectors, whose sign means nothing. Evaluation takes the encoding as it is stored.

    Raises:
        TypeError: a width is no int.
        ValueError: a width is negative, or `edge_attr` and `edge_channels` do not go together.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), pe=torch.eye(2))
        >>> StoredEncoding("pe", 2)(data)
        tensor([[1., 0.],
                [0., 1.]])

    Source: random signs as in Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023.
    """

    def __init__(
        self,
        node_attr: str,
        node_channels: int,
        edge_attr: str | None = None,
        edge_channels: int = 0,
        random_sign: bool = False,
    ) -> None:
        super().__init__()
        self.node_attr, self.edge_attr, self.random_sign = node_attr, edge_attr, random_sign
        self.node_channels = check_positive_int("node_channels", node_channels)
        self.edge_channels = check_positive_int("edge_channels", edge_channels, minimum=0)
        if (edge_attr is None) != (edge_channels == 0):
            raise ValueError(f"edge_attr={edge_attr!r} and edge_channels={edge_channels} do not go together; give both")

    def forward(self, data: Any, *, return_edge: bool = False) -> Tensor | tuple[Tensor, Tensor | None]:
        """Return the encoding of the nodes, with `return_edge` also that of the edges (`None` if there is none).

        Args:
            data: a `Data` or `Batch` that a transform has been applied to.
            return_edge: return a pair.

        Raises:
            ValueError: the attribute is missing or has another width.
        """
        node = self._read(data, self.node_attr, self.node_channels)
        if self.random_sign and self.training:
            batch = data.get("batch")
            graphs = 1 if batch is None else int(batch.max()) + 1 if batch.numel() else 0
            sign = 1.0 - 2.0 * torch.randint(2, (graphs, self.node_channels), device=node.device).to(node.dtype)
            node = node * (sign if batch is None else sign[batch])
        if not return_edge:
            return node
        return node, None if self.edge_attr is None else self._read(data, self.edge_attr, self.edge_channels)

    def _read(self, data: Any, name: str, channels: int) -> Tensor:
        value = data.get(name)
        if value is None:
            raise ValueError(f"the data has no {name!r}; apply the transform that stores it before batching")
        if value.dim() != 2 or value.shape[1] != channels:
            raise ValueError(f"{name} must have {channels} columns, but has shape {list(value.shape)}")
        return value

    def extra_repr(self) -> str:
        """Attributes, widths and signs."""
        edge = "" if self.edge_attr is None else f", {self.edge_attr!r}, {self.edge_channels}"
        return f"{self.node_attr!r}, {self.node_channels}{edge}, random_sign={self.random_sign}"
