"""Muon for the matrices of a model, AdamW for the rest, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

SMALLEST = 16
"""Matrices with fewer rows or columns are left to AdamW: there is little to orthogonalise."""


def check_muon() -> None:
    """Raise unless this torch has Muon.

    Raises:
        ImportError: it came with 2.9.
    """
    if not hasattr(torch.optim, "Muon"):
        raise ImportError(
            f"optimizer='muon' needs torch 2.9 or newer, but this is {torch.__version__}; install that, or use 'adamw'"
        )


def hidden_matrices(model: nn.Module, others: Iterable[nn.Parameter] = ()) -> list[nn.Parameter]:
    """Weights between hidden layers: matrices of at least 16 rows and columns that are no tables of embeddings.

    Args:
        model: the model.
        others: parameters to leave out.

    Example:
        >>> model = nn.Sequential(nn.Embedding(28, 64), nn.Linear(64, 32), nn.Linear(32, 1))
        >>> [tuple(p.shape) for p in hidden_matrices(model)]
        [(32, 64)]
    """
    without = {id(p) for p in others} | {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return [p for p in model.parameters() if p.ndim == 2 and min(p.shape) >= SMALLEST and id(p) not in without]


class MuonWithAdamW(torch.optim.Optimizer):
    r"""Two optimisers of `torch.optim` that step together, each with its own groups of parameters.

    Muon follows the momentum of a matrix made orthogonal, so that all its directions are learned at one rate,

    .. math:: W \leftarrow W - 0.2 \sqrt{\max(r, c)}\,\eta\,\mathrm{orth}(M) \quad (W \in R^{r \times c}),

    where the factor gives the step the size that AdamW's would have: one learning rate serves both.

    Args:
        groups: groups of parameters for AdamW, as dictionaries with `params` and perhaps `lr`.
        matrices: matrices for Muon.
        lr, weight_decay: of both.
        fused: of AdamW.

    Raises:
        ImportError: this torch has no Muon; it came with 2.9.
        ValueError: there are no matrices.

    Example:
        >>> linear = nn.Linear(16, 16)
        >>> optimizer = MuonWithAdamW([{"params": [linear.bias]}], [linear.weight], lr=0.01)
        >>> linear(torch.ones(16)).sum().backward()
        >>> optimizer.step()
        >>> [len(group["params"]) for group in optimizer.param_groups]
        [1, 1]

    Reference: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the factor: Liu et al.,
    "Muon is scalable for LLM training", 2025.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        matrices: list[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        check_muon()
        if not matrices:
            raise ValueError(
                f"optimizer='muon' found no matrix of at least {SMALLEST} rows and columns between hidden layers; use "
                "'adamw', or more channels"
            )
        adamw = AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)
        muon = torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self.parts: dict[str, torch.optim.Optimizer] = {"adamw": adamw, "muon": muon}
        super().__init__([p for part in self.parts.values() for g in part.param_groups for p in g["params"]], {})
        self._share_groups()
        self.complete = True

    def _share_groups(self) -> None:
        # The same dictionaries, so that a schedule which changes them here changes them there.
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """All parameters are given at the start.

        Raises:
            ValueError: always, afterwards.
        """
        if "complete" in self.__dict__:
            raise ValueError("parameters cannot join MuonWithAdamW later; make a new optimiser with all of them")
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "parts": self.parts, "complete": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share_groups()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step both; a closure is evaluated once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the states of both."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._share_groups()
