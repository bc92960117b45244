"""Messages and attention along the edges of a batch, by tensor operations or, on the CPU, by compiled loops."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.utils import softmax

from graphtf.compiled import has_numba, is_traced
from graphtf.differentiable import by_tensors, is_differentiated_again

SMALLEST = 2048  # edges that are worth a thread


class EdgeLoops(NamedTuple):
    """The edges of a batch, ready for compiled loops.

    Example:
        >>> import torch
        >>> EdgeLoops.find(torch.tensor([[0, 1], [1, 0]]), num_nodes=2).ranges
        [(0, 2)]
    """

    source: Tensor  # [E] senders
    target: Tensor  # [E] receivers
    ranges: list[tuple[int, int]]  # of edges, one a thread, without a common node

    @classmethod
    def find(cls, edge_index: Tensor, num_nodes: int, batch: Tensor | None = None) -> EdgeLoops | None:
        """The loops over the columns of `edge_index` `[2, E]`; `None` where there are none, for want of numba or a CPU.

        Args:
            edge_index: senders and receivers.
            num_nodes: number of nodes.
            batch: `[n]` graph of every node, by which edges are shared among the threads of torch.

        Raises:
            IndexError: an edge has an end that is no node.
        """
        if edge_index.device.type != "cpu" or not has_numba() or is_traced():
            return None
        source, target = edge_index.to(torch.int64).contiguous()
        edges = len(source)
        if edges:
            low, high = (int(value) for value in edge_index.aminmax())
            if low < 0 or high >= num_nodes:
                raise IndexError(f"edge_index holds {low} ... {high}, but there are {num_nodes} nodes, from 0 on")
        threads = min(torch.get_num_threads(), edges // SMALLEST)
        if batch is None or threads < 2:
            return cls(source, target, [(0, edges)])
        graph, other = batch.index_select(0, source), batch.index_select(0, target)
        if not (torch.equal(graph, other) and bool((graph.diff() >= 0).all())):
            return cls(source, target, [(0, edges)])
        share = graph[torch.arange(1, threads) * edges // threads]  # split at the first edge of these graphs
        ends = [0, *torch.searchsorted(graph, share).tolist(), edges]
        return cls(source, target, list(pairwise(ends)))

    def fit(self, *tensors: Tensor) -> bool:
        """Whether the loops take these: of one type, single or double precision, on the CPU."""
        dtype = tensors[0].dtype
        known = dtype in (torch.float32, torch.float64)
        return known and all(x.dtype == dtype and x.device.type == "cpu" for x in tensors)

    def run(self, loop: Callable[..., None], *tensors: Tensor) -> None:
        """Run a compiled loop with the edges and these arrays, range by range, in as many threads."""
        arrays = [x.detach().numpy() for x in (self.source, self.target, *tensors)]
        first, *others = self.ranges
        if not others:
            loop(*first, *arrays)
            return
        pool = _pool(os.getpid(), len(others))
        waiting = [pool.submit(loop, *span, *arrays) for span in others]
        loop(*first, *arrays)
        for future in waiting:
            future.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # By process: threads do not survive a fork.
    return ThreadPoolExecutor(threads)


def add_messages(total: Tensor, h: Tensor, e: Tensor, edge_index: Tensor, loops: EdgeLoops | None = None) -> Tensor:
    r"""GINE's messages, added in place.

    .. math:: t_i \leftarrow t_i + \sum_j \mathrm{relu}(h_j + e_{ij})

    Args:
        total: `[n, C]`, what they are added to; it is overwritten.
        h: `[n, C]` node states.
        e: `[E, C]` edge states.
        edge_index: `[2, E]`; the messages go from `edge_index[0]` to `edge_index[1]`.
        loops: compiled loops over these edges.

    Returns:
        `total`.

    Example:
        >>> import torch
        >>> h, edge = torch.tensor([[3.0], [-5.0]]), torch.tensor([[0, 1], [1, 0]])
        >>> add_messages(torch.ones(2, 1), h, torch.ones(2, 1), edge)
        tensor([[1.],
                [5.]])
    """
    if loops is not None and loops.fit(total, h, e):
        return _Messages.apply(total, h, e, loops)
    return total.index_add_(0, edge_index[1], h.index_select(0, edge_index[0]).add_(e).relu_())


def attend_along_edges(
    qkv: Tensor, e: Tensor, edge_index: Tensor, heads: int, loops: EdgeLoops | None = None
) -> tuple[Tensor, Tensor]:
    r"""Multi-head attention of every node to its neighbours, with a feature of every edge inside the product.

    .. math:: w_{ij} = q_i \odot k_j \odot e_{ij}, \qquad
        o_i = \sum_j \mathrm{softmax}_j\Bigl(\sum_c w_{ijc}\Bigr) v_j

    Args:
        qkv: `[n, 3 C]` queries, scaled, then keys, then values.
        e: `[E, C]` features of the edges.
        edge_index: `[2, E]` senders `j` and receivers `i`.
        heads: number of heads, a divisor of `C`; sum and softmax are those of a head.
        loops: compiled loops over these edges.

    Returns:
        `o` `[n, C]` and `w` `[E, C]`.

    Example:
        >>> import torch
        >>> qkv = torch.tensor([[1.0, 1.0, 5.0], [1.0, 1.0, 7.0]])
        >>> attend_along_edges(qkv, torch.ones(2, 1), torch.tensor([[0, 1], [1, 0]]), heads=1)
        (tensor([[7.],
                [5.]]), tensor([[1.],
                [1.]]))
    """
    if loops is not None and loops.fit(qkv, e):
        return _Attention.apply(qkv, e, heads, loops)
    dtype = torch.promote_types(qkv.dtype, e.dtype)
    return _attend(qkv.to(dtype), e.to(dtype), edge_index[0], edge_index[1], heads)


def _attend(qkv: Tensor, e: Tensor, source: Tensor, target: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    n, width = len(qkv), e.shape[1]
    q, k, v = qkv.split(width, 1)
    w = q.index_select(0, target) * k.index_select(0, source) * e
    alpha = softmax(w.view(-1, heads, width // heads).sum(-1), target, num_nodes=n)  # [E, H]
    message = v.index_select(0, source).view(-1, heads, width // heads) * alpha.unsqueeze(-1)
    return qkv.new_zeros(n, width).index_add_(0, target, message.reshape(-1, width)), w


class _Messages(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, total: Tensor, h: Tensor, e: Tensor, loops: EdgeLoops) -> Tensor:
        from graphtf.models import edge_loops_numba

        h, e = h.contiguous(), e.contiguous()
        loops.run(edge_loops_numba.gine, h, e, total)
        ctx.mark_dirty(total)
        ctx.save_for_backward(h, e)
        ctx.loops = loops
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.models import edge_loops_numba

        h, e = ctx.saved_tensors
        if is_differentiated_again(grad):
            source, target = ctx.loops.source, ctx.loops.target

            def messages(h: Tensor, e: Tensor) -> Tensor:
                return torch.zeros_like(h).index_add(0, target, (h.index_select(0, source) + e).relu())

            return grad, *by_tensors(messages, (h, e), (grad,)), None
        of_h, of_e = torch.zeros_like(h), torch.empty_like(e)
        ctx.loops.run(edge_loops_numba.gine_gradient, h, e, grad.contiguous(), of_h, of_e)
        return grad, of_h, of_e, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, e: Tensor, heads: int, loops: EdgeLoops) -> tuple[Tensor, Tensor]:
        from graphtf.models import edge_loops_numba

        qkv, e = qkv.contiguous(), e.contiguous()
        n, width = len(qkv), e.shape[1]
        w, alpha = torch.empty_like(e), e.new_empty(len(e), heads)
        largest, total, out = e.new_full((n, heads), -torch.inf), e.new_zeros(n, heads), e.new_zeros(n, width)
        loops.run(edge_loops_numba.attention, qkv, e, w, alpha, largest, total, out)
        ctx.save_for_backward(qkv, e, alpha)
        ctx.loops = loops
        return out, w

    @staticmethod
    def backward(ctx: Any, of_out: Tensor, of_w: Tensor) -> tuple[Tensor | None, ...]:
        from graphtf.models import edge_loops_numba

        qkv, e, alpha = ctx.saved_tensors
        if is_differentiated_again(of_out, of_w):
            ends, heads = (ctx.loops.source, ctx.loops.target), alpha.shape[1]
            return *by_tensors(lambda x, y: _attend(x, y, *ends, heads), (qkv, e), (of_out, of_w)), None, None
        of_qkv, of_e = torch.zeros_like(qkv), torch.empty_like(e)
        scratch, mean = torch.empty_like(alpha), alpha.new_zeros(len(qkv), alpha.shape[1])
        arguments = (qkv, e, alpha, of_w.contiguous(), of_out.contiguous(), of_qkv, of_e, scratch, mean)
        ctx.loops.run(edge_loops_numba.attention_gradient, *arguments)
        return of_qkv, of_e, None, None
