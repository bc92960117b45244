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
    """Whether `torch.compile` traces or `torch.func` transforms what is computed: tensors have no numbers then.

    Example:
        >>> is_traced()
        False
    """
    transformed: Any = torch._C._functorch.peek_interpreter_stack()
    return transformed is not None or torch.compiler.is_compiling()
