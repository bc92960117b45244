"""NetworkX backend: electrical and spectral functions of NetworkX, computed by graphtf.

    nx.resistance_distance(G, backend="graphtf")

or for all calls, ``nx.config.backend_priority = ["graphtf"]`` or ``NETWORKX_BACKEND_PRIORITY=graphtf``. Arguments,
weight conventions, errors and results are those of NetworkX, except current-flow betweenness of a `MultiGraph` or with
self-loops: here parallel edges act as one with the sum of their conductances, and self-loops carry no current. Loading
this module loads neither torch nor NetworkX.
"""

from __future__ import annotations

from graphtf.networkx_backend.interface import FUNCTIONS, BackendInterface

__all__ = ["backend_interface", "get_info"]

backend_interface = BackendInterface()


def get_info() -> dict[str, object]:
    """What NetworkX shows of the backend in its documentation.

    Example:
        >>> get_info()["backend_name"]
        'graphtf'
    """
    return {
        "backend_name": "graphtf",
        "project": "graphtf",
        "package": "graphtf",
        "short_summary": "Exact dense and sparse linear algebra for electrical and spectral functions.",
        "functions": {name: {"additional_docs": note} for name, (_, note) in FUNCTIONS.items()},
    }
