"""Inverses of the grounded Laplacians of many small graphs, as dense blocks of about one size."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.differentiable import cholesky_inverse
from graphtf.incidence import Incidence
from graphtf.layout import local_index

LARGEST_CHUNK = 1 << 18  # entries in the blocks that one batched factorisation gets, so that they stay in the cache
LARGEST_BUFFER = 1 << 26  # entries in the blocks of one call


class GroundedBlocks:
    r"""The inverse of every graph's Laplacian with one node of every component grounded.

    Grounding node :math:`r_c` of component `c` deletes its row and column, which leaves a positive definite matrix.
    With zeros in their place, its inverse `G` is a generalised inverse: :math:`L G \psi = \psi` for demands that sum to
    zero, and :math:`R(u, v) = G_{uu} + G_{vv} - 2 G_{uv}`. Graphs of about one size share a stack of padded blocks.

    Args:
        graph: plain operator, a batch or a single graph. Gradients reach its weights.

    Example:
        >>> import torch
        >>> blocks = GroundedBlocks(Incidence(torch.tensor([[0], [1]]), torch.tensor([2.0], dtype=torch.float64)))
        >>> blocks.entries(torch.tensor([0, 1]), torch.tensor([0, 1]))
        tensor([0.0000, 0.5000], dtype=torch.float64)

    Source: Ellens et al., "Effective graph resistance", Linear Algebra and its Applications 2011, section 2.
    """

    def __init__(self, graph: Incidence) -> None:
        self.graph = graph
        n, device = graph.num_nodes, graph.device
        local, _ = local_index(graph)
        count = torch.bincount(graph.batch, minlength=graph.num_graphs)
        order = count.argsort(stable=True)[int((count == 0).sum()) :]  # graphs without nodes have no block
        chunks = _chunks(count[order].tolist())
        self.shapes = [(stop - start, width) for start, stop, width in chunks]
        blocks = torch.tensor([size for size, _ in self.shapes], dtype=torch.int64, device=device)
        widths = torch.tensor([width for _, width in self.shapes], dtype=torch.int64, device=device)
        width = torch.repeat_interleave(widths, blocks)  # [graphs], in the order of their size
        offset = (width * width).cumsum(0) - width * width
        self.size = int((width * width).sum())
        place = torch.zeros_like(count)
        place[order] = torch.arange(len(order), device=device)
        of_node = place[graph.batch]
        self.local = local
        self.row = offset[of_node] + local * width[of_node]  # [n] where the row of a node starts in the buffer
        column_start = width.cumsum(0) - width
        self.slot = column_start[of_node] + local  # [n] place among padded node values
        self.num_slots = int(width.sum())

        labels = graph.components()
        first = torch.full((int(labels.max()) + 1 if n else 0,), n, dtype=torch.int64, device=device)
        root_of = first.scatter_reduce(0, labels, torch.arange(n, device=device), "amin")
        self.is_root = torch.zeros(n, dtype=torch.bool, device=device)
        self.is_root[root_of] = True
        self.matrix = self._matrix()
        self.inverse = self._invert()

    def _matrix(self) -> Tensor:
        graph, row, local = self.graph, self.row, self.local
        u, v = graph.index
        w = torch.where(self.is_root[u] | self.is_root[v], 0.0, graph.weight)
        diagonal = torch.where(self.is_root, 1.0, graph.degree)
        flat = torch.cat([row[u] + local[v], row[v] + local[u], row + local])
        padding = torch.ones(self.num_slots, dtype=torch.bool, device=graph.device)
        padding[self.slot] = False
        beside = _diagonal_places(self.shapes, graph.device)[padding]
        values = torch.cat([-w, -w, diagonal, torch.ones_like(beside, dtype=graph.dtype)])
        return graph.weight.new_zeros(self.size).index_add(0, torch.cat([flat, beside]), values)

    def _invert(self) -> Tensor:
        parts = []
        for matrix in self.stacks(self.matrix):
            factor, info = torch.linalg.cholesky_ex(matrix)
            # Weights over more orders of magnitude than the format has can make a pivot negative.
            inverse = torch.linalg.inv(matrix) if bool(info.any()) else cholesky_inverse(factor)
            parts.append(inverse.flatten())
        return torch.cat(parts) if parts else self.matrix

    def stacks(self, entries: Tensor) -> list[Tensor]:
        """The blocks of a buffer, `[blocks, width, width]` a chunk."""
        lengths = [size * width * width for size, width in self.shapes]
        return [
            part.view(size, width, width)
            for part, (size, width) in zip(entries.split(lengths), self.shapes, strict=True)
        ]

    def column_residuals(self) -> Tensor:
        """`[n]` bounds of :math:`||L G e_u - e_u||` for every node `u`, the row of the grounded node included."""
        parts = []
        for matrix, inverse in zip(self.stacks(self.matrix.detach()), self.stacks(self.inverse.detach()), strict=True):
            error = torch.bmm(matrix, inverse)
            error.diagonal(dim1=1, dim2=2).sub_(1.0)
            parts.append((error.square().sum(1) + error.abs().sum(1).square()).sqrt().flatten())
        return torch.cat(parts)[self.slot] if parts else self.matrix.new_zeros(0)

    def refine(self) -> None:
        """One Newton step :math:`G <- G (2 I - A G)`, which squares the relative error."""
        parts = []
        for matrix, inverse in zip(self.stacks(self.matrix), self.stacks(self.inverse), strict=True):
            parts.append((2 * inverse - inverse @ (matrix @ inverse)).flatten())
        self.inverse = torch.cat(parts) if parts else self.inverse

    def entries(self, u: Tensor, v: Tensor) -> Tensor:
        """`[P]` entries :math:`G_{uv}` of pairs of nodes of the same graph; zero where a node is grounded."""
        keep = ~(self.is_root[u] & self.is_root[v] & (u == v))
        return torch.where(keep, self.inverse[self.row[u] + self.local[v]], 0.0)

    def diagonal(self) -> Tensor:
        """`[n]` entries :math:`G_{uu}`."""
        return torch.where(self.is_root, 0.0, self.inverse[self.row + self.local])

    def solve(self, psi: Tensor) -> Tensor:
        """`G psi` for `[n, k]` demands that sum to zero on every component."""
        grounded = torch.where(self.is_root.unsqueeze(1), 0.0, psi)
        padded = psi.new_zeros(self.num_slots, psi.shape[1]).index_copy(0, self.slot, grounded)
        parts = [
            torch.bmm(inverse, block.view(size, width, -1)).flatten(0, 1)
            for inverse, block, (size, width) in zip(
                self.stacks(self.inverse), padded.split([s * w for s, w in self.shapes]), self.shapes, strict=True
            )
        ]
        return torch.cat(parts)[self.slot] if parts else psi


def _chunks(sizes: list[int]) -> list[tuple[int, int, int]]:
    """Cut ascending sizes into `(start, stop, width)` without much padding and of bounded memory."""
    chunks, start = [], 0
    for i, size in enumerate(sizes):
        count = i - start
        if count and ((count + 1) * size**2 > LARGEST_CHUNK or size > max(sizes[start] + 3, 1.1 * sizes[start])):
            chunks.append((start, i, sizes[i - 1]))
            start = i
    if sizes:
        chunks.append((start, len(sizes), sizes[-1]))
    return chunks


def _diagonal_places(shapes: list[tuple[int, int]], device: torch.device) -> Tensor:
    """Where the diagonal entries of all blocks lie in the buffer."""
    places, start = [], 0
    for size, width in shapes:
        row = torch.arange(size * width, device=device)
        places.append(start + row * width + row % width)
        start += size * width * width
    return torch.cat(places) if places else torch.zeros(0, dtype=torch.int64, device=device)
