"""Rows that repeat others, and remember it, so that a map of them is computed once for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def repeat_rows(rows: Tensor, at: Tensor) -> Tensor:
    """`rows[at]`, which :func:`map_rows` takes apart again; any other use sees a plain tensor.

    Then the result is no part of the graph of derivatives, unless it retains its gradient or has a hook by then.

    Args:
        rows: `[m, C]`.
        at: `[E]` numbers below `m`.

    Example:
        >>> repeat_rows(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0, 1])).flatten().tolist()
        [2.0, 1.0, 2.0]
    """
    out = rows.index_select(0, at)
    # In inference nobody counts changes in place; without gradients what is kept might be stored along with the rows.
    if torch.is_grad_enabled() and not out.is_inference():
        out.repeats = rows, at, out._version  # type: ignore[attr-defined]
    return out


def map_rows(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`module(x)`, of one row for every undirected edge where `x` has two that are equal.

    Means and variances over the rows are the same, so that this holds for batch normalisation too (its running variance
    is unbiased for `m` rows instead of `E`). That is why nothing is saved where rows are repeated unequally often.

    Args:
        module: maps `[*, C]` row by row, but for statistics over all of them.
        x: `[E, C]`.

    Example:
        >>> x = repeat_rows(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 0, 1, 0]))
        >>> map_rows(lambda rows: rows * len(rows), x).flatten().tolist()  # of two rows
        [4.0, 2.0, 4.0, 2.0]
    """
    rows, at, version = getattr(x, "repeats", (x, None, 0))
    asked = x.retains_grad or bool(x._backward_hooks)  # for the gradient of the rows
    if at is None or x._version != version or asked or len(rows) < 2 or len(at) % len(rows):
        return module(x)  # also where somebody changed the rows in place since
    count = torch.bincount(at, minlength=len(rows))
    if not bool((count == len(at) // len(rows)).all()):
        return module(x)
    return module(rows).index_select(0, at)
