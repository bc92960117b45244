"""How the registers of a batch of graphs lie in memory: a node list (sparse) or padded blocks (dense).

All layouts offer the same few products, so that a layer is written once. Registers have shape `[*, p, k]`: `p`
registers of `k` columns, with `*` the nodes `[n]` of the node list or `[G, N]` of the padded blocks. Prompts, whose
tokens are samples instead of nodes, have a layout of their own: :class:`graphtf.prompt_layout.PromptLayout`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from graphtf.activation import Activation
from graphtf.compiled import is_traced
from graphtf.incidence import Incidence


class Layout(Protocol):
    """The products that layers are made of, in whatever way the registers `[*, p, k]` lie."""

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """`act(K A K^T) x` for `[*, f]`, `K` the rows of a graph's `B` or of the samples, `A = data` (or `I`)."""
        ...

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value` without the score: `[*, a], [*, a], [*, f] -> [*, f]`."""
        ...

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of `x * y` over the tokens of every graph or prompt, spread back to them."""
        ...


class _Graphs:
    """What layouts of graphs share: their score is `L`, for the edges of a graph have no weights of their own."""

    def plain(self, data: Tensor | None, act: Activation) -> None:
        """Raise unless the score is `L`."""
        if data is not None or act != "id":
            what = "a data map" if data is not None else f"the activation {act!r}"
            raise ValueError(
                f"{what} needs the tokens of a prompt, but these are the nodes of a graph; give their encodings as the "
                "samples of a PromptLayout"
            )


class SparseLayout(_Graphs):
    """Node list `[n, ...]`; a product with `L` costs two passes over the edges."""

    def __init__(self, graph: Incidence) -> None:
        self.graph = graph

    def pack(self, x: Tensor) -> Tensor:
        """`[n, ...]` node values to the layout's own shape."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """The layout's own shape back to `[n, ...]` node values."""
        return x

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """`L x` for `[*, f]`."""
        self.plain(data, act)
        return self.graph.laplacian @ x

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value`, graph by graph and without the `n x n` score: `[*, a], [*, a], [*, f] -> [*, f]`."""
        if self.graph.num_graphs == 1:
            return query @ (key.t() @ value)
        outer = key.unsqueeze(2) * value.unsqueeze(1)  # [n, a, f]
        moment = outer.new_zeros(self.graph.num_graphs, *outer.shape[1:]).index_add(0, self.graph.batch, outer)
        return torch.einsum("na,naf->nf", query, moment[self.graph.batch])

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of `x * y` over the nodes of every graph, spread back to its nodes: `[*, ...] -> [*, ...]`."""
        product = x * y
        total = product.new_zeros(self.graph.num_graphs, *product.shape[1:])
        return total.index_add(0, self.graph.batch, product)[self.graph.batch]

    def identity(self) -> Tensor:
        """`Phi_0 = I` of every graph: `[n, k]` with `k` the size of the largest graph."""
        local, size = local_index(self.graph)
        columns = torch.arange(size, device=local.device)
        return (local.unsqueeze(1) == columns).to(self.graph.dtype)


