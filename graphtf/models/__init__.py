"""Molecular models that take any positional encoding."""

from graphtf.models.graph_transformer import GraphTransformer, GraphTransformerLayer
from graphtf.models.stored_encoding import StoredEncoding

__all__ = ["GraphTransformer", "GraphTransformerLayer", "StoredEncoding"]
