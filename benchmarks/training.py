"""Graphs a second in training: GPS and GraphTransformer against PyG's example, on the same molecules, on two cores.

    python benchmarks/training.py                                  # the embedded molecules, a few minutes
    python benchmarks/training.py --data DIR --out results/training   # train.csv[.gz] with columns smiles and y

The example is `GPSConv` with `GINEConv`, 10 layers of 64, 4 heads, batches of 32, an embedding beside 20 steps of the
random walk, `DataLoader`, `AdamW`; its own attention dropout of 0.5 costs time, so that it also runs without, as ours
do. Ours run on the cores as two threads, or as two processes of one thread each that average their gradients (DDP).
Contestants take turns, round by round; a round of each includes collation and optimiser, and the table shows medians.
What runs on one thread is measured in processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch_geometric
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, GPSConv, global_add_pool
from torch_geometric.transforms import AddRandomWalkPE

from graphtf.datasets import clean_leads_smiles, molecule_splits, penalized_logp, zinc_graph
from graphtf.models import GPS, GraphTransformer
from graphtf.nn import LinearTransformerPE


class Example(nn.Module):
    """The model of PyG's example for ZINC."""

    def __init__(self, attention_dropout: float) -> None:
        super().__init__()
        self.node, self.edge = nn.Embedding(28, 56), nn.Embedding(4, 64)
        self.norm, self.walk = nn.BatchNorm1d(20), nn.Linear(20, 8)
        self.layers = nn.ModuleList(
            GPSConv(
                64,
                GINEConv(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))),
                heads=4,
                attn_type="multihead",
                attn_kwargs={"dropout": attention_dropout},
            )
            for _ in range(10)
        )
        self.head = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)
        )  # fmt: skip

    def forward(self, data: Any) -> Tensor:
        """Predict for every graph."""
        x = torch.cat([self.node(data.x.squeeze(-1)), self.walk(self.norm(data.random_walk_pe))], 1)
        e = self.edge(data.edge_attr)
        for layer in self.layers:
            x = layer(x, data.edge_index, data.batch, edge_attr=e)
        return self.head(global_add_pool(x, data.batch))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "PyG example": lambda: Example(0.5),
    "PyG example, no attention dropout": lambda: Example(0.0),
    "GPS, 8 x 64": lambda: GPS(64, 8, 4),
    "GPS, 10 x 64": lambda: GPS(64, 10, 4),
    "GraphTransformer, 6 x 72": lambda: GraphTransformer(72, 6, 8),
    "GraphTransformer, 7 x 72": lambda: GraphTransformer(72, 7, 8),
}
ENCODINGS: dict[str, Callable[[], nn.Module | None]] = {
    "none": lambda: None,
    "linear-transformer": lambda: LinearTransformerPE(k=16),
    "conductances": lambda: LinearTransformerPE(k=16, heads=4, leverage=True, node_types=28, edge_types=4),
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


def backward(model: nn.Module, batch: Batch) -> None:
    """Forward, loss and gradients."""
    (model(batch).squeeze(1) - batch.y).abs().mean().backward()


def steps(model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    """One pass over the loader."""
    model.train()
    for batch in loader:
        optimizer.zero_grad()
        backward(model, batch)
        optimizer.step()


class Threads:
    """A contestant in this process."""

    def __init__(self, name: str, graphs: list[Data], batch_size: int, fused: bool) -> None:
        torch.manual_seed(0)
        self.model = MODELS[name]()
        self.loader = DataLoader(graphs, batch_size, shuffle=True)  # type: ignore[arg-type]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, fused=fused)

    def __call__(self) -> None:
        """One pass over the molecules."""
        steps(self.model, self.loader, self.optimizer)


class Processes:
    """Contestants in processes of one thread each, that wait between their turns."""

    def __init__(self, names: list[str], graphs: list[Data], batch_size: int, count: int) -> None:
        self.pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")
        meeting = tempfile.NamedTemporaryFile(delete=False).name  # noqa: SIM115
        for rank in range(count):
            here, there = context.Pipe()
            share = graphs[rank::count][: len(graphs) // count]  # equally many
            arguments = (there, names, share, batch_size // count, rank, count, meeting)
            context.Process(target=_process, args=arguments, daemon=True).start()
            self.pipes.append(here)
        for pipe in self.pipes:
            pipe.recv()

    def close(self) -> None:
        """Let the processes end."""
        for pipe in self.pipes:
            pipe.send(None)

    def run(self, name: str) -> None:
        """One pass over the molecules, each process over its share."""
        for pipe in self.pipes:
            pipe.send(name)
        for pipe in self.pipes:
            pipe.recv()


def _process(
    pipe: Connection, names: list[str], graphs: list[Data], batch_size: int, rank: int, count: int, meeting: str
) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    loader = DataLoader(graphs, batch_size, shuffle=True)  # type: ignore[arg-type]
    ready = {}
    for name in names:
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(MODELS[name](), gradient_as_bucket_view=True)
        ready[name] = model, torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    torch.manual_seed(rank)
    pipe.send("ready")
    while (name := pipe.recv()) is not None:
        model, optimizer = ready[name]
        steps(model, loader, optimizer)
        pipe.send("done")
    torch.distributed.destroy_process_group()


def interleaved(
    runs: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every run, in turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if i:
                seconds[name].append(clock() - start)
    return seconds


def speed_table(graphs: list[Data], rounds: int, cores: int) -> list[dict[str, Any]]:
    """Graphs a second on all cores; with one, by the processor time of a thread."""
    torch.set_num_threads(cores)
    example, plain = (name for name in MODELS if name.startswith("PyG"))
    ours = [name for name in MODELS if not name.startswith("PyG")]
    where = "1 thread" if cores == 1 else f"{cores} threads"
    some = graphs[: len(graphs) // 2]
    entries: list[tuple[str, str, int, int, Callable[[], Any]]] = []  # model, where, batch, graphs, run
    for name, size in ((plain, 32), (plain, 128), (example, 32)):
        entries.append((name, where, size, len(some), Threads(name, some, size, fused=False)))
    for name in ours:
        entries.append((name, where, 128, len(some), Threads(name, some, 128, fused=True)))
    processes = None
    if cores > 1:
        number, processes = len(graphs) // cores * cores, Processes(ours, graphs, 128, cores)
        for name in ours:
            entries.append((name, f"{cores} processes", 128, number, partial(processes.run, name)))
    clock = time.process_time if cores == 1 else time.perf_counter
    times = interleaved({str(i): entry[-1] for i, entry in enumerate(entries)}, rounds, clock)
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

    def training(model: nn.Module) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                backward(model, batch)

        return run

    def alone(encoding: nn.Module) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                sum(part.sum() for part in encoding(batch, return_edge=True)).backward()

        return run

    def all_pairs(encoding: Any) -> Callable[[], None]:
        def run() -> None:
            project = torch.ones(4, encoding.node_channels, requires_grad=True)
            for batch in batches:
                encoding.all_pairs(batch, project=project).sum().backward()

        return run

    for name, make in ENCODINGS.items():
        encoding = make()
        if encoding is not None:
            runs[f"{name} alone"] = alone(encoding)
            runs[f"{name}, all pairs alone"] = all_pairs(encoding)
        runs[f"GPS, {name}"] = training(GPS(64, 8, 4, encoding=make()))
        if encoding is not None:
            runs[f"GPS with attention bias, {name}"] = training(GPS(64, 8, 4, encoding=make(), attention_bias=True))
        runs[f"GraphTransformer, {name}"] = training(GraphTransformer(72, 6, 8, encoding=make()))
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
        seconds = {key: statistics.median(times) for key, times in interleaved(runs, rounds, time.process_time).items()}  # type: ignore[arg-type]
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


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


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
        args.out.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        args.out.with_suffix(".md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
