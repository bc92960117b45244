"""What a solver returns: the answer, which is a tensor, and how good it is."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor


class Solution(Tensor):
    """The answer of a solver: a tensor that also knows its error.

    It is used as any tensor; what is computed from it are plain tensors. A copy by `copy.deepcopy` is a solution too,
    and `torch.load` reads a saved one, also with `weights_only=True` once this module is imported.

    Attributes:
        value: the answer as a plain tensor.
        residual: relative residual of every column, `[k]` (no dimension for a single column); what it is relative to
            is said by the solver.
        num_layers: number of layers that were run, 0 for dense methods.
        method: the method that was used, such as `"memory"`; with `method="auto"` the one that was chosen.
        bound: for methods of fixed depth the proven bound of the relative error, else `None`.
        history: `[num_layers + 1, ...]` residuals of all layers if they were asked for, else `None`.

    Example:
        >>> import torch
        >>> x = Solution.of(torch.ones(2), residual=torch.tensor(0.0), num_layers=3, method="memory")
        >>> x
        Solution(tensor([1., 1.]), residual=0.0e+00, num_layers=3, method='memory')
        >>> x + 1
        tensor([2., 2.])
    """

    residual: Tensor
    num_layers: int
    method: str
    bound: Tensor | None
    history: Tensor | None

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # results are plain tensors

    @classmethod
    def of(
        cls,
        value: Tensor,
        residual: Tensor,
        num_layers: int,
        method: str,
        bound: Tensor | None = None,
        history: Tensor | None = None,
    ) -> Solution:
        """Attach what is known about an answer; gradients go through."""
        solution = value.as_subclass(cls)
        solution.residual, solution.num_layers, solution.method = residual.detach(), num_layers, method
        solution.bound, solution.history = bound, None if history is None else history.detach()
        return solution

    @property
    def value(self) -> Tensor:
        """The answer as a plain tensor."""
        return self.as_subclass(Tensor)

    def __deepcopy__(self, memo: dict[int, Any]) -> Solution:
        """Copy of the value and of what is known about it; as for any tensor, not within a graph of gradients."""
        if id(self) in memo:
            found: Solution = memo[id(self)]
            return found
        if not self.is_leaf:
            raise RuntimeError("only tensors without a history of gradients can be deep-copied; copy solution.detach()")
        with torch.no_grad():
            copied = copy.deepcopy(self.detach().as_subclass(Tensor), memo).as_subclass(type(self))
        copied.requires_grad_(self.requires_grad)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if self.grad is not None:
            copied.grad = copy.deepcopy(self.grad, memo)
        return copied

    def __format__(self, format_spec: str) -> str:
        return format(self.item(), format_spec) if format_spec and self.dim() == 0 else super().__format__(format_spec)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        worst = float(self.residual.max()) if self.residual.numel() else 0.0
        return (
            f"{type(self).__name__}({self.value!r}, residual={worst:.1e}, num_layers={self.num_layers}, "
            f"method={self.method!r})"
        )


torch.serialization.add_safe_globals([Solution])


class ConvergenceError(RuntimeError):
    """An adaptive method did not reach its tolerance.

    Attributes:
        solution: the best answer so far, with its residual.
    """

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution
