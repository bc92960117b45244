"""Graphs of the backend: a NetworkX graph and how to read it as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from graphtf.incidence import Incidence


class BackendGraph:
    """A NetworkX graph under the name of the backend.

    It holds the graph and nothing derived from it, so a change of the graph is never missed. Reading the edges takes
    a millisecond for a few thousand of them.

    Args:
        graph: any NetworkX graph, also directed or with parallel edges.

    Example:
        >>> import networkx as nx
        >>> graph = BackendGraph(nx.path_graph(["a", "b", "c"]))
        >>> len(graph), graph.is_directed()
        (3, False)
        >>> graph.ends()
        array([[0, 1],
               [1, 2]])
    """

    __networkx_backend__ = "graphtf"

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    @classmethod
    def of(cls, graph: Any) -> BackendGraph:
        """The graph itself if it is one of the backend, else wrapped."""
        return graph if isinstance(graph, cls) else cls(graph)

    def __len__(self) -> int:
        return len(self.graph)

    def __iter__(self) -> Any:
        return iter(self.graph)

    def __contains__(self, node: Any) -> bool:
        return node in self.graph

    def is_directed(self) -> bool:
        """Whether edges have a direction."""
        return bool(self.graph.is_directed())

    def is_multigraph(self) -> bool:
        """Whether parallel edges are allowed."""
        return bool(self.graph.is_multigraph())

    def index(self) -> dict[Any, int]:
        """Position of every node in the order of the graph."""
        return {node: i for i, node in enumerate(self.graph)}

    def ends(self) -> npt.NDArray[np.int64]:
        """`[2, E]` end points of the edges in the order of `graph.edges`, self-loops and parallel edges included."""
        index = self.index()
        flat = [index[node] for edge in self.graph.edges() for node in edge]
        return np.array(flat, dtype=np.int64).reshape(-1, 2).T

    def values(self, weight: Any) -> npt.NDArray[Any]:
        """`[E]` values of an edge attribute, 1 where it is missing or `weight` is `None`, in NumPy's type for them."""
        if weight is None:
            return np.ones(self.graph.number_of_edges(), dtype=np.int64)
        return np.asarray([value for *_, value in self.graph.edges(data=weight, default=1)])

    def conductance(self, weight: Any, *, invert: bool = False) -> npt.NDArray[np.float64]:
        """`[E]` conductances from an edge attribute that holds them, or with `invert` resistances.

        Raises:
            KeyError: with `invert`, an edge has no such attribute.
            ZeroDivisionError: with `invert`, a resistance is zero.
            NotImplementedError: a conductance is not finite and positive, for which these algorithms have no meaning.
        """
        if invert and weight is not None:
            for *ends, data in self.graph.edges(data=True):
                if weight not in data:
                    raise KeyError(f"edge {tuple(ends)} has no attribute {weight!r}, which is to hold its resistance")
        values = self.values(weight)
        if values.dtype.kind not in "biufO":
            raise NotImplementedError(f"weights must be real numbers, but {weight!r} holds {values.dtype}")
        values = values.astype(np.float64)
        if invert and weight is not None:
            if bool((values == 0).any()):
                raise ZeroDivisionError(f"an edge has the resistance {weight!r} zero, so no finite conductance")
            values = 1 / values
        good = np.isfinite(values) & (values > 0)
        if not bool(good.all()):
            raise NotImplementedError(
                f"the graphtf backend needs finite and positive conductances, but one of {weight!r} is "
                f"{values[~good][0]}; use backend='networkx', or remove the edge if it is zero"
            )
        return values

    def incidence(self, weight: Any, *, invert: bool = False, dtype: Any = float) -> Incidence:
        """Incidence operator with :meth:`conductance` for weights, every edge but self-loops a column, in order."""
        ends, values = self.ends(), self.conductance(weight, invert=invert)
        keep = ends[0] != ends[1]
        return incidence(ends[:, keep], values[keep], len(self), dtype)


def incidence(ends: npt.NDArray[np.int64], values: npt.NDArray[Any], num_nodes: int, dtype: Any = float) -> Incidence:
    """Incidence operator from arrays that are known to be valid."""
    weight = torch.from_numpy(values.astype(np.dtype(dtype)))
    return Incidence(torch.from_numpy(np.ascontiguousarray(ends)), weight, num_nodes, validate=False)


def is_connected(graph: Incidence) -> bool:
    """Whether a graph with at least one node has one component."""
    return not bool(graph.components().any())
