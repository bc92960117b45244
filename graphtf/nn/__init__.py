"""Learnable modules: positional encodings by linear transformers."""

from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.nn.linear_transformer_pe import LinearTransformerPE
from graphtf.nn.pretrain import pretrain_to_eigenvectors

__all__ = ["LinearTransformerPE", "LinearTransformerPEConfig", "pretrain_to_eigenvectors"]
