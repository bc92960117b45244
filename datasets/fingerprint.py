"""A digest of everything that graphs in a cache depend on."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch


def fingerprint(*parts: Any) -> str:
    """Return a digest of values, functions and objects that is the same in every process.

    Of a function it covers the code, defaults and closure, of an object its attributes and the methods of its classes:
    transforms with different options differ, although PyG prints both as `AddRandomWalkPE()`. It does not cover the
    code that those call elsewhere.

    Args:
        parts: the values: numbers, strings, bytes, containers, arrays, tensors, functions, objects.

    Returns:
        16 hexadecimal digits.

    Example:
        >>> large = fingerprint("a.csv", lambda data: data.num_nodes > 5)
        >>> large == fingerprint("a.csv", lambda data: data.num_nodes > 5)
        True
        >>> large == fingerprint("a.csv", lambda data: data.num_nodes > 6)
        False
    """
    digest = hashlib.sha256()
    _update(digest, parts, [])
    return digest.hexdigest()[:16]


def _update(digest: Any, value: Any, above: list[Any]) -> None:
    """Add `value` to the digest; `above` are the objects that hold it, by which cycles are cut."""

    def add(tag: str, *children: Any) -> None:
        # The lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(f"{tag}:{len(tag)}:{len(children)};".encode())
        for child in children:
            _update(digest, child, [*above, value])

    if value is None or isinstance(value, bool | int | float | complex | str):
        add(f"{type(value).__name__} {value!r}")
    elif isinstance(value, bytes | bytearray):
        add(f"bytes {hashlib.sha256(value).hexdigest()}")
    elif any(value is other for other in above):
        add(f"cycle {next(depth for depth, other in enumerate(above) if value is other)}")
    elif isinstance(value, torch.Tensor):
        content = value.detach().cpu().to_dense().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        add("tensor", str(value.dtype), list(value.shape), content)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        add("array", str(value.dtype), list(value.shape), value.tobytes())
    elif isinstance(value, list | tuple):
        add(type(value).__name__, *value)
    elif isinstance(value, set | frozenset):
        add(type(value).__name__, *sorted(fingerprint(item) for item in value))
    elif isinstance(value, dict):
        add(type(value).__name__, *(part for item in value.items() for part in item))
    elif isinstance(value, ModuleType):
        add(f"module {value.__name__}")
    elif isinstance(value, CodeType):
        add("code", value.co_code, value.co_names, value.co_consts)
    elif isinstance(value, FunctionType):
        closure = inspect.getclosurevars(value).nonlocals
        add("function", value.__module__, value.__code__, value.__defaults__, value.__kwdefaults__, closure)
    elif isinstance(value, MethodType):
        add("method", value.__func__, value.__self__)
    elif isinstance(value, functools.partial):
        add("partial", value.func, value.args, value.keywords)
    elif isinstance(value, BuiltinFunctionType | torch.dtype | torch.device):
        add(f"{type(value).__name__} {getattr(value, '__qualname__', value)}")
    elif isinstance(value, type):
        methods = [member for _, member in sorted(vars(value).items()) if isinstance(member, FunctionType)]
        bases = [base for base in value.__bases__ if base is not object]
        add(f"class {value.__module__}.{value.__qualname__}", *methods, *bases)
    elif hasattr(value, "__dict__"):
        add("object", type(value), vars(value))
    else:
        # Objects in C, such as compiled patterns, say by their pickle what they hold.
        try:
            state = copyreg.dispatch_table.get(type(value), lambda value: value.__reduce_ex__(2))(value)
        except TypeError as error:
            raise TypeError(
                f"the cache cannot tell when a {type(value).__name__} changes ({error}); give pre_transform and "
                "pre_filter without one, or apply them at every access as transform"
            ) from error
        add("object", type(value), state)
