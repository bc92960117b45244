"""Wanted entries of the powers of `T = I - L` on many graphs at once, in bounded memory.

Graphs of about one size are put together in chunks that fit a processor's cache. A chunk of small graphs is a stack of
dense blocks, where one batched product gives the next power of all of them; large graphs use sparse products on a few
columns at a time. Only the entries that were asked for are kept.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.validate import check_positive_int

LARGEST_DENSE = 96  # nodes; a sparse product is faster from there on
CHUNK = 1 << 16  # entries in the blocks of one chunk, so that two powers stay in the cache
SPARSE_CHUNK = 1 << 20  # entries in a block of columns of a large graph


class _Chunk(NamedTuple):
    """Graphs `start ... stop - 1` in the order of their size, the largest of `width` nodes."""

    start: int
    stop: int
    width: int


def power_entries(graph: Incidence, degree: int, pairs: Tensor, mix: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Diagonals, and entries (u, v), of the powers :math:`T^j`, `j = 0 ... degree`, with :math:`T = I - L`.

    Costs O(n N) operations a power on graphs of at most `N` nodes, up to a factor `N` saved or spent by dense blocks.
    With gradients every graph is handled as a dense block, whose powers are all kept.

    Args:
        graph: incidence operator, a batch or a single graph. Gradients reach its weights.
        degree: the largest power, at least 0.
        pairs: `[2, P]` integer tensor, pairs of nodes; an entry between two graphs is zero.
        mix: `[k, degree + 1]` coefficients of `k` polynomials in `T`, whose entries are wanted instead.

    Returns:
        `[n, degree + 1]` and `[P, degree + 1]`; with `mix` `[n, k]` and `[P, k]`.

    Raises:
        TypeError: `degree` is no integer.
        ValueError: it is negative.

    Example:
        >>> import torch
        >>> edge = Incidence(torch.tensor([[0], [1]])).normalized("sym")
        >>> power_entries(edge, 2, torch.tensor([[0], [1]]))
        (tensor([[1., 0., 1.],
                 [1., 0., 1.]]), tensor([[0., 1., 0.]]))
    """
    check_positive_int("degree", degree, minimum=0)
    n = graph.num_nodes
    if n == 0:
        empty = graph.weight.new_zeros(0, degree + 1 if mix is None else len(mix))
        return empty, empty
    u, v, w, diagonal = graph._laplacian_entries()
    with_gradients = torch.is_grad_enabled() and w.requires_grad
    local, _ = local_index(graph)
    count = torch.bincount(graph.batch, minlength=graph.num_graphs)
    order = count.argsort()
    chunks = _chunks(count[order].tolist(), LARGEST_DENSE)

    # Where the entry (u, v) of a graph lies among the blocks of its chunk, and the chunk.
    sizes = torch.tensor([chunk.stop - chunk.start for chunk in chunks], device=order.device)
    number = torch.repeat_interleave(sizes)  # [graphs]
    widths = torch.tensor([chunk.width for chunk in chunks], device=order.device)[number]
    first = torch.tensor([chunk.start for chunk in chunks], device=order.device)[number]
    base = (torch.arange(graph.num_graphs, device=order.device) - first) * widths * widths
    place = torch.empty_like(order)
    place[order] = torch.arange(graph.num_graphs, device=order.device)
    of_node = place[graph.batch]  # [n]
    base, width, number = base[of_node], widths[of_node], number[of_node]
    row = base + local * width

    of_edge, of_diagonal = number[u], row + local
    entries = _split(
        torch.cat([of_edge, of_edge, number]),
        torch.cat([row[u] + local[v], row[v] + local[u], of_diagonal]),
        len(chunks),
    )
    values = torch.cat([w, w, 1 - diagonal])
    tail, head = pairs
    same = graph.batch[tail] == graph.batch[head]
    inside = bool(same.all())
    head = head if inside else torch.where(same, head, tail)  # a place that exists; its value is not used
    queries = _split(torch.cat([number, number[tail]]), torch.cat([of_diagonal, row[tail] + local[head]]), len(chunks))

    found = []
    for i, chunk in enumerate(chunks):
        product = _dense if with_gradients or chunk.width <= LARGEST_DENSE else _sparse
        source = values if entries.source is None else values.index_select(0, entries.source[i])
        found.append(product(entries.positions[i], source, queries.positions[i], chunk, degree))
    result = torch.cat(found, 1).t()
    result = result if mix is None else result @ mix.t()
    result = result if queries.inverse is None else result.index_select(0, queries.inverse)
    node, edge = result[:n], result[n:]
    return node, edge if inside else torch.where(same.unsqueeze(1), edge, 0.0)


def _chunks(sizes: list[int], largest_dense: int) -> list[_Chunk]:
    """Cut the ascending sizes of the graphs into chunks without much padding and of bounded memory."""
    chunks, start = [], 0
    for i, size in enumerate(sizes):
        count = i - start
        too_much = (count + 1) * size**2 > CHUNK
        uneven = count >= 32 and size > 1.5 * sizes[start]
        if count and (too_much or uneven or sizes[i - 1] <= largest_dense < size):
            chunks.append(_Chunk(start, i, sizes[i - 1]))
            start = i
    if sizes:
        chunks.append(_Chunk(start, len(sizes), sizes[-1]))
    return chunks


class _Split(NamedTuple):
    positions: list[Tensor]
    source: list[Tensor] | None
    inverse: Tensor | None


def _split(chunk: Tensor, position: Tensor, num_chunks: int) -> _Split:
    """Sort by chunk: positions and where they come from, chunk by chunk, and the way back; `None` for "as it is"."""
    if num_chunks == 1:
        return _Split([position], None, None)
    key = chunk.to(torch.int16) if num_chunks < 2**15 else chunk  # sorts three times as fast
    order = key.argsort(stable=True)
    lengths = torch.bincount(chunk, minlength=num_chunks).tolist()
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order), device=order.device)
    return _Split(list(position[order].split(lengths)), list(order.split(lengths)), inverse)


def _dense(entry: Tensor, value: Tensor, query: Tensor, chunk: _Chunk, degree: int) -> Tensor:
    """`[degree + 1, queries]` entries of the powers, by products of dense blocks."""
    blocks, width = chunk.stop - chunk.start, chunk.width
    walk = value.new_zeros(blocks * width * width).index_add(0, entry, value).view(blocks, width, width)
    columns = [_is_diagonal(query, width).to(value.dtype)]
    power = walk
    for j in range(1, degree + 1):
        power = torch.bmm(walk, power) if j > 1 else power
        columns.append(power.view(-1).index_select(0, query))
    return torch.stack(columns)


def _sparse(entry: Tensor, value: Tensor, query: Tensor, chunk: _Chunk, degree: int) -> Tensor:
    """The same by sparse products with a few columns of the identity at a time."""
    width = chunk.width
    rows = (chunk.stop - chunk.start) * width
    row = entry.div(width, rounding_mode="floor")
    column = row - row % width + entry % width
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        index = torch.stack([row, column])
        walk = torch.sparse_coo_tensor(index, value, (rows, rows), check_invariants=False).to_sparse_csr()
    out = value.new_zeros(degree + 1, len(query))
    out[0] = _is_diagonal(query, width).to(value.dtype)
    step = max(32, SPARSE_CHUNK // rows)
    local = torch.arange(rows, device=value.device) % width
    at = (query % width).argsort(stable=True)
    bounds = torch.bincount((query % width).div(step, rounding_mode="floor"), minlength=-(-width // step))
    for start, wanted in zip(range(0, width, step), at.split(bounds.tolist()), strict=True):
        size = min(step, width - start)
        power = (local.unsqueeze(1) == torch.arange(start, start + size, device=local.device)).to(value.dtype)
        q = query[wanted]
        place = q.div(width, rounding_mode="floor") * size + q % width - start
        for j in range(1, degree + 1):
            power = walk @ power
            out[j, wanted] = power.view(-1)[place]
    return out


def _is_diagonal(query: Tensor, width: int) -> Tensor:
    return query.div(width, rounding_mode="floor") % width == query % width
