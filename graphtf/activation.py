"""Activations of attention scores: a kernel of token pairs, entry by entry, or the softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from graphtf.validate import check_choice

ActivationName = Literal["id", "relu", "exp", "softmax"]
Activation = ActivationName | Callable[[Tensor], Tensor]
ACTIVATIONS: tuple[ActivationName, ...] = ("id", "relu", "exp", "softmax")


def check_activations(act: Sequence[Activation] | None, heads: int) -> tuple[Activation, ...]:
    """The activation of every head, `"id"` for `None`.

    Raises:
        ValueError: they are not one for every head, or one is neither of :data:`ACTIVATIONS` nor a function.

    Example:
        >>> check_activations(None, 2)
        ('id', 'id')
    """
    if act is None:
        none: Activation = "id"
        return (none,) * heads
    if isinstance(act, str) or len(act) != heads:
        raise ValueError(f"act must name one activation for each of the {heads} head(s), but got {act!r}")
    for one in act:
        if not callable(one):
            check_choice("act", one, ACTIVATIONS)
    return (*act,)


def masked_scores(score: Tensor, keys: Tensor, act: Activation, scale: Tensor | float) -> Tensor:
    r"""Attention weights from raw scores, zero for tokens that are no keys.

    .. math:: W_{ij} = \mathrm{scale} \cdot \mathrm{act}(s_{ij})\, [j \text{ is a key}], \qquad
        W_{ij} = \mathrm{softmax}_j(s_{ij}) \text{ over the keys.}

    Args:
        score: `[..., N, N]` raw scores, queries first.
        keys: `[..., N, N]` or broadcasting booleans, which tokens are keys of which query.
        act: `"id"`, `"relu"`, `"exp"`, a function of the entries, or `"softmax"`, whose weights sum to 1.
        scale: factor, `1 / n` for `n` keys; the softmax has none.

    Returns:
        `[..., N, N]`.

    Example:
        >>> import torch
        >>> keys = torch.tensor([[True, True, False]])
        >>> masked_scores(torch.ones(1, 3), keys, "id", 0.5), masked_scores(torch.ones(1, 3), keys, "softmax", 0.5)
        (tensor([[0.5000, 0.5000, 0.0000]]), tensor([[0.5000, 0.5000, 0.0000]]))
    """
    if act == "softmax":
        some = keys.any(-1, keepdim=True)  # without a key there is nothing to attend to, rather than 0 / 0
        return torch.where(keys, score.masked_fill(~keys & some, -torch.inf).softmax(-1), 0.0)
    functions: dict[str, Callable[[Tensor], Tensor]] = {"id": lambda s: s, "relu": torch.relu, "exp": torch.exp}
    weight = act(score) if callable(act) else functions[act](score)
    return torch.where(keys, weight * scale, 0.0)
