"""Learnable modules: positional encodings by linear transformers."""

from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.nn.linear_transformer_pe import LinearTransformerPE

__all__ = ["LinearTransformerPE", "LinearTransformerPEConfig"]
