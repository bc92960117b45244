"""Whether compiled loops can be used."""

from __future__ import annotations

import importlib.util
from functools import cache


@cache
def has_numba() -> bool:
    """Whether numba is installed.

    Example:
        >>> isinstance(has_numba(), bool)
        True
    """
    return importlib.util.find_spec("numba") is not None
