"""Molecules and targets from CSV files, with the line of everything that is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Targets are stored in single precision; a larger one would become infinite there.
LARGEST = 3.4e38


class SkippedRow(NamedTuple):
    """A row of a table that gave no graph.

    Attributes:
        line: number of the line on which the row starts, 1 for the header.
        text: the SMILES as it stands in the file, or the whole row where it has no such field.
        reason: what is wrong with it.
    """

    line: int
    text: str
    reason: str


class Row(NamedTuple):
    """A molecule and its target, with the line on which it stands."""

    line: int
    smiles: str
    target: float | None


def decode(content: bytes, name: str) -> str:
    r"""Return the text of a CSV file, compressed or not, without a byte-order mark.

    Args:
        content: the bytes of the file.
        name: name of the file, for messages.

    Returns:
        Its text.

    Raises:
        ValueError: the gzip archive is damaged, or the text is not UTF-8.

    Example:
        >>> decode(b"\xef\xbb\xbfsmiles,y\r\nCCO,1.5\r\n", "ethanol.csv")
        'smiles,y\r\nCCO,1.5\r\n'
    """
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{name} is a damaged gzip archive ({error}); copy it again") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{name}, line {line}: the text is not UTF-8 ({error.reason}); save it as UTF-8") from error


def read_table(
    content: bytes, name: str, smiles_column: str, target_column: str | None
) -> tuple[list[Row], list[SkippedRow]]:
    r"""Read the molecules and targets of a CSV file.

    Args:
        content: the bytes of the file: UTF-8, comma-separated with a header, perhaps compressed by gzip.
        name: name of the file, for messages.
        smiles_column: name of the column of SMILES.
        target_column: name of the column of targets, `None` for none.

    Returns:
        The rows with a SMILES and a finite target, and those without; rows without any text are in neither.

    Raises:
        ValueError: the file is empty, damaged or lacks a column, or a quotation in it does not end.

    Example:
        >>> rows, bad = read_table(b'name,smiles,y\n"ethanol, pure",CCO,1.5\nwater,O,wet\n', "a.csv", "smiles", "y")
        >>> rows
        [Row(line=2, smiles='CCO', target=1.5)]
        >>> bad
        [SkippedRow(line=3, text='O', reason="the target 'wet' is not a number")]
    """
    records = _records(decode(content, name), name)
    _, header = next(records, (0, []))
    header = [column.strip() for column in header]
    if not header:
        raise ValueError(f"{name} is empty; it needs a header and one row for every molecule")
    smiles_index = _column(name, header, "smiles_column", smiles_column)
    target_index = None if target_column is None else _column(name, header, "target_column", target_column)

    rows, bad = [], []
    for line, record in records:
        text = record[smiles_index].strip() if smiles_index < len(record) else ",".join(record)
        reason, target = "", None
        if len(record) != len(header):
            reason = f"the row has {len(record)} fields, but the header has {len(header)}"
        elif not text:
            reason = "the SMILES is missing"
        elif target_index is not None:
            target = _number(record[target_index])
            if not record[target_index].strip():
                reason = "the target is missing"
            elif target is None:
                reason = f"the target {record[target_index]!r} is not a number"
            elif not abs(target) <= LARGEST:
                reason = f"the target {record[target_index]!r} is not finite in single precision"
        if reason:
            bad.append(SkippedRow(line, text, reason))
        else:
            rows.append(Row(line, text, target))
    if not rows and not bad:
        raise ValueError(f"{name} has a header but no rows; it needs one row for every molecule")
    return rows, bad


def read_bytes(path: Path, name: str = "path") -> bytes:
    """Return the content of a file, or raise `FileNotFoundError` or `ValueError` if it is none."""
    if path.is_dir():
        raise ValueError(f"{name} must be a CSV file, but {path} is a directory; see molecule_splits for directories")
    if not path.exists():
        raise FileNotFoundError(f"{name} must be an existing CSV file, but there is no {path}")
    return path.read_bytes()


def _records(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the fields of every record that is not blank."""
    # Strict, because otherwise a quotation that does not end swallows the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for record in reader:
            if any(field.strip() for field in record):
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{name}, line {line}: not valid CSV ({error}); check the quotation marks there") from error


def _column(name: str, header: list[str], option: str, column: str) -> int:
    count = header.count(column)
    if count != 1:
        found = ", ".join(map(repr, header))
        problem = "is missing" if count == 0 else f"occurs {count} times"
        hint = " (None: no targets), on the command line by DIR:COLUMN" if option == "target_column" else ""
        raise ValueError(
            f"{name}: the column {column!r} {problem}; the columns are {found}; name one by {option}{hint}"
        )
    return header.index(column)


def _number(text: str) -> float | None:
    # Python reads "1_5" as 15, which no table means.
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None
