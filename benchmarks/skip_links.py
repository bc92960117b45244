"""Circular graphs with skip links of sizes never trained on: resistances predicted from a positional encoding.

    python benchmarks/skip_links.py                # writes results/skip_links.json and .md; five minutes of one core
    python benchmarks/skip_links.py --seeds 0 --steps 20 --copies 1 --out /tmp

All nodes of such a graph are alike and nearly all its eigenvalues come in pairs, so that eigenvectors are an arbitrary
basis of every plane, another one for every order of the nodes. Training sees graphs of 20 to 40 nodes but those of the
validation sizes, testing 41 to 60; nodes are in random orders, several of each graph, and eigenvectors are computed in
each. Two tasks: for a graph the logarithm of the mean resistance over all pairs and the larger of the resistances of
its two kinds of edges; for every edge its resistance, from the states of its ends and its own. Every encoding gets the
same small network (GINE), steps, order of the graphs and initial weights. A run keeps the state with the least
validation error, and is tested once. No setting was chosen by test errors. Without an encoding all nodes have the same
state, which leaves batch norms without a variance: those errors mean nothing. A probe shows what the encodings hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
from torch_geometric.data import Batch, Data

from graphtf.files import write_atomically, write_json
from graphtf.models import GINE
from graphtf.solvers import effective_graph_resistance, effective_resistance
from graphtf.train.encoding_options import ENCODINGS
from graphtf.train.encodings import VALUES, VECTORS, build_encoding, build_transform

CHANNELS, LAYERS, BATCH, LOOK, LR = 32, 3, 32, 25, 5e-3
COMPARED = ("none", "laplacian", "signnet", "random-walk", "linear-transformer")
TASKS = {"graph": ("mean resistance of pairs", "larger resistance of an edge"), "edges": ("resistance of every edge",)}
PROBED = ("probe", "signnet")  # whose input is probed, since its columns are learned
VALIDATION = (23, 28, 33, 38)
SIZES = {
    "train": [n for n in range(20, 41) if n not in VALIDATION],
    "val": list(VALIDATION),
    "test": list(range(41, 61)),
}


def circles(sizes: list[int]) -> list[Data]:
    """The graphs of these sizes with all skips below half of it, in their natural order, with targets in float64."""
    graphs = []
    for n, skip in [(size, skip) for size in sizes for skip in range(2, (size + 1) // 2)]:
        nodes = torch.arange(n)
        steps = torch.cat([torch.stack([nodes, (nodes + step) % n]) for step in (1, -1, skip, -skip)], 1)
        graphs.append(Data(x=torch.zeros(n, 1, dtype=torch.long), edge_index=steps, skip=skip))
    batch = Batch.from_data_list(graphs)
    count, first = batch.ptr.diff(), batch.ptr[:-1]
    mean = effective_graph_resistance(batch, dtype=torch.float64).value / (count * (count - 1) / 2)
    ends = torch.cat([torch.stack([first, first + 1]), torch.stack([first, first + batch.skip])], 1)
    edge = effective_resistance(batch, ends, dtype=torch.float64).value.view(2, -1)
    largest = edge.max(0).values
    for i, graph in enumerate(graphs):
        graph.graph = torch.stack([mean[i].log(), largest[i]]).unsqueeze(0)
        graph.edges = edge[:, i].repeat_interleave(graph.edge_index.shape[1] // 2).unsqueeze(1)
    return graphs


def splits(copies: int, seed: int = 0) -> dict[str, list[Data]]:
    """The graphs of every split, `copies` of each in random orders of the nodes, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, list[Data]] = {name: [] for name in SIZES}
    for name, sizes in SIZES.items():
        for graph in circles(sizes):
            for _ in range(copies):
                order = torch.randperm(len(graph.x), generator=generator)
                parts[name].append(
                    Data(x=graph.x, edge_index=order[graph.edge_index], graph=graph.graph, edges=graph.edges)
                )
    return parts


