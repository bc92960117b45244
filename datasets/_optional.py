"""Optional dependencies, imported when first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def optional_import(module: str, extra: str) -> Any:
    """Import `module`, or say which extra of graphtf brings it.

    Args:
        module: dotted name of a module, for example `"rdkit.Chem"`.
        extra: the extra of graphtf that installs it, `"data"` or `"ogb"`.

    Returns:
        The module.

    Raises:
        ImportError: the module is not installed.

    Example:
        >>> optional_import("no_such_module", "data")
        Traceback (most recent call last):
        ...
        ImportError: graphtf needs no_such_module for molecules; install it with: pip install "graphtf[data]"
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'graphtf needs {package} for molecules; install it with: pip install "graphtf[{extra}]"'
        ) from error
