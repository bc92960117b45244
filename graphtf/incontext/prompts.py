"""Prompts: demonstrations and a query, as the tokens that a transformer sees."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphtf.prompt_layout import PromptLayout


@dataclass(frozen=True)
class Prompt:
    r"""A batch of prompts :math:`(x_1, y_1), \dots, (x_n, y_n), x_{n+1}` and what is to be predicted.

    The tokens of the papers are the columns :math:`(x_j ; y_j)`, the query's with 0 in place of the label; here samples
    come first, as everywhere in torch.

    Args:
        x: `[P, N, d]` samples; `N = n + 1` with one query.
        y: `[P, N]` labels, or `[P, N, k]` with several columns; what stands at queries is not looked at.
        target: `[P]` true label of the last sample (`[P, k]`), if it is known.
        keys: `[N]` or `[P, N]` booleans, the demonstrations; `None`: all samples but the last.

    Raises:
        TypeError: a part is no tensor.
        ValueError: shapes do not fit, or a number is not finite.

    Example:
        >>> import torch
        >>> prompt = Prompt(torch.ones(2, 4, 3), torch.ones(2, 4))
        >>> prompt.num_demonstrations, prompt.labels()[0].tolist()
        (3, [1.0, 1.0, 1.0, 0.0])
    """

    x: Tensor
    y: Tensor
    target: Tensor | None = None
    keys: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            value = getattr(self, name)
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a torch.Tensor, but got {type(value).__name__}")
        if self.x.dim() != 3:
            raise ValueError(f"x must be [P, N, d] samples, but has shape {list(self.x.shape)}")
        if self.y.dim() not in (2, 3) or self.y.shape[:2] != self.x.shape[:2]:
            raise ValueError(
                f"y must be [{self.x.shape[0]}, {self.x.shape[1]}] labels (and columns), one for every sample, but has "
                f"shape {list(self.y.shape)}"
            )
        if self.target is not None and self.target.shape != self.y[:, -1].shape:
            raise ValueError(
                f"target must be {list(self.y[:, -1].shape)}, the label of the last sample, but has shape "
                f"{list(self.target.shape)}"
            )
        known = self.is_key().expand(self.y.shape[:2])
        if not bool(torch.isfinite(self.y[known]).all()):
            raise ValueError("y holds labels of demonstrations that are not finite; remove or replace them")

    def is_key(self) -> Tensor:
        """Booleans `[N]` or `[P, N]`: which samples are demonstrations."""
        if self.keys is not None:
            return self.keys
        return torch.arange(self.x.shape[1], device=self.x.device) < self.x.shape[1] - 1

    @property
    def num_demonstrations(self) -> int:
        """Number `n` of demonstrations, in the prompt that has most."""
        return int(self.is_key().sum(-1).max())

    def labels(self) -> Tensor:
        """The labels, 0 at queries."""
        keys = self.is_key().expand(self.y.shape[:2])
        return torch.where(keys if self.y.dim() == 2 else keys.unsqueeze(-1), self.y, 0.0).to(self.x.dtype)

    def known_target(self) -> Tensor:
        """The target.

        Raises:
            ValueError: it is not known.
        """
        if self.target is None:
            raise ValueError("these prompts have no targets; sample them from a task")
        return self.target

    def layout(self) -> PromptLayout:
        """The samples as tokens of a layer."""
        return PromptLayout(self.x, self.is_key())

    def tokens(self) -> Tensor:
        """The token matrix `Z = [X | y]`, `[P, N, d + k]`, that a literal layer starts from."""
        labels = self.labels()
        return torch.cat([self.x, labels if labels.dim() == 3 else labels.unsqueeze(-1)], -1)

    def to(self, *args: object) -> Prompt:
        """The prompts in another type or on another device; arguments of `torch.Tensor.to`."""
        parts = [None if t is None else t.to(*args) for t in (self.x, self.y, self.target)]  # type: ignore[call-overload]
        keys = None if self.keys is None else self.keys.to(parts[0].device)  # type: ignore[union-attr]
        return Prompt(parts[0], parts[1], parts[2], keys)  # type: ignore[arg-type]
