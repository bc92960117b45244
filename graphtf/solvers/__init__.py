"""Solvers on graphs whose layers are those of linear transformers, exact to a tolerance."""

from graphtf.solvers.centrality import current_flow_betweenness, current_flow_closeness
from graphtf.solvers.eigen import laplacian_eigenvectors
from graphtf.solvers.eigen_connectivity import algebraic_connectivity, fiedler_vector
from graphtf.solvers.electric import electric_flow, electric_potential
from graphtf.solvers.heat import heat_kernel
from graphtf.solvers.resistance import effective_graph_resistance, effective_resistance, leverage_scores
from graphtf.solvers.resistance_embedding import resistive_embedding
from graphtf.solvers.solution import ConvergenceError, Solution

__all__ = [
    "ConvergenceError",
    "Solution",
    "algebraic_connectivity",
    "current_flow_betweenness",
    "current_flow_closeness",
    "effective_graph_resistance",
    "effective_resistance",
    "electric_flow",
    "electric_potential",
    "fiedler_vector",
    "heat_kernel",
    "laplacian_eigenvectors",
    "leverage_scores",
    "resistive_embedding",
]
