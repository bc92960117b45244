"""Reading pickles of tensors without running what else they may hold."""

from __future__ import annotations

import io
import pickle
from codecs import encode
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: Path) -> Any:
    """Read a pickle of dictionaries, lists, numbers, strings and tensors, and refuse anything else.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: the file is damaged, or holds an object of another kind, which unpickling would have to run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory, "a.pickle")
        ...     _ = path.write_bytes(pickle.dumps({"a": torch.arange(3)}))
        ...     load_tensors(path)
        ...     _ = path.write_bytes(pickle.dumps(print))
        ...     load_tensors(path)  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        ...
        ValueError: a.pickle is not read, because it is no plain pickle of tensors (it asks for builtins.print)
    """
    with path.open("rb") as file:
        try:
            return _TensorUnpickler(file).load()
        except Exception as error:  # a damaged pickle raises errors of any kind
            raise ValueError(
                f"{path} is not read, because it is no plain pickle of tensors ({error}); copy the official file again"
            ) from error


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def _load_storage(content: bytes) -> Any:
    # In place of torch.storage._load_from_bytes, which would unpickle anything.
    return torch.load(io.BytesIO(content), weights_only=True)


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}
