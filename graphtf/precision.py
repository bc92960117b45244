"""Autocast on devices that may not know it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def is_autocast(device_type: str) -> bool:
    """Whether autocast is on for `"cpu"`, `"cuda"`, ...; `False` for devices without it, such as `"meta"`.

    Example:
        >>> with torch.autocast("cpu"):
        ...     is_autocast("cpu"), is_autocast("meta")
        (True, False)
    """
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """A context without autocast.

    Example:
        >>> with torch.autocast("cpu"), full_precision("cpu"):
        ...     is_autocast("cpu")
        False
    """
    return torch.autocast(device_type, enabled=False) if is_autocast(device_type) else nullcontext()
