"""Molecular models that take any positional encoding."""

from graphtf.models.base import GraphModel
from graphtf.models.gine import GINE
from graphtf.models.gps import GPS
from graphtf.models.gps_layer import GPSLayer
from graphtf.models.graph_transformer import GraphTransformer, GraphTransformerLayer
from graphtf.models.stored_encoding import StoredEncoding

BACKBONES: dict[str, type[GraphModel]] = {"transformer": GraphTransformer, "gine": GINE, "gps": GPS}
"""The models by their names on the command line."""

__all__ = [
    "BACKBONES",
    "GINE",
    "GPS",
    "GPSLayer",
    "GraphModel",
    "GraphTransformer",
    "GraphTransformerLayer",
    "StoredEncoding",
]
