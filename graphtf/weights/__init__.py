"""Trained weights that ship with the package, by name."""

from graphtf.weights.files import read_tensors, write_tensors
from graphtf.weights.named import Weights, load, load_encoder, names, path

__all__ = ["Weights", "load", "load_encoder", "names", "path", "read_tensors", "write_tensors"]
