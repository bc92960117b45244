"""graphtf: linear transformers that compute graph algorithms.

A graph's incidence matrix goes in; layers of linear attention, with weights set or learned, compute electric flow,
eigenvectors and positional encodings for PyTorch Geometric. The names below import nothing beyond torch; transforms,
data sets, models and training live in :mod:`graphtf.transforms`, :mod:`graphtf.datasets`, :mod:`graphtf.nn`,
:mod:`graphtf.models` and :mod:`graphtf.train`.
"""

from graphtf.attention import LinearAttention, StructuredAttention
from graphtf.constructions import (
    chebyshev,
    chebyshev_subspace_iteration,
    conjugate_gradient,
    electric_flow,
    fast_inverse,
    heat_kernel,
    heavy_ball,
    random_walk,
    resistive_embedding,
    subspace_iteration,
)
from graphtf.incidence import Incidence
from graphtf.transformer import LinearTransformer, LiteralTransformer

__version__ = "0.1.0"

__all__ = [
    "Incidence",
    "LinearAttention",
    "LinearTransformer",
    "LiteralTransformer",
    "StructuredAttention",
    "__version__",
    "chebyshev",
    "chebyshev_subspace_iteration",
    "conjugate_gradient",
    "electric_flow",
    "fast_inverse",
    "heat_kernel",
    "heavy_ball",
    "random_walk",
    "resistive_embedding",
    "subspace_iteration",
]
