"""Molecular models that take any positional encoding."""

from graphtf.models.gine import GINE
from graphtf.models.gps import GPS
from graphtf.models.graph_transformer import GraphTransformer, GraphTransformerLayer
from graphtf.models.stored_encoding import StoredEncoding

__all__ = ["GINE", "GPS", "GraphTransformer", "GraphTransformerLayer", "StoredEncoding"]
