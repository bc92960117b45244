"""What the data sets of molecules have in common: graphs computed once and kept in a cache."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch_geometric.data import Data, InMemoryDataset
from tqdm import tqdm

from graphtf.datasets.fingerprint import fingerprint

# Raised when graphs of the same molecules and options change, so that older caches are not used.
VERSION = 1

Transform = Callable[[Data], Data]
Filter = Callable[[Data], bool]


class MoleculeDataset(InMemoryDataset):
    """Graphs that are computed at the first use and kept under `root/processed/{name}-{digest}`.

    The digest covers the molecules, the options, `pre_transform` and `pre_filter`: whatever of these changes, the
    graphs are computed anew, and the earlier ones stay for those who still use them. It does not cover what
    `pre_transform` calls in other modules; give `force_reload=True` after changing that. Files get their names when
    they are complete, so that an interruption leaves none that is half-written.

    Args:
        root: directory of the cache.
        name: what the molecules are called in the cache and by the progress bar.
        inputs: everything but the two functions that the graphs depend on, for the digest.
        transform: applied to a graph at every access.
        pre_transform: applied to a graph before it is stored.
        pre_filter: called before `pre_transform`; graphs for which it returns false are left out.
        force_reload: compute the graphs although the cache holds them.
        progress: show a progress bar while computing.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: no graph is left.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        name: str,
        inputs: Iterable[Any],
        transform: Transform | None,
        pre_transform: Transform | None,
        pre_filter: Filter | None,
        force_reload: bool,
        progress: bool,
    ) -> None:
        check_options(root, transform, pre_transform, pre_filter, force_reload=force_reload, progress=progress)
        self._folder = f"{name}-{fingerprint(VERSION, *inputs, pre_transform, pre_filter)}"
        self._name = name
        super().__init__(os.fspath(root), transform, pre_transform, pre_filter, progress, force_reload)
        self.load(self.processed_paths[0])

    @property
    def raw_file_names(self) -> list[str]:
        """No files: nothing is downloaded."""
        return []

    @property
    def processed_file_names(self) -> list[str]:
        """The files of the cache, the graphs first."""
        return ["graphs.pt"]

    @property
    def processed_dir(self) -> str:
        """The directory of the cache of these molecules and options."""
        return os.path.join(self.root, "processed", self._folder)

    def _process(self) -> None:
        # PyG's own method would store the repr of the functions, not atomically; the directory's name covers them.
        if self.force_reload or not all(map(os.path.exists, self.processed_paths)):
            os.makedirs(self.processed_dir, exist_ok=True)
            self.process()

    def process(self) -> None:
        """Compute the graphs and store them."""
        raise NotImplementedError

    def store(self, graphs: Iterable[Data], total: int) -> None:
        """Filter, transform and store `total` graphs while they are made."""
        kept = []
        for data in tqdm(graphs, desc=self._name, total=total, unit="molecule", disable=not self.log):
            if self.pre_filter is None or self.pre_filter(data):
                kept.append(data if self.pre_transform is None else self.pre_transform(data))
        if not kept:
            raise ValueError(f"none of the {total} molecules of {self._name} is left; check the file and pre_filter")
        with complete_file(self.processed_paths[0]) as path:
            self.save(kept, path)


@contextmanager
def complete_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the path of a file to write, which takes the name `path` when the block ends without an error.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with complete_file(Path(directory, "a.txt")) as name:
        ...         _ = Path(name).write_text("complete")
        ...     os.listdir(directory)
        ['a.txt']
    """
    # A name of its own for every process: several may compute the same cache at once.
    temporary = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def check_options(
    root: Any, transform: Any, pre_transform: Any, pre_filter: Any, *, force_reload: Any, progress: Any
) -> None:
    """Raise `TypeError` unless the arguments that all data sets share have their types."""
    if not isinstance(root, str | os.PathLike):
        raise TypeError(f"root must be a path to store graphs under, but got {root!r} ({type(root).__name__})")
    functions = {"transform": transform, "pre_transform": pre_transform, "pre_filter": pre_filter}
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function of a graph, but got {function!r} ({type(function).__name__})")
    for name, switch in {"force_reload": force_reload, "progress": progress}.items():
        if not isinstance(switch, bool):
            raise TypeError(f"{name} must be a bool, but got {switch!r} ({type(switch).__name__})")
