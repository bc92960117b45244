"""Layers of in-context models from a few numbers, some of them trained and the others fixed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from graphtf.attention import StructuredAttention
from graphtf.compiled import is_traced

Entries = Mapping[tuple[str, str], float]


class FixedEntries(nn.Module):
    """Parametrization of a weight some entries of which are fixed at what they are.

    Args:
        weight: the weight at the start.
        trained: booleans of its shape.
    """

    def __init__(self, weight: Tensor, trained: Tensor) -> None:
        super().__init__()
        self.register_buffer("trained", trained)
        self.register_buffer("fixed", torch.where(trained, 0.0, weight))
        self.trained: Tensor
        self.fixed: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its fixed entries."""
        return torch.where(self.trained, weight, self.fixed.to(weight.dtype))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What an assignment of `weight` stores; fixed entries stay what they are."""
        return weight


def count_trained(module: nn.Module) -> int:
    """Number of trained numbers, those that are fixed left out."""
    fixed = sum(int((~m.trained).sum()) for m in module.modules() if isinstance(m, FixedEntries))
    return sum(p.numel() for p in module.parameters() if p.requires_grad) - fixed


def fix_entries(layer: nn.Module, name: str, trained: Tensor) -> None:
    """Train only the entries `trained` of the parameter `name`, or none at all."""
    weight: Tensor = getattr(layer, name)
    if not bool(trained.any()):
        weight.requires_grad_(False)
    elif not bool(trained.all()):
        parametrize.register_parametrization(layer, name, FixedEntries(weight.detach().clone(), trained))


def prompt_layer(
    names: tuple[str, ...],
    value: Entries,
    skip: Entries,
    trained: frozenset[tuple[str, tuple[str, str]]] = frozenset(),
    data: Tensor | None = None,
    heads: int = 1,
    dtype: torch.dtype = torch.float32,
    **options: object,
) -> StructuredAttention:
    """A layer with the same maps in every head, of which only `trained` entries and `data` are trained.

    Args:
        names: the registers.
        value: entries (from, to) of the value map.
        skip: entries of the skip map.
        trained: pairs of `"value"` or `"skip"` and the entry.
        data: `[H, d, d]` preconditioners.
        heads: number of heads.
        dtype: floating type of the value and skip maps.
        **options: `act`, `move`, `prox` of :class:`graphtf.StructuredAttention`.
    """
    p = len(names)
    maps, masks = {}, {}
    for name, entries in (("value", value), ("skip", skip)):
        maps[name], masks[name] = torch.zeros(p, p, 1, dtype=dtype), torch.zeros(p, p, 1, dtype=torch.bool)
        for (a, b), number in entries.items():
            maps[name][names.index(a), names.index(b)] = number
    for name, (a, b) in trained:
        masks[name][names.index(a), names.index(b)] = True
    layer = StructuredAttention(
        laplacian=torch.ones(heads, dtype=dtype),
        value=maps["value"].expand(heads, p, p, 1).clone(),
        skip=maps["skip"],
        data=data,
        **options,  # type: ignore[arg-type]
    )
    layer.laplacian.requires_grad_(False)
    fix_entries(layer, "value", masks["value"].expand(heads, p, p, 1).clone())
    fix_entries(layer, "skip", masks["skip"])
    return layer


def initial_maps(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """Normal entries of standard deviation `std`."""
    return std * torch.randn(shape, generator=generator)


def set_entries(
    layer: nn.Module, registers: tuple[str, ...], name: str, entries: dict[tuple[str, str], Tensor | float]
) -> None:
    """Overwrite entries of a map of a layer that :func:`prompt_layer` made, parametrized or not.

    Args:
        layer: the layer.
        registers: names of its registers.
        name: of the map, `"value"` or `"skip"`.
        entries: new numbers, by the names of two registers (from, to).
    """
    weight = getattr(layer, name).detach().clone()
    for (a, b), number in entries.items():
        weight[..., registers.index(a), registers.index(b), 0] = number
    with torch.no_grad():
        if parametrize.is_parametrized(layer, name):
            setattr(layer, name, weight)
        else:
            getattr(layer, name).copy_(weight)


def warn_divergence(out: Tensor, start: Tensor, num_layers: int) -> None:
    r"""Warn where layers diverged: numbers that are not finite, or so large that rounding left nothing of the input.

    .. math:: \max |out| > \max |start| / \varepsilon, \qquad \varepsilon \text{ the rounding unit}

    Args:
        out: what the last layer gave.
        start: what the first layer got; nothing is said if it is not finite, nor inside of `torch.func` or a compiler.
        num_layers: how many layers there are, for the message.
    """
    if is_traced() or not (out.numel() and start.numel()):
        return
    largest, first = float(out.detach().abs().max()), float(start.detach().abs().max())
    if not math.isfinite(first):
        return
    factor = 1 / torch.finfo(out.dtype).eps
    if not largest <= factor * first:  # also where it is no number
        found = f"more than {factor:.0e} times those at the start" if math.isfinite(largest) else "not finite"
        warnings.warn(
            f"after {num_layers} layers the numbers are {found}: the coefficients of the layers diverge on these "
            "inputs, and so do gradients. Use smaller steps or random weights (std), a smaller learning rate, or "
            "fewer layers",
            RuntimeWarning,
            stacklevel=2,
        )
