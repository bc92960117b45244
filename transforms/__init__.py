"""PyTorch Geometric transforms: the incidence matrix, and positional encodings computed from it."""

if __name__ == "transforms":
    raise ImportError("this folder is the package graphtf.transforms; use `python -P` or another working directory")

from graphtf.transforms.electric_pe import AddElectricPE
from graphtf.transforms.heat_kernel_pe import AddHeatKernelPE
from graphtf.transforms.incidence import AddIncidence
from graphtf.transforms.linear_transformer_pe import AddLinearTransformerPE
from graphtf.transforms.path_flow import AddPathFlowPE
from graphtf.transforms.random_walk_pe import AddRandomWalkPE
from graphtf.transforms.spectral_pe import AddSpectralPE

__all__ = [
    "AddElectricPE",
    "AddHeatKernelPE",
    "AddIncidence",
    "AddLinearTransformerPE",
    "AddPathFlowPE",
    "AddRandomWalkPE",
    "AddSpectralPE",
]
