"""The options of the encoders in GraphGym's configuration."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch_geometric.graphgym.config import cfg
from torch_geometric.graphgym.register import register_config
from yacs.config import CfgNode

from graphtf.nn import LinearTransformerPEConfig


def set_options(config: Any) -> None:
    """Add the groups `linear_transformer_pe` and `stored_pe` with their defaults to a configuration.

    `linear_transformer_pe` has the options of :class:`graphtf.nn.LinearTransformerPEConfig`, `stored_pe` those of
    :class:`graphtf.models.StoredEncoding`. Both have `node_encoder` and `edge_encoder`: names of registered encoders of
    the data's own features, such as `Atom` and `Bond`, to which the encoding is added; empty for a linear map of
    `data.x`, and for no other edge feature than the encoding.

    Args:
        config: a `CfgNode`.

    Example:
        >>> config = CfgNode()
        >>> set_options(config)
        >>> config.linear_transformer_pe.k, config.linear_transformer_pe.init
        (16, 'basis')

    Source: You, Ying, Leskovec, "Design Space for Graph Neural Networks", NeurIPS 2020 (GraphGym).
    """
    features = {"node_encoder": "", "edge_encoder": ""}
    options = {field.name: field.default for field in fields(LinearTransformerPEConfig)}
    config.linear_transformer_pe = CfgNode({**options, **features})
    stored = {"node_attr": "random_walk_pe", "node_channels": 16, "edge_attr": None, "edge_channels": 0}
    config.stored_pe = CfgNode({**stored, "random_sign": False, **features})


register_config("graphtf", set_options)
if cfg is not None:
    set_options(cfg)  # PyG has made its configuration when it was imported, before this registration
