"""How the tokens of prompts lie in memory: samples, of which the demonstrations are keys and the queries are not."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from graphtf.activation import Activation, masked_scores


class PromptLayout:
    r"""Samples `[P, N, d]` of `P` prompts as tokens, with the products that layers are made of.

    .. math:: \mathrm{laplacian}(v)_i = \frac1n \sum_{j \text{ a key}} \mathrm{act}(x_i^\top A x_j)\, v_j

    Rows of `x` take the place of rows of `B`, and the mean over the `n` keys that of the sum over edges. Without an
    activation the `N x N` score is never formed: :math:`X (A (X^\top v))` costs O(N d). Samples that a layer mapped
    linearly are kept as they were, with the product of the `d x d` maps, which is smaller than they are.

    Args:
        x: `[P, N, d]` samples.
        keys: `[N]` or `[P, N]` booleans, the demonstrations; `None`: all samples but the last.

    Raises:
        ValueError: the shapes do not fit, a number is not finite, or a prompt has no keys.

    Example:
        >>> import torch
        >>> layout = PromptLayout(torch.tensor([[[1.0], [2.0], [3.0]]]))  # the third sample is the query
        >>> layout.laplacian(torch.ones(1, 3, 1)).flatten().tolist()
        [1.5, 3.0, 4.5]
    """

    def __init__(self, x: Tensor, keys: Tensor | None = None) -> None:
        if x.dim() != 3 or not x.is_floating_point():
            raise ValueError(f"x must be floating-point [P, N, d] samples, but is {x.dtype} {list(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("x holds numbers that are not finite; remove or replace these samples")
        if keys is None:
            keys = torch.arange(x.shape[1], device=x.device) < x.shape[1] - 1
        if keys.dtype != torch.bool or list(keys.shape) not in ([x.shape[1]], list(x.shape[:2])):
            raise ValueError(
                f"keys must be booleans [{x.shape[1]}] or {list(x.shape[:2])}, but are {keys.dtype} {list(keys.shape)}"
            )
        keys = keys.expand(x.shape[:2])
        count = keys.sum(1)
        if len(x) and int(count.min()) == 0:
            raise ValueError(f"prompt {int(count.argmin())} has no keys; every prompt needs a demonstration")
        self.given, self.keys = x, keys
        self.map: Tensor | None = None  # [P, d, d]
        self.scale = (1 / count.to(x.dtype)).view(-1, 1, 1)  # [P, 1, 1]
        self.weight = keys.unsqueeze(-1).to(x.dtype) * self.scale  # [P, N, 1]

    @property
    def x(self) -> Tensor:
        """`[P, N, d]` samples."""
        return self.given if self.map is None else torch.bmm(self.given, self.map)

    def laplacian(self, x: Tensor, data: Tensor | None = None, act: Activation = "id") -> Tensor:
        """`act(X A X^T) v` over the keys, divided by their number: `[P, N, f] -> [P, N, f]`."""
        if act == "id":
            moment = torch.bmm(self.given.mT, x * self.weight)  # [P, d, f]
            moment = moment if self.map is None else torch.bmm(self.map.mT, moment)
            moment = moment if data is None else data @ moment
            return torch.bmm(self.given, moment if self.map is None else torch.bmm(self.map, moment))
        samples = self.x
        query = samples if data is None else samples @ data
        return torch.bmm(masked_scores(torch.bmm(query, samples.mT), self.keys.unsqueeze(1), act, self.scale), x)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`(query key^T) value` over the keys, divided by their number."""
        return torch.bmm(query, torch.bmm(key.mT, value * self.weight))

    def inner(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of `x * y` over the keys of every prompt, spread to all its tokens."""
        weight = self.weight.view(*self.weight.shape[:2], *[1] * (x.dim() - 2))
        return (x * y * weight).sum(1, keepdim=True).expand_as(x)

    def second_moment(self) -> Tensor:
        """`X^T X` over the keys, divided by their number: `[P, d, d]`."""
        S = self.moment
        return S if self.map is None else torch.bmm(self.map.mT, torch.bmm(S, self.map))

    @cached_property
    def moment(self) -> Tensor:
        """:meth:`second_moment` of the samples as they were given."""
        return torch.bmm(self.given.mT, self.given * self.weight)

    def mapped(self, change: Tensor) -> PromptLayout:
        """The same prompts with samples `X + X C` for `C` `[P, d, d]`."""
        if self.map is None:
            return self._with(self.given, torch.eye(change.shape[1]).to(change) + change, self.moment)
        return self._with(self.given, torch.baddbmm(self.map, self.map, change), self.moment)

    def with_samples(self, x: Tensor) -> PromptLayout:
        """The same prompts with other samples `[P, N, d]`."""
        return self._with(x, None)

    def _with(self, given: Tensor, map: Tensor | None, moment: Tensor | None = None) -> PromptLayout:
        new = object.__new__(PromptLayout)
        new.given, new.map, new.keys, new.scale, new.weight = given, map, self.keys, self.scale, self.weight
        if moment is not None:
            new.moment = moment
        return new