class EdgeRegressor(GINE):
    """The network with a number for every edge, from products and distances of the states of its ends, and its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.of_edge = nn.Sequential(
            nn.Linear(3 * self.channels, self.channels), nn.ReLU(), nn.Linear(self.channels, 1)
        )

    def propagate(self, h: Tensor, e: Tensor, data: Any, batch: Tensor, num_graphs: int) -> Tensor:
        """Apply the layers, and keep the states."""
        given = e.clone()
        h = super().propagate(h, e, data, batch, num_graphs)
        self.states = h, given
        return h

    def forward(self, data: Any) -> Tensor:
        """Predict for every edge: `[E, 1]`."""
        super().forward(data)
        (h, e), (u, v) = self.states, data.edge_index
        return self.of_edge(torch.cat([h[u] * h[v], (h[u] - h[v]).abs(), e], 1))


@torch.no_grad()
def predicted(model: nn.Module, batches: list[Batch]) -> Tensor:
    model.eval()
    return torch.cat([model(batch) for batch in batches]).double()


def run(parts: dict[str, list[Data]], task: str, pe: str, steps: int, seed: int, copies: int) -> dict[str, list[float]]:
    """Errors of the targets, and mean distance of predictions for the same graph in other orders from their mean.

    Both are relative to the error of the best constant of the training graphs: their median.
    """
    torch.manual_seed(seed)
    make, width = (EdgeRegressor if task == "edges" else GINE), len(TASKS[task])
    model = make(CHANNELS, LAYERS, 1, 0, width, build_encoding(pe, ENCODINGS[pe], seed), readout="mean")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps)
    y = {name: torch.cat([graph[task] for graph in graphs]) for name, graphs in parts.items()}
    mean, scale = y["train"].mean(0), y["train"].std(0)
    held = {
        name: [Batch.from_data_list(parts[name][i : i + 256]) for i in range(0, len(parts[name]), 256)]
        for name in ("val", "test")
    }
    generator = torch.Generator().manual_seed(seed)
    best, state, queue = float("inf"), {}, []
    for step in range(1, steps + 1):
        queue = queue or list(torch.randperm(len(parts["train"]), generator=generator).split(BATCH))
        data = Batch.from_data_list([parts["train"][i] for i in queue.pop().tolist()])
        model.train()
        optimizer.zero_grad()
        l1_loss(model(data), ((data[task] - mean) / scale).float()).backward()
        optimizer.step()
        schedule.step()
        if step % LOOK == 0 or step == steps:
            error = float((predicted(model, held["val"]) - (y["val"] - mean) / scale).abs().mean())
            if error < best:
                best, state = error, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    y_hat = {name: predicted(model, batches) * scale + mean for name, batches in held.items()}
    return judged(y_hat, y, {name: [len(graph[task]) for graph in graphs] for name, graphs in parts.items()}, copies)


def judged(
    found: dict[str, Tensor], y: dict[str, Tensor], sizes: dict[str, list[int]], copies: int
) -> dict[str, list[float]]:
    """Errors, and distances between orders of a graph, over the error of the median of the training graphs."""
    result = {}
    for name in found:
        reference = (y[name] - y["train"].median(0).values).abs().mean(0)
        rows = found[name].split(sizes[name])
        orders = [torch.stack(rows[i : i + copies]) for i in range(0, len(rows), copies)]
        apart = torch.cat([(of - of.mean(0)).abs().flatten(0, 1) for of in orders]).mean(0)
        result[name] = ((found[name] - y[name]).abs().mean(0) / reference).tolist()
        result[f"{name}_between_orders"] = (apart / reference).tolist()
    return result


def probe(parts: dict[str, list[Data]], pe: str, copies: int) -> dict[str, list[float]]:
    """Ridge regression of the resistance of every edge, without a network; its strength is chosen in validation.

    Columns, from the encoding `h` of the ends `u`, `v`: `h_u + h_v`, `h_u h_v`, `(h_u - h_v)^2`, and the encoding of
    the edge if there is one. For `signnet`, whose columns are learned, `h` are its input, eigenvectors over the roots
    of their eigenvalues: with all of them the sum of `(h_u - h_v)^2` would be the resistance.
    """
    columns, y = {}, {}
    encoding = build_encoding(pe, ENCODINGS[pe])
    for name, graphs in parts.items():
        batch = Batch.from_data_list(graphs)
        u, v = batch.edge_index
        if pe == "signnet":
            h, edge = batch[VECTORS] / batch[VALUES].clamp(min=1e-6).sqrt(), None
        else:
            h, edge = encoding.eval()(batch, return_edge=True) if encoding else (torch.zeros(len(batch.x), 1), None)
        found = [h[u] + h[v], h[u] * h[v], (h[u] - h[v]).square(), *([] if edge is None else [edge])]
        columns[name], y[name] = torch.cat(found, 1).detach().double(), batch.edges
    mean, scale = columns["train"].mean(0), columns["train"].std(0).clamp(min=1e-9)
    X = {name: (x - mean) / scale for name, x in columns.items()}
    level = y["train"].mean(0)
    gram, right = X["train"].T @ X["train"], X["train"].T @ (y["train"] - level)
    eye = torch.eye(len(gram), dtype=gram.dtype) * len(X["train"])
    weights = [torch.linalg.solve(gram + 10.0**power * eye, right) for power in range(-9, 1)]
    best = min(weights, key=lambda w: float((X["val"] @ w + level - y["val"]).abs().mean()))
    sizes = {name: [len(graph.edges) for graph in graphs] for name, graphs in parts.items()}
    return judged({name: X[name] @ best + level for name in ("val", "test")}, y, sizes, copies)


def measure(compared: tuple[str, ...], seeds: list[int], steps: int, copies: int) -> list[dict[str, Any]]:
    plain = splits(copies)
    rows = []
    for pe in compared:
        start = time.process_time()
        transform = build_transform(pe, ENCODINGS[pe])
        parts = {name: [transform(one) if transform else one for one in graphs] for name, graphs in plain.items()}
        found = {task: [run(parts, task, pe, steps, seed, copies) for seed in seeds] for task in TASKS}
        found["probe"] = [probe(parts, pe, copies)]
        rows.append({"encoding": pe, **found, "seconds": time.process_time() - start})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A table a target, means and ranges over seeds."""
    lines = []
    for task, targets in {
        **TASKS,
        "probe": ("resistance of every edge, by ridge regression without a network",),
    }.items():
        for number, target in enumerate(targets):
            lines += [f"**{target.capitalize()}**, percent of the error of a constant", ""]
            lines += [
                "| encoding | unseen sizes, 23 to 38 | larger, 41 to 60 | larger, between orders |",
                "|---|---|---|---|",
            ]
            for row in rows:
                judged_by = ("val", "test", "test_between_orders")
                cells = [spread([100 * one[key][number] for one in row[task]]) for key in judged_by]
                name = "eigenvectors / sqrt(eigenvalues)" if (task, row["encoding"]) == PROBED else row["encoding"]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    if max(values) < 0.001:
        return "0.000"
    digits = 0 if min(values) >= 10 else 1 if min(values) >= 1 else 3
    span = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{span}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--copies", type=int, default=2, help="orders of the nodes of every graph")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(COMPARED, arguments.seeds, arguments.steps, arguments.copies)
    setting = {"model": "GINE", "channels": CHANNELS, "layers": LAYERS, "batch_size": BATCH, "lr": LR}
    setting |= {"steps": arguments.steps, "copies": arguments.copies, "seeds": arguments.seeds, "sizes": SIZES}
    report = {"setting": setting, "tasks": TASKS, "rows": rows}
    write_json(arguments.out / "skip_links.json", report)
    write_atomically(arguments.out / "skip_links.md", lambda path: path.write_text(table(rows), encoding="utf-8"))
    print(table(rows))


if __name__ == "__main__":
    main()
