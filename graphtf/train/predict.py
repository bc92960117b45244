"""Predictions of a checkpoint for molecules given as SMILES."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from graphtf.datasets.smiles import FEATURES
from graphtf.datasets.table import read_bytes, read_table
from graphtf.train.encodings import build_transform
from graphtf.train.evaluate import load_checkpoint, predict_graphs
from graphtf.validate import check_choice


class Molecule(NamedTuple):
    """A SMILES, where it stands, and what is wrong with the place, if anything."""

    smiles: str
    place: str
    problem: str = ""


class Prediction(NamedTuple):
    """The predicted target of a molecule, or the reason why there is none."""

    smiles: str
    value: float | None
    reason: str = ""


def predict(
    checkpoint: str | Path, molecules: Iterable[str | Molecule], on_error: str = "raise", progress: bool = False
) -> list[Prediction]:
    """Predict the target of every molecule.

    Args:
        checkpoint: path of a checkpoint.
        molecules: SMILES, or what :func:`read_molecules` gives.
        on_error: `"raise"` or `"skip"`, which leaves the prediction of an unreadable molecule empty (`None`).
        progress: show a bar.

    Returns:
        One prediction a molecule, in order; the probability of the class 1 where the model classifies.

    Raises:
        ValueError: the checkpoint is none, or of a model of several targets or of hydrogens (QM9); `on_error` is
            neither; or a molecule cannot be read and is not skipped.
    """
    check_choice("on_error", on_error, ("raise", "skip"))
    module = load_checkpoint(checkpoint)
    task = module.task
    if task.targets > 1 or task.features not in FEATURES:
        raise ValueError(
            f"predictions are one number for a SMILES, but the model in {checkpoint} has {task.targets} target(s) of "
            f"graphs with the features of {task.features}; use graphtf.train.evaluate.predict_graphs"
        )
    transform = build_transform(module.hparams["pe"], module.hparams["pe_dim"])
    listed = [
        item if isinstance(item, Molecule) else Molecule(item, f"molecule {number}")
        for number, item in enumerate(molecules, start=1)
    ]
    graphs, reasons = [], []
    for molecule in tqdm(listed, desc="molecules", unit="molecule", leave=False, disable=not progress):
        try:
            if molecule.problem:
                raise ValueError(molecule.problem)
            graph = FEATURES[task.features](molecule.smiles)
        except ValueError as error:
            if on_error == "raise":
                raise ValueError(
                    f'{molecule.place}: {error}; on_error="skip" (--on-error skip) leaves its prediction empty'
                ) from error
            reasons.append(str(error))
        else:
            graphs.append(graph if transform is None else transform(graph))
            reasons.append("")
    predicted = predict_graphs(module, graphs)
    values = iter((predicted.sigmoid() if task.classification else predicted).tolist())
    return [
        Prediction(molecule.smiles, None if reason else next(values), reason)
        for molecule, reason in zip(listed, reasons, strict=True)
    ]


def read_molecules(path: str, column: str | None = None) -> list[Molecule]:
    """Read SMILES, and where each of them stands.

    Args:
        path: a file, or `-` for standard input.
        column: name of the column of a CSV file. `None` means `smiles` if the path ends with `.csv` or `.csv.gz`; any
            other input has one SMILES a line, and what follows a space there is a name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or a CSV file lacks the column.
    """
    content = sys.stdin.buffer.read() if path == "-" else read_bytes(Path(path), "the input")
    source = "standard input" if path == "-" else path
    if column is None and path.endswith((".csv", ".csv.gz")):
        column = "smiles"
    if column is not None:
        rows, bad = read_table(content, source, column, None)
        found = [(row.line, row.smiles, "") for row in rows] + [(row.line, row.text, row.reason) for row in bad]
        return [Molecule(text, f"{source}, line {line}", problem) for line, text, problem in sorted(found)]
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is no text in UTF-8 ({error.reason}); a compressed file is a .csv.gz") from error
    return [
        Molecule(line.split()[0], f"{source}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
