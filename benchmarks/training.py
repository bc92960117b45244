"""Graphs a second in training: GPS and GraphTransformer against PyG's example, on the same molecules, on two cores.

    python benchmarks/training.py                                  # the embedded molecules, a few minutes
    python benchmarks/training.py --data DIR --out results/training   # train.csv[.gz] with columns smiles and y

The example is `GPSConv` with `GINEConv`, 10 layers of 64, 4 heads, batches of 32, an embedding beside 20 steps of the
random walk, `DataLoader`, `AdamW`; its own attention dropout of 0.5 costs time, so that it also runs without, as ours
do. Ours run on the cores as two threads, or as two processes of one thread each that average their gradients (DDP).
All optimisers are the fused AdamW. Contestants take turns, round by round; a round of each includes collation and
optimiser, and the table shows medians. What runs on one thread is measured in processor time, which other work on the
machine disturbs less. Encodings are added to our backbones; a GINE out of PyG's own parts is measured too.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch_geometric
from contestants import HALF, MODELS, PlainGINE, Processes, Threads, backward
from report import interleaved, table, write
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddRandomWalkPE

from graphtf.datasets import clean_leads_smiles, molecule_splits, penalized_logp, zinc_graph
from graphtf.models import GINE, GPS, GraphTransformer
from graphtf.models.linear import has_fast_bfloat16, prefers_onednn
from graphtf.nn import LinearTransformerPE

ENCODINGS: dict[str, Callable[[], nn.Module | None]] = {
    "none": lambda: None,
    "linear-transformer": lambda: LinearTransformerPE(k=16),
    "conductances": lambda: LinearTransformerPE(k=16, heads=4, leverage=True, node_types=28, edge_types=4),
    "heads of given conductances": lambda: LinearTransformerPE(k=16, heads=4, leverage=True),
    "conductances of shared layers": lambda: LinearTransformerPE(
        k=16, heads=4, leverage=True, node_types=28, edge_types=4, shared=True
    ),
}


def molecules(data: str, limit: int) -> list[Data]:
    """The first training molecules, with their targets and the walk that the example reads."""
    if data == "embedded":
        rows = [(smiles, penalized_logp(smiles)) for smiles in clean_leads_smiles("train")[:limit]]
    else:
        path = molecule_splits(data)["train"]
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            rows = [
                (row["smiles"], float(row["y"])) for row, _ in zip(csv.DictReader(file), range(limit), strict=False)
            ]
    graphs = []
    for smiles, y in rows:
        graph = zinc_graph(smiles)
        graph = Data(x=graph.x, edge_index=graph.edge_index, edge_attr=graph.edge_attr, y=torch.tensor([y]))
        graphs.append(AddRandomWalkPE(20, "random_walk_pe")(graph))
    return graphs


def speed_table(graphs: list[Data], rounds: int, cores: int) -> list[dict[str, Any]]:
    """Graphs a second on all cores; with one, by the processor time of a thread."""
    torch.set_num_threads(cores)
    example, plain = (name for name in MODELS if name.startswith("PyG") and not name.endswith(HALF))
    ours = [name for name in MODELS if not name.startswith("PyG")]
    where = "1 thread" if cores == 1 else f"{cores} threads"
    some = graphs[: len(graphs) // 2]
    entries: list[tuple[str, str, int, int, Callable[[], Any]]] = []  # model, where, batch, graphs, run
    for name, size in ((plain, 32), (plain, 128), (plain + HALF, 32), (plain + HALF, 128), (example, 32)):
        entries.append((name, where, size, len(some), Threads(name, some, size)))
    for name in ours:
        entries.append((name, where, 128, len(some), Threads(name, some, 128)))
    processes = None
    if cores > 1:
        number, processes = len(graphs) // cores * cores, Processes(ours, graphs, 128, cores)
        for name in ours:
            entries.append((name, f"{cores} processes", 128, number, partial(processes.run, name)))
    clock = time.process_time if cores == 1 else time.perf_counter
    turns = {str(i): entry[-1] for i, entry in enumerate(entries)}
    interleaved(turns, 1)  # does not count
    times = interleaved(turns, rounds, clock)
    if processes is not None:
        processes.close()
    speeds = [[entry[3] / t for t in times[str(i)]] for i, entry in enumerate(entries)]
    rows = []
    for (name, on, size, _, _), speed in zip(entries, speeds, strict=True):
        ratios = [a / b for a, b in zip(speed, speeds[0], strict=True)]  # of a round: what else is going on slows both
        rows.append(
            {
                "model": name,
                "parameters": sum(p.numel() for p in MODELS[name]().parameters()),
                "on": on,
                "batch": size,
                "graphs a second": statistics.median(speed),
                "times the first": statistics.median(ratios),
                "least": min(ratios),
                "most": max(ratios),
            }
        )
    print(table(rows), flush=True)
    return rows


def encoding_table(graphs: list[Data], rounds: int) -> list[dict[str, Any]]:
    """What encodings add to a step of both backbones, and what they cost alone, on one thread."""
    torch.set_num_threads(1)
    batches = [Batch.from_data_list(graphs[i : i + 128]) for i in range(0, 512, 128)]
    number = sum(batch.num_graphs for batch in batches)
    runs: dict[str, Callable[[], Any]] = {}
    torch.manual_seed(0)

    def training(model: nn.Module) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                backward(model, batch)

        return run

    def alone(encoding: nn.Module, differentiate: bool = True) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                total = sum(part.sum() for part in encoding(batch, return_edge=True))
                if differentiate:
                    total.backward()

        return run

    def all_pairs(encoding: Any) -> Callable[[], None]:
        def run() -> None:
            project = torch.ones(4, encoding.node_channels, requires_grad=True)
            for batch in batches:
                encoding.all_pairs(batch, project=project).sum().backward()

        return run

    runs["GINE 4 x 64 by PyG, none"] = training(PlainGINE())
    for name, make in ENCODINGS.items():
        encoding = make()
        if encoding is not None:
            runs[f"{name} alone, forward only"] = alone(encoding, differentiate=False)
            runs[f"{name} alone"] = alone(encoding)
            runs[f"{name}, all pairs alone"] = all_pairs(encoding)
        runs[f"GPS, {name}"] = training(GPS(64, 8, 4, encoding=make()))
        if encoding is not None:
            runs[f"GPS with attention bias, {name}"] = training(GPS(64, 8, 4, encoding=make(), attention_bias=True))
        runs[f"GraphTransformer, {name}"] = training(GraphTransformer(72, 6, 8, encoding=make()))
        runs[f"GPS 4 x 64, {name}"] = training(GPS(64, 4, 4, encoding=make()))
        runs[f"GPS 6 x 64, {name}"] = training(GPS(64, 6, 4, encoding=make()))
        runs[f"GINE 4 x 64, {name}"] = training(GINE(64, 4, encoding=make()))
        runs[f"GINE 8 x 96, {name}"] = training(GINE(96, 8, encoding=make()))
        runs[f"GraphTransformer 4 x 64, {name}"] = training(GraphTransformer(64, 4, 8, encoding=make()))
    interleaved(runs, 1)
    seconds = interleaved(runs, rounds, time.process_time)
    rows = []
    for name, times in seconds.items():
        backbone = f"{name.split(' with ')[0].split(',')[0]}, none"
        base = seconds.get(backbone)
        more = "" if base is None else statistics.median(t / u - 1 for t, u in zip(times, base, strict=True)) * 100
        rows.append(
            {
                "forward and backward": name,
                "microseconds a graph": statistics.median(times) / number * 1e6,
                "percent more than without": more,
            }
        )
    print(table(rows), flush=True)
    return rows


def scaling_table(graphs: list[Data], rounds: int) -> list[dict[str, Any]]:
    """Time of a step against the number of graphs, and of edges at equal nodes, on one thread."""
    torch.set_num_threads(1)
    batches = {("graphs", n): Batch.from_data_list(graphs[:n]) for n in (64, 128, 256, 512)}
    for degree in (2, 4, 8, 16):
        batches["edges", degree * 32 * 64] = Batch.from_data_list([_ring(32, degree, y) for y in range(64)])
    rows = []
    for name in ("GPS, 8 x 64", "GraphTransformer, 6 x 72"):
        model = MODELS[name]()
        runs = {key: partial(backward, model, batch) for key, batch in batches.items()}
        interleaved(runs, 1)  # type: ignore[arg-type]
        times = interleaved(runs, rounds, time.process_time)  # type: ignore[arg-type]
        seconds = {key: statistics.median(each) for key, each in times.items()}
        for what in ("graphs", "edges"):
            points = [(n, t) for (kind, n), t in seconds.items() if kind == what]
            slopes = [math.log(t / s) / math.log(n / m) for (m, s), (n, t) in pairwise(points)]
            for (n, t), slope in zip(points, ["", *slopes], strict=True):
                rows.append({"model": name, "of": what, "number": n, "milliseconds": t * 1e3, "exponent": slope})
    print(table(rows), flush=True)
    return rows


def _ring(n: int, degree: int, seed: int) -> Data:
    """Circular graph of random atoms, each joined to the nearest `degree`; the target is random too."""
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.arange(n)
    one = torch.cat([torch.stack([nodes, (nodes + step) % n]) for step in range(1, degree // 2 + 1)], 1)
    edges = torch.cat([one, one.flip(0)], 1)
    x, bonds = (torch.randint(high, size, generator=generator) for high, size in ((28, (n, 1)), (4, edges.shape[1:])))
    return Data(x=x, edge_index=edges, edge_attr=bonds, y=torch.randn(1, generator=generator))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="embedded", help="'embedded' (default) or a directory with train.csv[.gz]")
    parser.add_argument("--graphs", type=int, default=1280, help="number of molecules (default 1280, at least 512)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, in each of which all take their turn (default 5)"
    )
    parser.add_argument("--cores", type=int, default=2, help="threads, or processes (default 2)")
    parser.add_argument("--only", choices=["core", "speed", "encodings", "scaling"], help="one of the tables")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    args = parser.parse_args()
    if args.graphs < 512:
        parser.error(f"--graphs must be at least 512, but is {args.graphs}")
    graphs = molecules(args.data, args.graphs)
    report: dict[str, Any] = {
        "data": args.data if args.data == "embedded" else Path(args.data).name,
        "molecules": len(graphs),
        "mean atoms": round(sum(g.num_nodes or 0 for g in graphs) / len(graphs), 2),
        "rounds": args.rounds,
        "cores": args.cores,
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "machine": platform.machine(),
        "linear layers by": "oneDNN" if prefers_onednn() else "MKL",
        "bfloat16 by the processor": has_fast_bfloat16(),
        "load before": round(os.getloadavg()[0], 2),
    }
    text = ["# Training\n", ", ".join(f"{key} {value}" for key, value in report.items()) + "\n"]
    print(text[1], flush=True)
    if args.only in (None, "core"):
        report["one core"] = speed_table(graphs, args.rounds, 1)
        text += ["## Graphs a second of processor time, one thread\n", table(report["one core"])]
    if args.only in (None, "speed"):
        report["all cores"] = speed_table(graphs, args.rounds, args.cores)
        text += ["## Graphs a second\n", table(report["all cores"])]
    if args.only in (None, "encodings"):
        report["encodings"] = encoding_table(graphs, args.rounds)
        text += ["## Encodings, one thread, batches of 128\n", table(report["encodings"])]
    if args.only in (None, "scaling"):
        report["scaling"] = scaling_table(graphs, args.rounds)
        text += ["## Cost against size, one thread\n", table(report["scaling"])]
    if args.out is not None:
        write(args.out, report, text)


if __name__ == "__main__":
    main()
