"""A loss as a function of the trained numbers of a model: gradients and Hessian products that leave no traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import one_hot
from torch.nn.utils import parametrize

from graphtf.incontext.build import FixedEntries

Loss = Callable[[Any, Any], Tensor]
"""A scalar, from the model and a batch."""


class _Scalar(nn.Module):
    """The loss as a module, so that its parameters can be replaced for one call."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)


class Objective:
    r"""The loss :math:`f(\theta)` of a model on a batch, with its first and second derivatives.

    :math:`\theta` holds the `N` trained numbers: all parameters with `requires_grad`, in the order of
    `model.parameters()`, without entries that :class:`graphtf.incontext.build.FixedEntries` holds fixed.

    The model stays as it is: its weights, their `grad`, its buffers (running statistics of a batch norm too) and
    torch's random numbers. It is taken in the mode in which it is; call `model.eval()` first for a loss without
    dropout.

    Args:
        model: any module.
        loss: a scalar, from the model and a batch.

    Raises:
        TypeError: `model` is no module, or `loss` cannot be called.
        ValueError: nothing is trained.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> objective = Objective(model, lambda model, x: 0.5 * model(x).square().sum())
        >>> products = objective.hessian_products(torch.tensor([[1.0, 3.0]]))
        >>> products(torch.eye(2)).tolist()  # x x^T
        [[1.0, 3.0], [3.0, 9.0]]
    """

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, but got {type(model).__name__}")
        if not callable(loss):
            raise TypeError(f"loss must be a function of the model and a batch, but got {type(loss).__name__}")
        self._scalar = _Scalar(model, loss)
        self._parameters = {k: p for k, p in self._scalar.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise ValueError("the model has no trained parameters; set requires_grad of those to look at")
        fixed = _fixed_entries(model)
        self._trained = [~fixed.get(id(p), torch.zeros_like(p, dtype=torch.bool)) for p in self._parameters.values()]
        self._index = torch.cat([t.reshape(-1) for t in self._trained]).nonzero().squeeze(1)
        if not len(self._index):
            raise ValueError("all entries of the trained parameters are fixed; let at least one be trained")

    @property
    def num_trained(self) -> int:
        """Number `N` of trained numbers."""
        return len(self._index)

    def value(self, batch: Any) -> float:
        """The loss on a batch."""
        with self._undisturbed():
            return float(self._loss(batch)[0].detach())

    def gradient(self, batch: Any) -> Tensor:
        """`[N]` gradient of the loss on a batch."""
        with self._undisturbed():
            loss, leaves = self._loss(batch)
            return self._flat(torch.autograd.grad(loss, leaves, allow_unused=True), leaves)

    def hessian_products(self, batch: Any) -> Callable[[Tensor], Tensor]:
        """The map from `[k, N]` vectors to their products with the Hessian on a batch, `[k, N]`."""
        found, leaves = self._gradients(batch)
        used = [(g, leaf) for g, leaf in zip(found, leaves, strict=True) if g is not None and g.requires_grad]
        size = sum(leaf.numel() for leaf in leaves)

        def products(vectors: Tensor) -> Tensor:
            full = vectors.new_zeros(len(vectors), size)
            full[:, self._index] = vectors
            by_leaf = dict(zip(leaves, full.split([leaf.numel() for leaf in leaves], 1), strict=True))
            out: Sequence[Tensor | None] = [None] * len(leaves)
            if used:
                directions = [by_leaf[leaf].view(-1, *leaf.shape).to(leaf.dtype) for _, leaf in used]
                out = self._pull_back([g for g, _ in used], leaves, directions)
            rows = [
                leaf.new_zeros(len(vectors), leaf.numel()) if h is None else h.reshape(len(vectors), -1)
                for h, leaf in zip(out, leaves, strict=True)
            ]
            return torch.cat(rows, 1)[:, self._index].detach()

        return products

    def hessian_diagonal(self, batch: Any, rows: int) -> Tensor:
        """`[N]` diagonal of the Hessian on a batch, `rows` rows at a time, each within its own parameter alone."""
        found, leaves = self._gradients(batch)
        parts = []
        for gradient, leaf, trained in zip(found, leaves, self._trained, strict=True):
            part = leaf.new_zeros(leaf.numel())
            if gradient is not None and gradient.requires_grad:
                for at in trained.reshape(-1).nonzero().squeeze(1).split(rows):
                    units = one_hot(at, leaf.numel()).to(leaf).view(-1, *leaf.shape)
                    (product,) = self._pull_back([gradient], [leaf], [units])
                    if product is not None:
                        part[at] = product.detach().reshape(len(at), -1)[torch.arange(len(at), device=at.device), at]
            parts.append(part)
        return self._flat(parts, leaves)

    def trained(self) -> Tensor:
        """`[N]` the trained numbers, a copy."""
        return self._flat([p.detach() for p in self._parameters.values()], list(self._parameters.values()))

    def flatten(self, parts: Sequence[Tensor]) -> Tensor:
        """`[N]` vector from one tensor a trained parameter, such as an update.

        Raises:
            ValueError: their shapes are not those of the trained parameters.
        """
        parameters = list(self._parameters.values())
        shapes, expected = [list(part.shape) for part in parts], [list(p.shape) for p in parameters]
        if shapes != expected:
            raise ValueError(f"expected tensors of the shapes of the trained parameters, {expected}, but got {shapes}")
        return self._flat(parts, parameters)

    def _loss(self, batch: Any) -> tuple[Tensor, list[Tensor]]:
        leaves = {name: p.detach().requires_grad_() for name, p in self._parameters.items()}
        buffers = {name: b.clone() for name, b in self._scalar.named_buffers()}
        loss = functional_call(self._scalar, {**leaves, **buffers}, (batch,))
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ValueError(f"the loss must be a tensor of one number, but it returned {got}; take its mean")
        if not loss.requires_grad:
            raise ValueError("the loss does not depend on the trained parameters; does it detach the predictions?")
        return loss.reshape(()), list(leaves.values())

    def _gradients(self, batch: Any) -> tuple[tuple[Tensor | None, ...], list[Tensor]]:
        """Gradients that can be differentiated again, and what they belong to."""
        with self._undisturbed(), sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
            loss, leaves = self._loss(batch)
            return torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True), leaves

    def _pull_back(
        self, outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """Products of `[k, ...]` vectors with the derivative of outputs by inputs."""
        batched = len(vectors[0]) > 1
        with self._undisturbed():
            return torch.autograd.grad(
                outputs,
                inputs,
                vectors if batched else [v[0] for v in vectors],
                retain_graph=True,
                allow_unused=True,
                is_grads_batched=batched,
            )

    def _flat(self, parts: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
        flat = [
            torch.zeros_like(p).reshape(-1) if part is None else part.reshape(-1)
            for part, p in zip(parts, like, strict=True)
        ]
        return torch.cat(flat).detach()[self._index]

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        devices = sorted({p.device.index for p in self._scalar.parameters() if p.device.type == "cuda"})
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices):
            yield


def _fixed_entries(model: nn.Module) -> dict[int, Tensor]:
    fixed = {}
    for module in model.modules():
        for chain in getattr(module, "parametrizations", {}).values() if parametrize.is_parametrized(module) else ():
            for step in chain:
                if isinstance(step, FixedEntries):
                    fixed[id(chain.original)] = ~step.trained
    return fixed
