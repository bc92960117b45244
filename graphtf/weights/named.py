"""Weights by name: a safetensors file and beside it, in JSON, the configuration that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from graphtf.files import write_atomically, write_json
from graphtf.weights.files import read_tensors, write_tensors

FOLDER = Path(__file__).parent
FORMAT = 1

Encoder = TypeVar("Encoder", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """Tensors of a trained model, and what is known of it.

    Args:
        tensors: its state, by the names of `state_dict()`.
        info: `model` (options of :class:`graphtf.train.regressor.MoleculeRegressor`), `encoder` (`prefix` of its
            tensors and `config`, or `None`), `metrics` (of the run, the validation error among them), `command` (that
            trained it), `graphtf` (version) and `format`.
    """

    tensors: dict[str, Tensor]
    info: dict[str, Any]

    def save(self, file: str | Path) -> None:
        """Write `FILE.safetensors` and `FILE.json`; `file` is either, or neither suffix.

        Raises:
            ImportError: safetensors is not installed.
        """
        file = Path(file)
        if file.suffix not in (".safetensors", ".json"):  # a name may have dots
            file = file.with_name(f"{file.name}.safetensors")
        file = file.with_suffix(".safetensors")
        write_atomically(file, lambda temporary: write_tensors(temporary, self.tensors))
        write_json(file.with_suffix(".json"), self.info)


def names() -> tuple[str, ...]:
    """The weights that come with the package.

    Example:
        >>> isinstance(names(), tuple)
        True
    """
    return tuple(sorted(file.stem for file in FOLDER.glob("*.safetensors")))


def path(name: str | Path) -> Path:
    """The safetensors file of weights.

    Args:
        name: one of :func:`names`, or the path of a `.safetensors` file.

    Raises:
        ValueError: there are no weights of this name.
        FileNotFoundError: the file, or the JSON beside it, does not exist.

    Example:
        >>> path("zinc12")
        Traceback (most recent call last):
        ...
        ValueError: there are no weights 'zinc12', only ...; or give the path of a .safetensors file
    """
    file = FOLDER / f"{name}.safetensors" if str(name) in names() else Path(name)
    if file.suffix != ".safetensors":
        only = ", ".join(names()) or "none in this version"
        raise ValueError(f"there are no weights {str(name)!r}, only {only}; or give the path of a .safetensors file")
    for part in (file, file.with_suffix(".json")):
        if not part.is_file():
            raise FileNotFoundError(f"there is no file {part}; weights are a .safetensors file and a .json beside it")
    return file


def load(name: str | Path) -> Weights:
    """Read weights.

    Args:
        name: one of :func:`names`, or the path of a `.safetensors` file.

    Raises:
        ValueError: there are no weights of this name, or a file is damaged or of another version.
        FileNotFoundError: a file does not exist.
        ImportError: safetensors is not installed.
    """
    file = path(name)
    described = file.with_suffix(".json")
    try:
        info = json.loads(described.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{described} is not valid JSON: {error}") from error
    if not isinstance(info, dict) or not isinstance(info.get("model"), dict) or info.get("format") != FORMAT:
        raise ValueError(f"{described} does not describe weights for this version of graphtf; export the run again")
    return Weights(read_tensors(file), info)


def load_encoder(name: str | Path, make: Callable[..., Encoder]) -> Encoder:
    """The encoder alone, made from its configuration, with its trained weights and in evaluation mode.

    Args:
        name: one of :func:`names`, or the path of a `.safetensors` file.
        make: class of the encoder, :class:`graphtf.nn.LinearTransformerPE` or one derived from it.

    Raises:
        ValueError, FileNotFoundError, ImportError: as in :func:`load`; or the model has no such encoder, or the tensors
            are not those of its configuration.
    """
    weights = load(name)
    entry = weights.info.get("encoder")
    if entry is None:
        raise ValueError(f"the model of the weights {str(name)!r} has no linear transformer as encoding")
    encoder, prefix = make(**entry["config"]), entry["prefix"]
    found = {key.removeprefix(prefix): value for key, value in weights.tensors.items() if key.startswith(prefix)}
    load_state(encoder, found, name)
    return encoder.eval()


def load_state(module: nn.Module, tensors: dict[str, Tensor], name: str | Path) -> None:
    """Set the state of a module.

    Raises:
        ValueError: the tensors are not those of the module.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise ValueError(f"the weights {str(name)!r} do not fit their configuration: {reason}") from error
