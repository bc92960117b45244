"""Functional names that survive a module reload."""

from __future__ import annotations

from torch.utils.data.datapipes.datapipe import IterDataPipe

_OURS: set[str] = globals().get("_OURS", set())  # a reload of this module keeps it


def unique_functional_name(name: str) -> str:
    """Return `name`, free to be registered: a registration of our own from before a reload is taken back.

    PyG registers a transform under a global name and refuses a name that is taken, so `importlib.reload` would fail.
    The name of another package's transform stays taken.

    Example:
        >>> unique_functional_name("a_new_transform")
        'a_new_transform'
    """
    if name in _OURS:
        IterDataPipe.functions.pop(name, None)
    elif name not in IterDataPipe.functions:
        _OURS.add(name)
    return name
