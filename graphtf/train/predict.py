"""Predictions of a checkpoint for molecules given as SMILES."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from graphtf.datasets.featurize import zinc_graph
from graphtf.datasets.table import read_bytes, read_table
from graphtf.train.encodings import build_transform
from graphtf.train.evaluate import load_checkpoint, predict_graphs
from graphtf.validate import check_choice


def predict(
    checkpoint: str | Path, smiles: Iterable[str], on_error: str = "raise", places: Sequence[str] | None = None
) -> list[tuple[str, float | None, str]]:
    """Predict the target of every molecule.

    Args:
        checkpoint: path of a checkpoint.
        smiles: molecules.
        on_error: `"raise"` or `"skip"`, which leaves the prediction of an unreadable molecule out.
        places: where every molecule stands, for messages; `None` numbers them.

    Returns:
        One `(smiles, prediction, reason)` a molecule, in order; where the prediction is `None` the reason says why.

    Raises:
        ValueError: the checkpoint is none, `on_error` is neither, or a molecule cannot be read and is not skipped.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    module = load_checkpoint(checkpoint)
    transform = build_transform(module.hparams["pe"], module.hparams["pe_dim"])
    names, graphs, reasons = list(smiles), [], []
    for number, text in enumerate(names):
        try:
            graph = zinc_graph(text)
        except ValueError as error:
            if on_error == "raise":
                place = places[number] if places is not None else f"molecule {number + 1}"
                raise ValueError(f"{place}: {error}; or leave such molecules out by on_error='skip'") from error
            reasons.append(str(error))
            continue
        graphs.append(graph if transform is None else transform(graph))
        reasons.append("")
    values = iter(predict_graphs(module, graphs).tolist())
    return [(name, None if reason else next(values), reason) for name, reason in zip(names, reasons, strict=True)]


def read_molecules(path: str, column: str = "smiles") -> tuple[list[str], list[str]]:
    """Read SMILES, and where each of them stands.

    Args:
        path: a `.csv` or `.csv.gz` file with a header, any other file with one SMILES a line (what follows a space is a
            name), or `-` for such lines on standard input.
        column: name of the column of a CSV file.

    Returns:
        The SMILES and their places, `file, line`. A row without SMILES gives an empty one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a CSV file is damaged or lacks the column.
    """
    if path != "-" and path.endswith((".csv", ".csv.gz")):
        rows, bad = read_table(read_bytes(Path(path), "the input"), path, column, None)
        found = sorted([(row.line, row.smiles) for row in rows] + [(row.line, "") for row in bad])
        return [smiles for _, smiles in found], [f"{path}, line {line}" for line, _ in found]
    lines = sys.stdin.read() if path == "-" else read_bytes(Path(path), "the input").decode("utf-8")
    numbered = [(i, line.split()[0]) for i, line in enumerate(lines.splitlines(), start=1) if line.strip()]
    source = "standard input" if path == "-" else path
    return [text for _, text in numbered], [f"{source}, line {i}" for i, _ in numbered]
