"""Exact elimination of nodes with one or two neighbors: trees and chains vanish from a large graph."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.solvers.kernels import compiled_laplacian

WORTH = 0.1  # share of the nodes that must vanish


class Elimination:
    r"""A Laplacian system without the nodes that have one or two neighbors, or come down to that.

    .. math::
        \psi_a \mathrel{+}= \frac{w_a}{w_a + w_b} \psi_v, \qquad w_{ab} \mathrel{+}= \frac{w_a w_b}{w_a + w_b}, \qquad
        x_v = \frac{\psi_v + w_a x_a + w_b x_b}{w_a + w_b}

    for a node `v` between `a` and `b`: resistors in series; a leaf hands its demand on. Conductances are never
    subtracted, so that they stay exact however far the weights spread. A residual on the graph that is left is the
    residual on the whole graph.

    Args:
        graph: a single plain operator of at least 2,048 nodes, with numba installed.

    Attributes:
        rest: the graph that is left, possibly without nodes.
        nodes: its nodes in the old graph.

    Example:
        >>> import torch
        >>> path = torch.stack([torch.arange(2999), torch.arange(1, 3000)])
        >>> graph = Incidence(path, torch.ones(2999, dtype=torch.float64))
        >>> elimination, psi = Elimination(graph), torch.zeros(3000, 1, dtype=torch.float64)
        >>> psi[0], psi[-1] = 1.0, -1.0
        >>> reduced, rest = elimination.forward(psi)
        >>> len(rest)
        0
        >>> float(elimination.backward(reduced, rest)[[0, -1]].diff(dim=0))
        -2999.0

    Source: Gauss; for Laplacians of nearly tree-like graphs Spielman, Teng, STOC 2004, section 4.
    """

    def __init__(self, graph: Incidence) -> None:
        from graphtf.solvers import elimination_numba as loops

        compiled = compiled_laplacian(graph)
        if compiled is None:
            raise ValueError(f"the compiled elimination does not apply to {graph}; it needs numba and a large graph")
        starts, columns, values, _ = compiled.arrays
        u, v = (end.numpy() for end in graph.index)
        columns, values = columns.copy(), values.copy()
        self._loops = loops
        *self._steps, left = loops.eliminate(starts, columns, values, loops.mates(u, v, starts))
        self.nodes = torch.from_numpy(left.nonzero()[0])
        ends = loops.remaining(starts, columns, values, left)
        index = torch.stack([torch.from_numpy(end) for end in ends[:2]])
        self.rest = Incidence(index, torch.from_numpy(ends[2]), len(self.nodes), validate=False)

    @property
    def worth(self) -> bool:
        """Whether enough nodes have vanished."""
        return len(self._steps[0]) >= WORTH * (len(self._steps[0]) + len(self.nodes))

    def forward(self, psi: Tensor) -> tuple[Tensor, Tensor]:
        """All `[n, k]` demands with those of eliminated nodes handed on, and those of the graph that is left."""
        psi = psi.clone(memory_format=torch.contiguous_format)
        self._loops.forward(*self._steps, psi.numpy())
        return psi, psi[self.nodes]

    def backward(self, psi: Tensor, x: Tensor) -> Tensor:
        """`[n, k]` potentials from the demands of `forward` and the potentials `x` on the graph that is left."""
        out = torch.zeros_like(psi).index_copy(0, self.nodes, x)
        self._loops.backward(*self._steps, psi.numpy(), out.numpy())
        return out
