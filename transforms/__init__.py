"""PyTorch Geometric transforms: the incidence matrix, and positional encodings computed from it."""

if __name__ == "transforms":
    raise ImportError("this folder is the package graphtf.transforms; use `python -P` or another working directory")

from graphtf.transforms.incidence import AddIncidence
from graphtf.transforms.linear_transformer_pe import AddLinearTransformerPE

__all__ = ["AddIncidence", "AddLinearTransformerPE"]
