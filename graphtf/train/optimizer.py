"""The optimiser of a model, with a learning rate of its own for the layers of its encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from graphtf.train.encodings import linear_transformer_in
from graphtf.train.muon import MuonWithAdamW, hidden_matrices
from graphtf.validate import check_choice

OPTIMIZERS = ("adamw", "muon")


def layer_weights(model: nn.Module) -> list[nn.Parameter]:
    """Weights of the linear transformer that encodes positions: layers, memory, slots and readout, no conductances.

    Example:
        >>> from graphtf.nn import LinearTransformerPE
        >>> len(layer_weights(LinearTransformerPE(k=2, edge_types=4))), len(layer_weights(nn.Linear(2, 2)))
        (6, 0)
    """
    encoder = linear_transformer_in(model)
    if encoder is None:
        return []
    others = [] if encoder.conductances is None else [id(p) for p in encoder.conductances.parameters()]
    return [p for p in encoder.parameters() if id(p) not in others]


def one_cycle(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    steps: int,
    pe_lr_scale: float = 1.0,
    name: str = "adamw",
    output: Sequence[nn.Parameter] = (),
) -> tuple[Optimizer, OneCycleLR]:
    r"""AdamW, or Muon with AdamW, under a one-cycle schedule; the encoding's layers have a rate of their own.

    Args:
        model: the model, on the device where it is trained; on the CPU the fused AdamW is used.
        lr: peak of the learning rate.
        weight_decay: of both optimisers.
        steps: length of the schedule.
        pe_lr_scale: factor for :func:`layer_weights`, which are then a group of parameters on their own.
        name: `"adamw"`, or `"muon"` for the matrices between hidden layers; the encoding's layers are AdamW's always.
        output: weights of the last layer, which are AdamW's too.

    Raises:
        ValueError: there is a factor, but no such weights; or Muon has no matrices.
        ImportError: this torch has no Muon.

    Example:
        >>> from graphtf.nn import LinearTransformerPE
        >>> optimizer, _ = one_cycle(LinearTransformerPE(k=2, edge_types=4), 0.1, 0.0, 10, pe_lr_scale=5.0)
        >>> [round(group["max_lr"], 3) for group in optimizer.param_groups]
        [0.1, 0.5]
    """
    check_choice("name", name, OPTIMIZERS)
    # One kernel for all weights; elsewhere it would refuse gradient clipping under automatic mixed precision.
    fused = True if all(p.device.type == "cpu" and p.is_floating_point() for p in model.parameters()) else None
    scaled = layer_weights(model)
    if pe_lr_scale != 1 and not scaled:
        raise ValueError(f"the encoding has no layers whose learning rate pe_lr_scale={pe_lr_scale} could scale")
    own = [] if pe_lr_scale == 1 else scaled
    matrices = hidden_matrices(model, [*scaled, *output]) if name == "muon" else []
    elsewhere = {id(p) for p in [*own, *matrices]}
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in elsewhere]}]
    if own:
        groups.append({"params": own, "lr": lr * pe_lr_scale})
    optimizer: Optimizer
    if name == "muon":
        optimizer = MuonWithAdamW(groups, matrices, lr, weight_decay, fused)
    else:
        optimizer = AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)
    peaks = [group["lr"] for group in optimizer.param_groups]
    warm_up = 0.1 if steps != 10 else 0.11  # torch divides by zero where it lasts exactly one step
    return optimizer, OneCycleLR(
        optimizer, max_lr=peaks, total_steps=steps, pct_start=warm_up, cycle_momentum=name == "adamw"
    )
