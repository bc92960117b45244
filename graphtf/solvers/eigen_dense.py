"""Eigenpairs of all graphs of a batch as dense matrices, exactly as large as the graphs are."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import local_index

LARGEST_COMPILED = 64  # nodes, beyond which LAPACK's blocked algorithms are faster
GROUP = 1 << 24  # entries of the matrices that are decomposed in one call
THREAD_WORK = 1e6  # sum of cubes of the sizes that is worth a thread


class Group(NamedTuple):
    """Graphs of one size that are handled in one call."""

    graphs: Tensor  # [g] their numbers
    nodes: Tensor  # [g, s] their nodes
    entries: slice  # where their matrices lie


class Blocks:
    """Where the dense matrices of a batch lie behind each other, ordered by size, so that nothing is padded.

    Args:
        graph: incidence operator, a graph or a batch.
    """

    def __init__(self, graph: Incidence) -> None:
        self.graph = graph
        local, _ = local_index(graph)
        count = torch.bincount(graph.batch, minlength=graph.num_graphs)
        self.order = count.argsort(stable=True)
        self.sizes = count[self.order]
        squares = self.sizes.square()
        self.start = squares.cumsum(0) - squares
        self.first = self.sizes.cumsum(0) - self.sizes
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(graph.num_graphs, device=graph.device)
        of_node = place[graph.batch]
        self.nodes = torch.empty_like(local)  # [n] nodes, graph after graph
        self.nodes[self.first[of_node] + local] = torch.arange(graph.num_nodes, device=graph.device)
        self.local, self.row = local, self.start[of_node] + local * self.sizes[of_node]
        self.num_entries = int(squares.sum())

    def matrices(self, weight: Tensor, diagonal: Tensor) -> Tensor:
        """Entries of all matrices with `-weight` `[m]` at the edges and `diagonal` `[n]`; differentiable."""
        u, v = self.graph.index
        at = torch.cat([self.row[u] + self.local[v], self.row[v] + self.local[u], self.row + self.local])
        return weight.new_zeros(self.num_entries).index_add(0, at, torch.cat([-weight, -weight, diagonal]))

    def groups(self) -> Iterator[Group]:
        """The graphs, those of one size together, empty ones left out."""
        sizes, counts = torch.unique_consecutive(self.sizes, return_counts=True)
        begin = node = entry = 0
        for s, number in zip(sizes.tolist(), counts.tolist(), strict=True):
            step = max(1, GROUP // max(s * s, 1))
            for offset in range(0, number, step):
                g = min(step, number - offset)
                if s:
                    graphs = self.order[begin + offset : begin + offset + g]
                    yield Group(graphs, self.nodes[node : node + g * s].view(g, s), slice(entry, entry + g * s * s))
                node, entry = node + g * s, entry + g * s * s
            begin += number


def restrict(graph: Incidence, chosen: Tensor) -> tuple[Incidence, Tensor]:
    """The operator of the graphs in the mask `chosen` `[G]`, without gradients, and their nodes."""
    if bool(chosen.all()):
        whole = graph._replace(
            weight=graph.weight.detach(), scale=None if graph.scale is None else graph.scale.detach()
        )
        return whole, torch.arange(graph.num_nodes, device=graph.device)
    keep = chosen[graph.batch]
    nodes = keep.nonzero()[:, 0]
    number = keep.cumsum(0) - 1
    edges = keep[graph.index[0]]
    _, components = torch.unique(graph.components()[nodes], return_inverse=True)
    piece = graph._replace(
        index=number[graph.index[:, edges]],
        weight=graph.weight.detach()[edges],
        num_nodes=len(nodes),
        batch=(chosen.cumsum(0) - 1)[graph.batch[nodes]],
        num_graphs=int(chosen.sum()),
        scale=None if graph.scale is None else graph.scale.detach()[nodes],
        components=components,
    )
    return piece, nodes


def without_null_vectors(graph: Incidence, group: Group, matrices: Tensor, shift: Tensor) -> Tensor:
    """`[g, s, s]` Laplacians whose null vectors have the eigenvalue `shift` `[g]`, above all others."""
    v, label = graph.null_vector().detach()[group.nodes], graph.components()[group.nodes]
    same = label.unsqueeze(2) == label.unsqueeze(1)
    return matrices + shift.view(-1, 1, 1) * torch.where(same, v.unsqueeze(2) * v.unsqueeze(1), 0.0)


def dense_eigenpairs(graph: Incidence, count: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Eigenpairs of every graph without its null vectors, by Householder reduction and implicit QL.

    With numba the matrices of at most 64 rows run one after the other through a compiled kernel, on all threads. Larger
    ones, and all without it or on a GPU, go through `torch.linalg.eigh`, those of one size together.

    Args:
        graph: incidence operator, plain or normalized.
        count: `[G]` numbers of wanted pairs, at most `min(k, nodes - components)`.
        k: columns of the answer.
        largest: whether the largest eigenvalues are wanted, in descending order; else the smallest, ascending.

    Returns:
        `[G, k]` eigenvalues and `[n, k]` eigenvectors, in the dtype of the graph and zero beyond `count`.
    """
    _, _, w, diagonal = (t.detach() for t in graph._laplacian_entries())
    shift = 2 * graph.lambda_bound().detach().double()
    shift = torch.where(shift > 0, shift, 1.0)
    blocks = Blocks(graph)
    matrices = blocks.matrices(w.double(), diagonal.double())
    values = shift.new_zeros(graph.num_graphs, k)
    vectors = shift.new_zeros(graph.num_nodes, k)
    compiled = graph.device.type == "cpu" and importlib.util.find_spec("numba") is not None
    small = int((blocks.sizes <= LARGEST_COMPILED).sum()) if compiled else 0
    if small:
        _compiled(graph, blocks, small, matrices, shift, count, largest, values, vectors)
    for group in blocks.groups():
        s = group.nodes.shape[1]
        if compiled and s <= LARGEST_COMPILED:
            continue
        wanted = count[group.graphs]
        if not bool(wanted.any()):
            continue
        L = without_null_vectors(graph, group, matrices[group.entries].view(-1, s, s), shift[group.graphs])
        E, U = torch.linalg.eigh(L)
        column = torch.arange(min(k, s), device=E.device)
        if largest:
            free = torch.le(E, 0.75 * shift[group.graphs].unsqueeze(1)).sum(1, keepdim=True)
            column = (free - 1 - column).clamp(min=0)
        column = column.expand(len(E), -1)
        keep = torch.arange(column.shape[1], device=E.device) < wanted.unsqueeze(1)
        values[group.graphs, : column.shape[1]] = E.gather(1, column) * keep
        picked = U.gather(2, column.unsqueeze(1).expand(-1, s, -1)) * keep.unsqueeze(1)
        vectors[group.nodes.flatten(), : column.shape[1]] = picked.flatten(0, 1)
    return values.to(graph.dtype), vectors.to(graph.dtype)


