"""Checks of user input, each with a message that says what came, what was expected and what to do."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

INTEGER = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


def check_positive_int(name: str, value: Any, minimum: int = 1) -> int:
    """Return `value` as an `int` if it is an integer of at least `minimum`, else raise `TypeError` or `ValueError`.

    Integers of NumPy are accepted.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, but got {value!r} ({type(value).__name__})")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, but got {value}")
    return int(value)


def check_dropout(name: str, value: Any) -> float:
    """Return `value` if it is a probability below 1, else raise `TypeError` or `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number in [0, 1), but got {value!r}")
    if not 0 <= float(value) < 1:
        raise ValueError(f"{name} must be in [0, 1), but got {value}")
    return float(value)


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`, else raise `ValueError`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, but got {value!r}")
    return str(value)


def check_index(index: Any, num_nodes: int | None, name: str = "index") -> tuple[Tensor, int]:
    """Return a contiguous `[2, m]` int64 index and the number of nodes."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape [2, m], but got {type(index).__name__}")
    if index.dim() != 2 or index.shape[0] != 2:
        raise ValueError(f"{name} must have shape [2, m], but has shape {list(index.shape)}")
    if index.dtype not in INTEGER:
        if index.numel():
            raise TypeError(f"{name} must hold integers, but has dtype {index.dtype}; convert it with .long()")
        index = index.long()
    index = index.to(torch.int64).contiguous()
    low, high = (int(t) for t in index.aminmax()) if index.numel() else (0, -1)
    if num_nodes is None:
        num_nodes = high + 1
    elif isinstance(num_nodes, bool) or not isinstance(num_nodes, Integral):
        raise TypeError(f"num_nodes must be an int, but got {num_nodes!r} ({type(num_nodes).__name__})")
    if num_nodes < 0:
        raise ValueError(f"num_nodes must not be negative, but got {num_nodes}")
    if low < 0 or high >= num_nodes:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} holds node {wrong}, but the graph has num_nodes={num_nodes} nodes (0 ... n - 1)")
    return index, int(num_nodes)


def _default_dtype() -> torch.dtype:
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def unit_weight(index: Tensor) -> Tensor:
    """`[m]` ones for the columns of `index`, in the default dtype, but at least float32."""
    return torch.ones(index.shape[1], dtype=_default_dtype(), device=index.device)


def check_weight(weight: Any, num_edges: int, device: torch.device, name: str = "weight") -> Tensor | None:
    """Return `[num_edges]` finite positive conductances in float32 or float64, or `None`."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape [{num_edges}], but got {type(weight).__name__}")
    if weight.dim() == 2 and weight.shape[1] == 1:
        weight = weight.squeeze(1)
    if weight.shape != (num_edges,):
        raise ValueError(f"{name} must have shape [{num_edges}], one per edge, but has shape {list(weight.shape)}")
    if weight.is_complex() or weight.dtype == torch.bool:
        raise TypeError(f"{name} must be real numbers, but has dtype {weight.dtype}")
    if weight.device != device:
        raise ValueError(f"{name} is on {weight.device}, but the index is on {device}; move one of them")
    if weight.dtype not in (torch.float32, torch.float64):  # degrees need more than half precision
        weight = weight.float() if weight.is_floating_point() else weight.to(_default_dtype())
    bad = ~(torch.isfinite(weight) & (weight > 0))
    if bool(bad.any()):
        where = int(bad.nonzero()[0])
        value = float(weight[where].detach())
        remedy = "correct it, or drop such edges"
        if -float("inf") < value <= 0:
            remedy = "drop edges of weight zero" if value == 0 else "take the absolute values, or drop such edges"
        raise ValueError(
            f"{name} must be finite and positive (a conductance), but entry {where} is {value} and "
            f"{int(bad.sum())} of {num_edges} are not; {remedy} before building the graph"
        )
    return weight


def check_batch(batch: Any, num_graphs: int | None, num_nodes: int, index: Tensor) -> tuple[Tensor | None, int | None]:
    """Return the `[n]` int64 graph of every node and the number of graphs, or `(None, None)`."""
    if batch is None:
        if num_graphs not in (None, 1):
            raise ValueError(f"num_graphs={num_graphs} needs batch, the graph of every node")
        return None, None
    if not isinstance(batch, Tensor) or batch.dtype not in INTEGER:
        got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"batch must be an integer tensor of shape [{num_nodes}], but got {got}")
    if batch.shape != (num_nodes,):
        raise ValueError(f"batch must have shape [{num_nodes}], one entry per node, but has {list(batch.shape)}")
    batch = batch.to(torch.int64)
    if batch.device != index.device:
        raise ValueError(f"batch is on {batch.device}, but the index is on {index.device}; move one of them")
    low, high = (int(t) for t in batch.aminmax()) if batch.numel() else (0, -1)
    if num_graphs is None:
        num_graphs = high + 1
    if low < 0 or high >= num_graphs:
        raise ValueError(f"batch holds graph {low if low < 0 else high}, but there are num_graphs={num_graphs} graphs")
    crossing = batch[index[0]] != batch[index[1]]
    if bool(crossing.any()):
        u, v = index[:, crossing.nonzero()[0, 0]].tolist()
        raise ValueError(
            f"edge ({u}, {v}) joins graphs {int(batch[u])} and {int(batch[v])}, but edges must stay inside one graph; "
            "check batch and the node offsets"
        )
    return batch, num_graphs
