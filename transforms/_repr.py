"""What transforms say they are: PyG compares this text with that of the transform that made a cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def describe(transform: Any, **arguments: Any) -> str:
    """The name of a transform and all of its arguments.

    Example:
        >>> describe(object(), k=4, attr_name=None)
        'object(k=4, attr_name=None)'
    """
    return f"{type(transform).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that differ where one of the tensors, of any dtype, does.

    Example:
        >>> one, other = ({"w": torch.tensor([x], dtype=torch.bfloat16)} for x in (1.0, 2.0))
        >>> weights_digest(one) == weights_digest(one), weights_digest(one) == weights_digest(other)
        (True, False)
    """
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # NumPy has no bfloat16
        digest.update(name.encode() + content.numpy().tobytes())
    return digest.hexdigest()[:16]
