"""Functional names that survive a module reload."""

from __future__ import annotations

from torch.utils.data.datapipes.datapipe import IterDataPipe


def unique_functional_name(name: str) -> str:
    """Return `name`, free to be registered: a registration of our own from before a reload is taken back.

    PyG registers a transform under a global name and refuses a name that is taken, so `importlib.reload` would fail.
    """
    IterDataPipe.functions.pop(name, None)
    return name
