"""Lightning without its remarks, and without traces of it afterwards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

REMARKS = (
    ".*does not have many workers",
    ".*Checkpoint directory .* exists and is not empty",
    ".*The number of training batches .* is smaller than the logging interval",
    ".*GPU available but not used",
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 with torch 2.13
)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Lightning says about choices that are made here on purpose."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in REMARKS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def global_settings_kept() -> Iterator[None]:
    """Put torch's number of threads and its choice of deterministic algorithms back at the end.

    Meanwhile deterministic algorithms do not fill fresh memory, which helps debugging alone, and costs time.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    switches: Any = torch.utils.deterministic
    fill = switches.fill_uninitialized_memory
    switches.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        switches.fill_uninitialized_memory = fill