def _compiled(
    graph: Incidence,
    blocks: Blocks,
    number: int,
    matrices: Tensor,
    shift: Tensor,
    count: Tensor,
    largest: bool,
    values: Tensor,
    vectors: Tensor,
) -> None:
    from graphtf.solvers.eigen_small import eigenpairs

    order, nodes = blocks.order, blocks.nodes
    out_values, out_vectors = torch.zeros_like(values), torch.zeros_like(vectors)
    arrays = (
        matrices.numpy(),
        blocks.start.numpy(),
        blocks.sizes.numpy(),
        blocks.first.numpy(),
        graph.null_vector().detach()[nodes].double().numpy(),
        graph.components()[nodes].numpy(),
        shift[order].numpy(),
        count[order].numpy(),
        largest,
        out_values.numpy(),
        out_vectors.numpy(),
    )
    work = blocks.sizes[:number].double().pow(3).cumsum(0)
    threads = min(torch.get_num_threads(), number, 1 + int(work[-1] / THREAD_WORK))
    if threads == 1:
        failed = eigenpairs(0, number, *arrays)
    else:
        share = work[-1] * torch.arange(1, threads, dtype=torch.float64) / threads
        cuts = [0, *torch.searchsorted(work, share).tolist(), number]
        with ThreadPoolExecutor(threads) as pool:
            failed = sum(pool.map(lambda a, b: eigenpairs(a, b, *arrays), cuts[:-1], cuts[1:]))
    if failed:
        raise RuntimeError(f"the QL iterations of {failed} graph(s) did not converge, which finite weights never cause")
    own = nodes[: int(blocks.sizes[:number].sum())]
    values[order[:number]] = out_values[:number]
    vectors[own] = out_vectors[: len(own)]
