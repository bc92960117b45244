"""Learnable modules: positional encodings by linear transformers."""

from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.nn.learned_networks import edge_conductances
from graphtf.nn.linear_transformer_pe import LinearTransformerPE
from graphtf.nn.pretrain import pretrain_to_eigenvectors

__all__ = ["LinearTransformerPE", "LinearTransformerPEConfig", "edge_conductances", "pretrain_to_eigenvectors"]
