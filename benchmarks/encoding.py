"""Time of the positional encodings, a graph, against PyG's on the same molecules.

    python benchmarks/encoding.py                               # the embedded molecules
    python benchmarks/encoding.py --smiles FILE --json OUT      # a .csv or .csv.gz file with a column "smiles"

Every method gets the same graphs (without features) and is run in turn, repetition by repetition. "batched" encodes
nodes and edges of PyG batches, one call a batch: the checks of the edge lists are part of the time, the collation of
the batches is not (any training does that) and has a row of its own. "one by one" applies a transform to every graph,
which is the only way for PyG's.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch_geometric
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.nn import LinearTransformerPE
from graphtf.transforms import AddLinearTransformerPE, AddRandomWalkPE, AddSpectralPE

REFERENCE = "PyG AddLaplacianEigenvectorPE(k=8, is_undirected=True), one by one"


def read_smiles(path: Path) -> list[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if "smiles" not in (reader.fieldnames or ()):
            raise ValueError(f"{path} must have a column 'smiles', but has {reader.fieldnames}")
        return [row["smiles"] for row in reader]


def batched(graphs: list[Data], encoder: LinearTransformerPE, batch_size: int) -> Callable[[], None]:
    batches = collated(graphs, batch_size)

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            encoder(batch, return_edge=True)

    return run


def collated(graphs: list[Data], batch_size: int) -> list[Batch]:
    starts = range(0, len(graphs), batch_size)
    return [Batch.from_data_list(graphs[start : start + batch_size]) for start in starts]


def collation(graphs: list[Data]) -> Callable[[], None]:
    def run() -> None:
        collated(graphs, 128)

    return run


def one_by_one(graphs: list[Data], transform: Callable[[Data], Data]) -> Callable[[], None]:
    def run() -> None:
        for graph in graphs:
            transform(graph)

    return run


def methods(graphs: list[Data]) -> dict[str, Callable[[], None]]:
    out = {}
    for k in (8, 16):
        encoder = LinearTransformerPE(k=k).requires_grad_(False)
        for size, name in ((len(graphs), "all graphs"), (128, "128 graphs")):
            out[f"graphtf LinearTransformerPE(k={k}), nodes and edges, batched: {name}"] = batched(
                graphs, encoder, size
            )
    out["(PyG collation into batches of 128 graphs)"] = collation(graphs)
    transform = AddLinearTransformerPE(k=16, edge_attr_name="edge_pe")
    out["graphtf AddLinearTransformerPE(k=16), nodes and edges, one by one"] = one_by_one(graphs, transform)
    out[REFERENCE] = one_by_one(graphs, AddLaplacianEigenvectorPE(k=8, is_undirected=True))
    out["PyG AddLaplacianEigenvectorPE(k=8, is_undirected=False), one by one"] = one_by_one(
        graphs, AddLaplacianEigenvectorPE(k=8, is_undirected=False)
    )
    for name, walk in (("graphtf", AddRandomWalkPE), ("PyG", torch_geometric.transforms.AddRandomWalkPE)):
        out[f"{name} AddRandomWalkPE(walk_length=16), one by one"] = one_by_one(graphs, walk(16))
    out["graphtf AddSpectralPE(k=8), one by one"] = one_by_one(graphs, AddSpectralPE(8))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smiles", type=Path, help="csv or csv.gz file with a column 'smiles' (default: embedded)")
    parser.add_argument("--limit", type=int, default=10_000, help="number of molecules (default 10,000)")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repetitions (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", type=Path, help="write the results here too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    smiles = (clean_leads_smiles("train") if args.smiles is None else read_smiles(args.smiles))[: args.limit]
    graphs = [Data(edge_index=g.edge_index, num_nodes=g.num_nodes) for g in map(zinc_graph, smiles)]
    fit = [g for g in graphs if g.num_nodes > 8]  # PyG's transform fails where k >= n
    runs = methods(fit)
    for run in runs.values():
        run()  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    micros = {name: statistics.median(times) / len(fit) * 1e6 for name, times in seconds.items()}
    mean = sum(g.num_nodes for g in fit) / len(fit)
    print(
        f"{len(fit)} molecules of {mean:.1f} atoms on average ({len(graphs) - len(fit)} of at most 8 atoms left out: "
        f"PyG's transform fails on them), {'embedded' if args.smiles is None else args.smiles.name}; median of "
        f"{args.repeats} interleaved repetitions, {args.threads} thread(s); torch {torch.__version__}, "
        f"torch_geometric {torch_geometric.__version__}, {platform.machine()}"
    )
    print(f"\n| encoding | microseconds a graph | times faster than {REFERENCE} |\n|---|---:|---:|")
    for name, value in micros.items():
        print(f"| {name} | {value:.1f} | {micros[REFERENCE] / value:.1f} |")
    if args.json is not None:
        report = {
            "molecules": len(fit),
            "mean_atoms": mean,
            "threads": args.threads,
            "repeats": args.repeats,
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "microseconds_per_graph": micros,
            "seconds": seconds,
        }
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
