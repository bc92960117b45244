"""Positional encodings as node and edge encoders of GraphGym."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch_geometric.graphgym import register
from torch_geometric.graphgym.config import cfg

from graphtf.models import StoredEncoding
from graphtf.models.norms import BatchNorm
from graphtf.nn import LinearTransformerPE

EDGE_PE = "graphtf_edge_pe"
OWN = ("node_encoder", "edge_encoder")


class _Encoder(nn.Module):
    """An encoding's columns, normalised and mapped linearly, added to the features that another encoder gives."""

    group: str
    make: Callable[..., Any]

    def __init__(self, columns: int, emb_dim: int, features: str, known: dict[str, Any], option: str) -> None:
        super().__init__()
        if features and features not in known:
            raise ValueError(
                f"cfg.{self.group}.{option} must be empty or a registered encoder ({', '.join(known)}), but is "
                f"{features!r}"
            )
        self.features = known[features](emb_dim) if features else None
        self.projection = nn.Sequential(BatchNorm(columns, affine=False), nn.Linear(columns, emb_dim, bias=False))

    def apply(self, fn: Callable[[nn.Module], None]) -> Any:
        """Let GraphGym initialise the encoder of the features, but not the weights that are set to an algorithm."""
        if self.features is not None:
            self.features.apply(fn)
        return self

    @classmethod
    def encoding(cls) -> Any:
        """The encoding that the configuration describes."""
        options = {name: value for name, value in cfg[cls.group].items() if name not in OWN}
        return cls.make(**options)


class _NodeEncoder(_Encoder):
    def __init__(self, emb_dim: int) -> None:
        encoding = self.encoding()
        name = cfg[self.group].node_encoder
        super().__init__(encoding.node_channels, emb_dim, name, register.node_encoder_dict, "node_encoder")
        self.pe = encoding
        self.linear = None if name else nn.Linear(cfg.share.dim_in, emb_dim)

    def forward(self, batch: Any) -> Any:
        """Replace `batch.x` by `[n, emb_dim]`; keep the encoding of the edges for the edge encoder."""
        node, edge = self.pe(batch, return_edge=True)
        if edge is not None:
            batch[EDGE_PE] = edge
        if self.features is not None:
            batch = self.features(batch)
        elif self.linear is not None:
            dtype = self.linear.weight.dtype
            batch.x = self.linear(batch.x.view(len(node), -1).to(dtype))
        batch.x = batch.x + self.projection(node.to(batch.x.dtype))
        return batch


class _EdgeEncoder(_Encoder):
    def __init__(self, emb_dim: int) -> None:
        columns = self.encoding().edge_channels
        if not columns:
            raise ValueError(
                f"the encoding of cfg.{self.group} has no columns for edges; set dataset.edge_encoder False"
            )
        name = cfg[self.group].edge_encoder
        super().__init__(columns, emb_dim, name, register.edge_encoder_dict, "edge_encoder")
        self.columns = columns

    def forward(self, batch: Any) -> Any:
        """Replace `batch.edge_attr` by `[E, emb_dim]`."""
        edge = batch.get(EDGE_PE)
        if edge is None or edge.shape[1] != self.columns:
            raise ValueError(
                "the edge encoder takes what the node encoder of the same name has computed; set "
                "dataset.node_encoder True and dataset.node_encoder_name as dataset.edge_encoder_name"
            )
        del batch[EDGE_PE]
        mapped = self.projection(edge.to(torch.get_default_dtype()))
        if self.features is not None:
            batch = self.features(batch)
            mapped = batch.edge_attr + mapped
        batch.edge_attr = mapped
        return batch


@register.register_node_encoder("LinearTransformerPE")
class LinearTransformerPENodeEncoder(_NodeEncoder):
    """Node features and a :class:`graphtf.nn.LinearTransformerPE`, which is trained along.

    Args:
        emb_dim: width of the node states.
    """

    group, make = "linear_transformer_pe", staticmethod(LinearTransformerPE)


@register.register_edge_encoder("LinearTransformerPE")
class LinearTransformerPEEdgeEncoder(_EdgeEncoder):
    """Edge features and the encoding of the edges by the node encoder `LinearTransformerPE`.

    Args:
        emb_dim: width of the edge states.
    """

    group, make = "linear_transformer_pe", staticmethod(LinearTransformerPE)


@register.register_node_encoder("StoredPE")
class StoredPENodeEncoder(_NodeEncoder):
    """Node features and an encoding that a transform has stored, see :class:`graphtf.models.StoredEncoding`.

    Args:
        emb_dim: width of the node states.
    """

    group, make = "stored_pe", staticmethod(StoredEncoding)


@register.register_edge_encoder("StoredPE")
class StoredPEEdgeEncoder(_EdgeEncoder):
    """Edge features and the stored encoding of the edges that the node encoder `StoredPE` has read.

    Args:
        emb_dim: width of the edge states.
    """

    group, make = "stored_pe", staticmethod(StoredEncoding)
