"""The splits of a user's own molecules, by the names of their files."""

from __future__ import annotations

import os
from pathlib import Path


def molecule_splits(directory: str | os.PathLike[str]) -> dict[str, Path]:
    """Find the tables of a directory that holds `train`, `val` and perhaps `test`, each `.csv` or `.csv.gz`.

    Args:
        directory: the directory; other files in it are ignored.

    Returns:
        The file of every split, in the order train, val, test, to be read by :class:`SMILESDataset`.

    Raises:
        TypeError: `directory` is no path.
        FileNotFoundError: there is no such directory, or it lacks train or val.
        ValueError: it is not a directory, or a split has both a `.csv` and a `.csv.gz`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     for name in ("train.csv", "val.csv.gz"):
        ...         Path(directory, name).touch()
        ...     {split: path.name for split, path in molecule_splits(directory).items()}
        {'train': 'train.csv', 'val': 'val.csv.gz'}
    """
    if not isinstance(directory, str | os.PathLike):
        raise TypeError(f"directory must be a path, but got {directory!r} ({type(directory).__name__})")
    folder = Path(directory).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"directory must hold train.csv and val.csv, but there is no {folder}")
    if not folder.is_dir():
        raise ValueError(f"directory must hold train.csv and val.csv, but {folder} is a file; give the folder above it")
    splits = {}
    for split in ("train", "val", "test"):
        found = [path for path in (folder / f"{split}.csv", folder / f"{split}.csv.gz") if path.is_file()]
        if len(found) > 1:
            raise ValueError(f"{folder} holds both {found[0].name} and {found[1].name}; remove or rename one of them")
        if found:
            splits[split] = found[0]
        elif split != "test":
            names = sorted(path.name for path in folder.iterdir())
            listing = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "nothing"
            raise FileNotFoundError(f"{folder} has no {split}.csv or {split}.csv.gz (it holds {listing}); add it")
    return splits
