"""Tensors in safetensors files, which hold numbers and no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a file, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or something else.
        ImportError: safetensors is not installed.
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; give a .safetensors file")
    try:
        return dict(safetensors.load(Path(path).read_bytes()))
    except Exception as error:  # its own kind, which is no ValueError
        raise ValueError(f"{path} is damaged or no safetensors file ({error}); get it again, or remove it") from error


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file.

    Example:
        >>> import tempfile, torch
        >>> file = Path(tempfile.mkdtemp()) / "a.safetensors"
        >>> write_tensors(file, {"x": torch.arange(3)})
        >>> read_tensors(file)
        {'x': tensor([0, 1, 2])}

    Raises:
        ImportError: safetensors is not installed.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    Path(path).write_bytes(_safetensors().save(plain))


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            'graphtf needs safetensors for weights; install it with: pip install "graphtf[weights]"'
        ) from error
    return safetensors.torch
