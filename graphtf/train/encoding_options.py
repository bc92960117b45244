"""The name of an encoding and its options, written as one word: `conductances:heads=1,pair=false`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from graphtf.nn import LinearTransformerPEConfig
from graphtf.validate import check_choice, check_positive_int

ENCODINGS = {
    "none": 0,
    "laplacian": 8,
    "signnet": 8,
    "random-walk": 16,
    "path-flow": 8,
    "release": 6,
    "linear-transformer": 16,
    "conductances": 16,
}
"""The encodings and their default number of columns (eigenvectors, steps or layers)."""

_NOT_CHOSEN = ("k", "seed", "node_types", "edge_types", "node_dim", "edge_dim")  # follow from the run and its data
_LINEAR = {f.name: f.default for f in fields(LinearTransformerPEConfig) if f.name not in _NOT_CHOSEN}
_LINEAR |= {"conductances": False, "pair": True}
_SLOTS = ("channels", "normalization", "num_layers", "num_loops", "num_slots", "pair", "shared")
DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "laplacian": {},
    "signnet": {"hidden": 28, "num_layers": 3, "out_channels": 16},
    "random-walk": {},
    "path-flow": {},
    "release": {name: _LINEAR[name] for name in _SLOTS} | {"start": "release", "pretrain": 120},
    "linear-transformer": _LINEAR,
    "conductances": _LINEAR | {"conductances": True, "heads": 4, "leverage": True},
}
"""The options of every encoding; `None` leaves the choice to :class:`graphtf.nn.LinearTransformerPEConfig`."""

_WORDS = ("init", "start", "normalization")
_SWITCHES = ("leverage", "conductances", "pair", "shared", "memory")


def parse_encoding(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of an encoding.

    Args:
        text: a key of :data:`ENCODINGS`, or `NAME:OPTION=VALUE,OPTION=VALUE` with options of :data:`DEFAULTS`.

    Returns:
        the name, and the options that are given.

    Raises:
        TypeError: `text` is no string.
        ValueError: the encoding or an option does not exist, or a value has the wrong type.

    Example:
        >>> parse_encoding("conductances:heads=1,pair=false")
        ('conductances', {'heads': 1, 'pair': False})
    """
    if not isinstance(text, str):
        raise TypeError(f"pe must be a str, but got {text!r} ({type(text).__name__})")
    name, colon, rest = text.partition(":")
    check_choice("pe", name, tuple(ENCODINGS))
    return name, parse_options(name, rest) if colon else {}


def parse_options(name: str, text: str) -> dict[str, Any]:
    """Options of the encoding `name`, written as `OPTION=VALUE,OPTION=VALUE`; see :func:`parse_encoding`."""
    options: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not (key and equals and value):
            raise ValueError(f"options of pe={name!r} are written heads=1,leverage=false, but got {text!r}")
        if key in options:
            raise ValueError(f"the option {key} of pe={name!r} is given twice, in {text!r}")
        options[key] = _value(name, key, value)
    return options


def _value(name: str, key: str, text: str) -> Any:
    known = DEFAULTS[name]
    if key not in known:
        listed = f"only {', '.join(sorted(known))}" if known else "and no others either"
        raise ValueError(f"pe={name!r} has no option {key!r}, {listed}")
    if key in _WORDS:
        return text
    if key in _SWITCHES:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"the option {key} of pe={name!r} must be true or false, but got {text!r}")
        return text.lower() == "true"
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"the option {key} of pe={name!r} must be a whole number, but got {text!r}")
    return int(text)


def format_encoding(name: str, options: Mapping[str, Any]) -> str:
    """Name and options in one word, which is the same for equal options: sorted, and without those at their defaults.

    Raises:
        ValueError: as in :func:`parse_encoding`.

    Example:
        >>> format_encoding("conductances", {"pair": False, "heads": 4})
        'conductances:pair=false'
    """
    written = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in options.items()}
    read = parse_options(name, ",".join(f"{key}={value}" for key, value in written.items())) if written else {}
    kept = [f"{key}={written[key]}" for key in sorted(read) if read[key] != DEFAULTS[name][key]]
    return f"{name}:{','.join(kept)}" if kept else name


def has_layers(text: str) -> bool:
    """Whether the encoding is a :class:`graphtf.nn.LinearTransformerPE`, whose layers have weights.

    Example:
        >>> [name for name in ENCODINGS if has_layers(name)]
        ['release', 'linear-transformer', 'conductances']
    """
    return parse_encoding(text)[0] in ("release", "linear-transformer", "conductances")


def has_pairs(text: str) -> bool:
    """Whether the encoding knows all pairs of nodes, which the attention of a model can use.

    Example:
        >>> [has_pairs(text) for text in ("conductances", "conductances:pair=false", "laplacian")]
        [True, False, False]
    """
    return has_layers(text) and bool(parse_encoding(text)[1].get("pair", True))


def encoder_config(
    text: str, dim: int, seed: int = 0, node_types: Any = 28, edge_types: Any = 4
) -> LinearTransformerPEConfig:
    """The configuration of a linear transformer that an encoding names.

    Args:
        text: an encoding for which :func:`has_layers` holds.
        dim: number of columns.
        seed: of random weights.
        node_types: numbers of values of the node features, from which conductances are learned.
        edge_types: the same of the edge features.

    Raises:
        ValueError: the options do not go together.

    Example:
        >>> encoder_config("conductances:heads=2,start=electric", 8).heads
        2
    """
    name, given = parse_encoding(text)
    options = DEFAULTS[name] | given
    options = {key: value for key, value in options.items() if key not in ("pair", "pretrain")}
    if options.pop("conductances", False):
        options |= {"node_types": node_types, "edge_types": edge_types}
    if name == "release":
        options["init"] = "slots"
    return LinearTransformerPEConfig(k=dim, seed=seed, **options)


def check_encoding(text: str, dim: int | None) -> tuple[str, int]:
    """The encoding as :func:`format_encoding` writes it, and its number of columns.

    Args:
        text: name and options.
        dim: number of columns; `None` for that of :data:`ENCODINGS`.

    Raises:
        TypeError, ValueError: either is wrong, or they do not go together.

    Example:
        >>> check_encoding("conductances:heads=4", None)
        ('conductances', 16)
    """
    name, options = parse_encoding(text)
    dim = ENCODINGS[name] if dim is None else check_positive_int("pe_dim", dim, minimum=0 if name == "none" else 1)
    if name == "none" and dim:
        raise ValueError(f"pe='none' has no columns, but pe_dim={dim} was given; leave it out")
    if has_layers(name):
        encoder_config(text, dim)
    if name == "path-flow" and dim > 32:
        raise ValueError(f"pe_dim of pe='path-flow' is at most 32, the layers of its model, but got {dim}")
    for key in DEFAULTS["signnet"] if name == "signnet" else ():
        check_positive_int(f"the option {key} of pe='signnet'", options.get(key, 1))
    return format_encoding(name, options), dim
