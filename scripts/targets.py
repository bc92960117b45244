"""Tables of other targets for the same molecules: logP alone and the synthetic-accessibility score.

    python scripts/targets.py shared/molecules runs/targets     # train/val[/test].csv[.gz] with a column smiles
    graphtf train --data runs/targets:logp
    graphtf train --data runs/targets:sa

Columns `smiles`, `logp` and `sa`; the splits are those of the folder that is read. Several milliseconds a molecule.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import sys
from pathlib import Path

from tqdm import tqdm

from graphtf.datasets import logp, molecule_splits, synthetic_accessibility
from graphtf.datasets.table import read_bytes, read_table
from graphtf.files import write_atomically


def write_targets(source: Path, target: Path, smiles_column: str = "smiles") -> int:
    """Write the table of one split as `.csv.gz`; the number of molecules."""
    rows, bad = read_table(read_bytes(source), str(source), smiles_column, None)
    if bad:
        raise ValueError(f"{source}, line {bad[0].line}: {bad[0].reason}; correct or remove the row")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["smiles", "logp", "sa"])
    for row in tqdm(rows, desc=source.name, unit="molecule", disable=not sys.stderr.isatty()):
        try:
            values = logp(row.smiles), synthetic_accessibility(row.smiles)
        except ValueError as error:
            raise ValueError(f"{source}, line {row.line}: {error}") from error
        writer.writerow([row.smiles, *map(repr, values)])
    content = gzip.compress(text.getvalue().encode(), mtime=0)  # the same bytes every time
    write_atomically(target, lambda path: path.write_bytes(content))
    return len(rows)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder with train/val[/test].csv[.gz]")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="column of the SMILES (smiles)")
    arguments = parser.parse_args()
    try:
        splits = molecule_splits(arguments.directory)
        arguments.out.mkdir(parents=True, exist_ok=True)
        for split, path in splits.items():
            target = arguments.out / f"{split}.csv.gz"
            print(f"{target}: {write_targets(path, target, arguments.smiles_column):,} molecules", flush=True)
    except (ValueError, OSError, ImportError) as error:
        print(f"targets: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
