"""The user's own molecules, from a table of SMILES."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data

from graphtf.datasets.featurize import ogb_graph, zinc_graph
from graphtf.datasets.molecules import Filter, MoleculeDataset, Transform, complete_file
from graphtf.datasets.table import Row, SkippedRow, read_bytes, read_table
from graphtf.validate import check_choice

FEATURES = {"zinc": zinc_graph, "ogb": ogb_graph}


class SMILESDataset(MoleculeDataset):
    r"""Graphs of the molecules in a CSV file, with the features of ZINC or of the Open Graph Benchmark.

    The file is UTF-8 text (`.csv`, or `.csv.gz`), separated by commas, with a header. Rows without any text are
    ignored. Every other row gives a graph or an error that names the file, the line and the text.

    Args:
        root: directory of the cache, which notices when the content of the file or an option changes; several files
            may share one.
        path: the CSV file.
        smiles_column: name of the column of SMILES.
        target_column: name of the column of targets, finite numbers; `None` for molecules without a target.
        features: `"zinc"`, integer types of atoms and bonds (only the 28 types of atoms that ZINC has), or `"ogb"`,
            nine features of an atom and three of a bond (any molecule; needs OGB).
        on_error: what to do with a row whose molecule cannot be parsed or featurised or whose target is missing or
            not finite: `"raise"` an error at the first, or `"skip"` them all and list them in `skipped`.
        transform: applied to a graph at every access.
        pre_transform: applied to a graph before it is stored; another one gets a cache of its own.
        pre_filter: called before `pre_transform`; graphs for which it returns false are left out.
        force_reload: compute the graphs although the cache holds them.
        progress: show a progress bar while computing.

    Attributes:
        skipped: the rows left out under `on_error="skip"`, as `SkippedRow(line, text, reason)`, in their order.

    Returns:
        Graphs of `n` heavy atoms and `m` bonds with `x`, `[n, 1]` (OGB: `[n, 9]`) int64; `edge_index`, `[2, 2m]` int64,
        both directions; `edge_attr`, `[2m]` (OGB: `[2m, 3]`) int64; `y`, `[1]` float32 in the unit of the file, with a
        target column only; `smiles`, a `str` (in a batch a list of them).

    Raises:
        TypeError: an argument has the wrong type.
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged or lacks a column; a row is wrong, under `on_error="raise"`; no graph is
            left.
        ImportError: RDKit or OGB is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     path = Path(root, "alcohols.csv")
        ...     _ = path.write_text("molecule,logp\nCO,-0.74\nCCO,-0.30\nCC(O,0.05\n")
        ...     dataset = SMILESDataset(root, path, "molecule", "logp", on_error="skip", progress=False)
        >>> dataset[1]
        Data(x=[3, 1], edge_index=[2, 4], edge_attr=[4], y=[1], smiles='CCO')
        >>> dataset.skipped
        [SkippedRow(line=4, text='CC(O', reason="RDKit cannot parse the SMILES 'CC(O'; correct or remove it")]

    Source: see :func:`zinc_graph` and :func:`ogb_graph`.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        path: str | os.PathLike[str],
        smiles_column: str = "smiles",
        target_column: str | None = "y",
        features: str = "zinc",
        on_error: str = "raise",
        transform: Transform | None = None,
        pre_transform: Transform | None = None,
        pre_filter: Filter | None = None,
        force_reload: bool = False,
        progress: bool = True,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a path of a CSV file, but got {path!r} ({type(path).__name__})")
        for name, column in {"smiles_column": smiles_column, "target_column": target_column}.items():
            if not isinstance(column, str) and (name == "smiles_column" or column is not None):
                raise TypeError(f"{name} must be the name of a column, but got {column!r} ({type(column).__name__})")
        self.features = check_choice("features", features, tuple(FEATURES))
        self.on_error = check_choice("on_error", on_error, ("raise", "skip"))
        self.path = Path(path).expanduser()
        self.smiles_column, self.target_column = smiles_column, target_column
        self._content: bytes | None = read_bytes(self.path)
        super().__init__(
            root,
            self.path.name.split(".")[0],
            [self._content, smiles_column, target_column, features, on_error],
            transform,
            pre_transform,
            pre_filter,
            force_reload,
            progress,
        )
        self._content = None  # not wanted in every worker of a loader
        rows = json.loads(Path(self.processed_paths[1]).read_text(encoding="utf-8"))
        self.skipped = [SkippedRow(*row) for row in rows]

    @property
    def processed_file_names(self) -> list[str]:
        """The graphs, and the rows that gave none."""
        return ["graphs.pt", "skipped.json"]

    def process(self) -> None:
        """Compute the graphs and store them, and the rows that gave none."""
        content = self._content if self._content is not None else read_bytes(self.path)
        rows, bad = read_table(content, str(self.path), self.smiles_column, self.target_column)
        if bad and self.on_error == "raise":
            raise self._error(bad[0])
        self.store(self._graphs(rows, bad), len(rows))
        with complete_file(self.processed_paths[1]) as path:
            Path(path).write_text(json.dumps(sorted(bad)), encoding="utf-8")

    def _graphs(self, rows: list[Row], bad: list[SkippedRow]) -> Iterator[Data]:
        total = len(rows) + len(bad)
        for line, smiles, target in rows:
            try:
                data: Any = FEATURES[self.features](smiles)
            except ValueError as error:
                row = SkippedRow(line, smiles, str(error))
                if self.on_error == "raise":
                    raise self._error(row) from error
                bad.append(row)
                continue
            if target is not None:
                data.y = torch.tensor([target], dtype=torch.float)
            data.smiles = smiles
            yield data
        if len(bad) == total:
            raise ValueError(f"none of the {total} rows is left: {self._error(min(bad))}")

    def _error(self, row: SkippedRow) -> ValueError:
        return ValueError(
            f"{self.path}, line {row.line}, {row.text!r}: {row.reason}; correct or remove the row, or leave out all "
            'such rows by on_error="skip"'
        )
