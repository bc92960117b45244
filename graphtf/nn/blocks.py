"""Powers and leverages of many small graphs as padded blocks, by tensor operations alone, which differentiate again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Blocks(NamedTuple):
    """Where nodes lie when the graphs of a batch are padded to matrices of one size.

    Example:
        >>> Blocks.of(torch.tensor([0, 2, 3])).row  # two nodes, and one
        tensor([0, 1, 2])
    """

    row: Tensor  # [n] of every node among the rows of all blocks
    local: Tensor  # [n] the same inside of its block
    size: int  # N, nodes of the largest graph
    number: int  # G

    @classmethod
    def of(cls, nodes: Tensor) -> Blocks:
        """The blocks of graphs whose nodes start at `nodes` `[G + 1]`."""
        count = nodes.diff()
        graph, size = torch.repeat_interleave(count), int(count.max())
        local = torch.arange(len(graph)) - nodes[graph]
        return cls(graph * size + local, local, size, len(count))


def block_powers(
    off: Tensor, diagonal: Tensor, u: Tensor, v: Tensor, blocks: Blocks, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Powers of `T` by products of padded blocks, `[H, degree + 1, G N N]`; `[H, n, degree]`, `[H, m, degree]` of them.

    Args:
        off: `[H, m]` entries of `T` at the edges.
        diagonal: `[H, n]` entries on the diagonal.
        u: `[m]` one end of every edge.
        v: `[m]` the other one.
        blocks: where they lie.
        degree: the largest power, at least 1.
    """
    row, local, size, number = blocks
    at_edge, own = row[u] * size + local[v], row * size + local
    at = torch.cat([at_edge, row[v] * size + local[u], own])
    walk = off.new_zeros(len(off), number * size**2).index_add(1, at, torch.cat([off, off, diagonal], 1))
    identity = torch.zeros_like(walk[0]).index_fill(0, own, 1.0).expand(len(off), -1)
    square = walk.view(len(off) * number, size, size)
    power, powers = square, [identity, walk]
    for _ in range(1, degree):
        power = torch.bmm(square, power)
        powers.append(power.view_as(walk))
    stack = torch.stack(powers, 1)
    node, edge = (stack[:, 1:].index_select(2, place).transpose(1, 2) for place in (own, at_edge))
    return stack, node, edge


def block_leverages(weight: Tensor, u: Tensor, v: Tensor, blocks: Blocks) -> Tensor:
    """`[H, m]` leverages by pseudoinverses of padded blocks."""
    w, (row, local, size, number) = weight.double(), blocks
    places = [row[a] * size + local[b] for a, b in ((u, u), (v, v), (u, v), (v, u))]
    laplacian = w.new_zeros(len(w), number * size**2)
    laplacian = laplacian.index_add(1, torch.cat(places), torch.cat([w, w, -w, -w], 1))
    square = laplacian.view(len(w) * number, size, size)
    inverse = torch.linalg.pinv(square, hermitian=True).view(len(w), number * size**2)
    uu, vv, uv, _ = (inverse.index_select(1, place) for place in places)
    return (w * (uu + vv - 2 * uv)).to(weight.dtype)
