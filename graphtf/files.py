"""Files that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it, so that `path` is never half-written.

    Args:
        path: the file to make.
        write: gets the temporary path, which has the same suffix.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_atomically(target, lambda path: path.write_text("whole"))
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically."""
    write_atomically(
        path, lambda p: p.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    )


def write_yaml(path: str | Path, content: dict[str, Any]) -> None:
    """Write YAML atomically."""
    import yaml

    write_atomically(path, lambda p: p.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8"))