class PaddedLayout(_Graphs):
    """Blocks `[G, N, ...]` padded with zero rows, and one dense `N x N` Laplacian a graph."""

    def __init__(self, graph: Incidence, laplacian: Tensor | None = None) -> None:
        self.graph = graph
        self.local, self.size = local_index(graph)
        self.laplacian_blocks = self._dense() if laplacian is None else laplacian

    def _dense(self) -> Tensor:
        graph, local = self.graph, self.local
        u, v, w, diagonal = graph._laplacian_entries()
        block = graph.batch[u] * self.size * self.size
        flat = torch.cat(
            [
                block + local[u] * self.size + local[v],
                block + local[v] * self.size + local[u],
                graph.batch * self.size * self.size + local * (self.size + 1),
            ]
        )
        entries = diagonal.new_zeros(graph.num_graphs * self.size * self.size)
        return entries.index_add(0, flat, torch.cat([-w, -w, diagonal])).view(graph.num_graphs, self.size, self.size)

    def with_laplacian(self, laplacian: Tensor) -> PaddedLayout:
        """The same blocks with another `[G, N, N]` matrix in place of `L`."""
        new = object.__new__(PaddedLayout)
        new.graph, new.local, new.size, new.laplacian_blocks = self.graph, self.local, self.size, laplacian
        return new

    def pack(self, x: Tensor) -> Tensor:
        """`[n, ...]` node values to `[G, N, ...]`, zero rows behind the nodes of every graph."""
        out = x.new_zeros(self.graph.num_graphs * self.size, *x.shape[1:])
        out = out.index_copy(0, self.graph.batch * self.size + self.local, x)
        return out.view(self.graph.num_graphs, self.size, *x.shape[1:])

    def unpack(self, x: Tensor) -> Tensor:
        """`[G, N, ...]` blocks back to `[n, ...]` node values."""
        return x.flatten(0, 1).index_select(0, self.graph.batch * self.size + self.local)

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """`L x` for `[G, N, f]`."""
        self.plain(data, act)
        return torch.bmm(self.laplacian_blocks, x)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value` of every graph: `[G, N, a], [G, N, a], [G, N, f] -> [G, N, f]`."""
        return torch.bmm(query, torch.bmm(key.transpose(1, 2), value))

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of `x * y` over the nodes of every graph, spread back to its nodes."""
        return (x * y).sum(1, keepdim=True).expand_as(x)

    def identity(self) -> Tensor:
        """`Phi_0 = I` of every graph: `[G, N, N]`, zero in the padding."""
        one = torch.ones(self.graph.num_nodes, dtype=self.graph.dtype, device=self.graph.device)
        return torch.diag_embed(self.pack(one))


GraphLayout = SparseLayout | PaddedLayout


def graph_layout(layout: Layout, layer: str) -> GraphLayout:
    """`layout` if it is one of graphs.

    Raises:
        TypeError: it is another, for which `layer` is not defined.
    """
    if not isinstance(layout, GraphLayout):
        raise TypeError(f"{layer} runs on graphs, but got a {type(layout).__name__}")
    return layout


def local_index(graph: Incidence) -> tuple[Tensor, int]:
    """`[n]` position of every node inside its graph, and the size of the largest graph."""
    count = torch.bincount(graph.batch, minlength=graph.num_graphs)
    start = count.cumsum(0) - count
    nodes = torch.arange(graph.num_nodes, device=graph.device)
    if bool((graph.batch[1:] >= graph.batch[:-1]).all()):  # the order of every PyG batch: nothing to sort
        position = nodes
    else:
        order = torch.argsort(graph.batch, stable=True)
        position = torch.empty_like(order)
        position[order] = nodes
    return position - start[graph.batch], int(count.max()) if count.numel() else 0


def check_pairs(graph: Incidence, pairs: Tensor) -> None:
    """Raise an `IndexError` where `pairs` `[2, P]`, at least one, have a node that the graph has not."""
    if is_traced():  # there are no numbers to look at
        return
    low, high = (int(value) for value in pairs.aminmax())
    if low < 0 or high >= graph.num_nodes:
        raise IndexError(f"pairs hold nodes {low} ... {high}, but the graph has 0 ... {graph.num_nodes - 1}")


def edge_at(graph: Incidence, pairs: Tensor) -> Tensor:
    """`[P]` number of the edge that joins a pair of nodes, -1 where there is none.

    Args:
        graph: plain or normalized operator.
        pairs: `[2, P]` nodes of the graph, in any order. For the list that it was read from the operator remembers the
            answer; do not change that in place.

    Example:
        >>> from graphtf import Incidence
        >>> path = Incidence(torch.tensor([[0, 2], [1, 1]]))
        >>> edge_at(path, torch.tensor([[1, 1, 0], [0, 2, 2]])).tolist()
        [0, 1, -1]
    """
    if graph._listed is not None and pairs is graph._listed[0] and pairs._version == graph._listed[1]:
        return graph._listed[2]
    if graph.num_edges == 0:
        return torch.full_like(pairs[0], -1)
    n, pairs = graph.num_nodes, pairs.to(torch.int64)  # what follows would overflow a smaller type
    low, high = graph.index.aminmax(dim=0)
    keys, order = low * n + high, None
    if not bool((keys[1:] > keys[:-1]).all()):  # from_edge_index sorts
        keys, order = keys.sort()
    low, high = pairs.aminmax(dim=0) if pairs.numel() else pairs
    wanted = low * n + high
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return torch.where(keys[at] == wanted, at if order is None else order[at], -1)
