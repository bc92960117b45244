"""Whether compiled loops can be used, and NumPy in the place of torch."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import torch

FAST = {"contract", "reassoc", "nsz"}
"""Liberties of compiled loops with rounding: NaN and infinity stay what they are."""


@cache
def has_numba() -> bool:
    """Whether numba is installed.

    Example:
        >>> isinstance(has_numba(), bool)
        True
    """
    return importlib.util.find_spec("numba") is not None


def is_traced() -> bool:
    """Whether torch traces or transforms what is computed, so that it must see every operation on tensors.

    That is inside of `torch.compile`, `torch.jit.trace`, `torch.func` and `torch.autograd.forward_ad`.

    Example:
        >>> is_traced()
        False
    """
    transformed: Any = torch._C._functorch.peek_interpreter_stack()
    scripted: bool = torch._C._get_tracing_state() is not None
    forward = torch.autograd.forward_ad._current_level >= 0
    return transformed is not None or forward or scripted or torch.compiler.is_compiling()
