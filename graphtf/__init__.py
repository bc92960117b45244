"""graphtf: linear transformers that compute graph algorithms.

A graph's incidence matrix goes in; layers of linear attention, with weights set or learned, compute electric flow,
eigenvectors and positional encodings for PyTorch Geometric. The names below import nothing beyond torch, and that when
they are first used, since NetworkX loads this package whenever it is imported itself. Solvers, transforms, data sets,
modules, models and training live in :mod:`graphtf.solvers`, :mod:`graphtf.transforms`, :mod:`graphtf.datasets`,
:mod:`graphtf.nn`, :mod:`graphtf.models` and :mod:`graphtf.train`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphtf.attention import StructuredAttention
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
    from graphtf.literal_attention import LinearAttention
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

_MODULES = {
    "LinearAttention": "literal_attention",
    "StructuredAttention": "attention",
    "chebyshev": "constructions",
    "chebyshev_subspace_iteration": "constructions",
    "conjugate_gradient": "constructions",
    "electric_flow": "constructions",
    "fast_inverse": "constructions",
    "heat_kernel": "constructions",
    "heavy_ball": "constructions",
    "random_walk": "constructions",
    "resistive_embedding": "constructions",
    "subspace_iteration": "constructions",
    "Incidence": "incidence",
    "LinearTransformer": "transformer",
    "LiteralTransformer": "transformer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'graphtf' has no attribute {name!r}")
    value = getattr(import_module(f"graphtf.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
