"""Draw the embedded molecules of `graphtf.datasets.CleanLeads` from the MOSES benchmark.

    pip download --no-deps molsets==0.3.1
    python benchmarks/make_clean_leads.py molsets-0.3.1-py3-none-any.whl --out datasets/data

A molecule is drawn when the SHA-256 of "SEED:SMILES" is among the smallest: a uniform sample that depends neither on a
random number generator nor on the order of the source. The drawn molecules stay in the order of their hashes.
Molecules written with an explicit hydrogen "[H]" (251 of 1.76 million) are left out: ZINC has no such atom type.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import heapq
import io
import zipfile
from pathlib import Path

SEED = "graphtf-clean-leads-0"
SIZES = {"train": 10_000, "val": 1_000, "test": 1_000}
SOURCES = {"train": "train.csv.gz", "test": "test.csv.gz"}  # test_scaffolds.csv.gz is not used


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the molsets wheel, or a folder with train.csv.gz and test.csv.gz")
    parser.add_argument("--out", type=Path, default=Path("datasets/data"), help="folder to write to (%(default)s)")
    args = parser.parse_args(arguments)
    if not args.out.is_dir():
        parser.error(f"--out must be an existing folder, but got {args.out}")
    try:
        splits = draw(read(args.source, SOURCES["train"]), read(args.source, SOURCES["test"]))
    except (OSError, ValueError, KeyError) as error:
        parser.error(str(error))
    for split, molecules in splits.items():
        content = "\n".join(["smiles", *molecules, ""]).encode()
        path = args.out / f"clean_leads_{split}.csv.gz"
        path.write_bytes(compress(content))
        print(
            f"{path}: {len(molecules)} molecules, {path.stat().st_size} bytes, content sha256 {digest(content)}, "
            f"file sha256 {digest(path.read_bytes())}"
        )


def read(source: Path, name: str) -> set[str]:
    """Return the different SMILES of one file of MOSES, without those that write a hydrogen as an atom."""
    if source.is_dir():
        path = next(iter(sorted(source.rglob(name))), None)
        if path is None:
            raise ValueError(f"{source} holds no {name}")
        packed = path.read_bytes()
    else:
        with zipfile.ZipFile(source) as wheel:
            packed = wheel.read(f"moses/dataset/data/{name}")
    rows = csv.DictReader(io.StringIO(gzip.decompress(packed).decode()))
    return {row["SMILES"] for row in rows if "[H]" not in row["SMILES"]}


def draw(train: set[str], test: set[str]) -> dict[str, list[str]]:
    """Return the molecules of each split, none of them twice."""
    held_out = smallest(test - train, SIZES["val"] + SIZES["test"])
    return {
        "train": smallest(train, SIZES["train"]),
        "val": held_out[: SIZES["val"]],
        "test": held_out[SIZES["val"] :],
    }


def smallest(molecules: set[str], count: int) -> list[str]:
    """Return the `count` molecules whose hashes are smallest, in their order."""
    if len(molecules) < count:
        raise ValueError(f"the source holds {len(molecules)} molecules, but {count} are to be drawn")
    return heapq.nsmallest(count, molecules, key=lambda smiles: digest(f"{SEED}:{smiles}".encode()))


def compress(content: bytes) -> bytes:
    """Compress without a name or a time, so that the same content gives the same bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def digest(content: bytes) -> str:
    """Return the SHA-256 of `content` in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
