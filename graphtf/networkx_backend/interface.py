"""The object that NetworkX dispatches to."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_ALL_PAIRS = "One Cholesky factorisation in `dtype`; `solver` is checked, and all of its values give the same answer."
_EIGEN = "Lanczos iteration on the pseudo-inverse, to rounding errors whatever `tol`; the answer is fixed by `seed`."

# Name in NetworkX: module here, note for NetworkX's documentation.
FUNCTIONS: dict[str, tuple[str, str]] = {
    "algebraic_connectivity": ("spectral", _EIGEN),
    "approximate_current_flow_betweenness_centrality": (
        "current_flow",
        "The same sample of pairs for the same `seed`.",
    ),
    "communicability": ("walks", "The exponential by Taylor series, which is accurate in every entry."),
    "communicability_exp": ("walks", "The exponential by Taylor series, which is accurate in every entry."),
    "current_flow_betweenness_centrality": ("current_flow", _ALL_PAIRS),
    "current_flow_betweenness_centrality_subset": ("current_flow", _ALL_PAIRS),
    "current_flow_closeness_centrality": ("current_flow", _ALL_PAIRS),
    "edge_current_flow_betweenness_centrality": ("current_flow", _ALL_PAIRS),
    "edge_current_flow_betweenness_centrality_subset": ("current_flow", _ALL_PAIRS),
    "effective_graph_resistance": ("resistance", "The trace of an inverse, without eigenvalues."),
    "estrada_index": ("walks", "From the eigenvalues alone."),
    "fiedler_vector": ("spectral", _EIGEN),
    "incidence_matrix": ("matrices", ""),
    "kemeny_constant": ("resistance", "The trace of an inverse, without eigenvalues."),
    "laplacian_matrix": ("matrices", ""),
    "laplacian_spectrum": ("matrices", ""),
    "resistance_distance": ("resistance", "One Cholesky factorisation."),
    "spectral_ordering": ("spectral", _EIGEN),
    "subgraph_centrality": ("walks", "The exponential by Taylor series, which is accurate in every entry."),
    "subgraph_centrality_exp": ("walks", "The exponential by Taylor series, which is accurate in every entry."),
}


class BackendInterface:
    """What NetworkX asks of a backend: its functions, conversion of graphs, and which calls it takes.

    Every function is loaded when it is first asked for.

    Example:
        >>> import networkx as nx
        >>> BackendInterface().effective_graph_resistance(nx.path_graph(3))
        4.0
    """

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in FUNCTIONS:
            raise AttributeError(f"the graphtf backend of NetworkX has no function {name!r}")
        module = importlib.import_module(f"graphtf.networkx_backend.{FUNCTIONS[name][0]}")
        function: Callable[..., Any] = getattr(module, name)
        setattr(self, name, function)
        return function

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *FUNCTIONS})

    @staticmethod
    def convert_from_nx(graph: Any, **kwargs: Any) -> Any:
        """Wrap a NetworkX graph, in constant time: attributes are read when a function needs them."""
        from graphtf.networkx_backend.graph import BackendGraph

        return BackendGraph.of(graph)

    @staticmethod
    def convert_to_nx(result: Any, **kwargs: Any) -> Any:
        """The NetworkX graph of a wrapped one; other results as they are."""
        from graphtf.networkx_backend.graph import BackendGraph

        return result.graph if isinstance(result, BackendGraph) else result

    @staticmethod
    def can_run(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call can be computed here; the functions decide on weights that they cannot take."""
        return name in FUNCTIONS

    @staticmethod
    def should_run(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | str:
        """Whether a call that NetworkX could compute as well pays here, or the reason why not."""
        if name in ("incidence_matrix", "laplacian_matrix"):
            return "building a sparse matrix takes as long as in NetworkX"
        return True
