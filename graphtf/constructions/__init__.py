"""Weights that make a linear transformer run a known graph algorithm, one function an algorithm.

The weights are ordinary parameters of the layers, frozen so that an answer carries no gradient graph of its own;
`transformer.requires_grad_()` makes them learnable from there.
"""

from collections.abc import Callable

from graphtf.constructions.conjugate import conjugate_gradient
from graphtf.constructions.eigenvectors import chebyshev_subspace_iteration, random_walk, subspace_iteration
from graphtf.constructions.gradient import electric_flow, resistive_embedding
from graphtf.constructions.heat import heat_kernel, heat_kernel_squaring
from graphtf.constructions.inverse import fast_inverse, inverse_registers, one_hot
from graphtf.constructions.lobpcg import lobpcg
from graphtf.constructions.momentum import chebyshev, heavy_ball
from graphtf.transformer import LinearTransformer

CONSTRUCTIONS: dict[str, Callable[..., LinearTransformer]] = {
    "electric": electric_flow,
    "resistive": resistive_embedding,
    "heat": heat_kernel,
    "heat-squaring": heat_kernel_squaring,
    "multiplicative": fast_inverse,
    "chebyshev": chebyshev,
    "heavy-ball": heavy_ball,
    "conjugate-gradient": conjugate_gradient,
    "eigenvectors": subspace_iteration,
    "eigenvectors-chebyshev": chebyshev_subspace_iteration,
    "eigenvectors-lobpcg": lobpcg,
    "random-walk": random_walk,
}

__all__ = [
    "CONSTRUCTIONS",
    "chebyshev",
    "chebyshev_subspace_iteration",
    "conjugate_gradient",
    "electric_flow",
    "fast_inverse",
    "heat_kernel",
    "heat_kernel_squaring",
    "heavy_ball",
    "inverse_registers",
    "lobpcg",
    "one_hot",
    "random_walk",
    "resistive_embedding",
    "subspace_iteration",
]
