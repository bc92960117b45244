"""Circular graphs with skip links: the share of test graphs in the right class, by encoding, over five folds.

    python benchmarks/csl.py                    # writes results/csl.json and results/csl.md, under two minutes
    python benchmarks/csl.py --folds 1 --steps 20 --out /tmp

Every encoding gets the same small network (GINE), number of steps, folds and initial weights. A run keeps the state
that is best in validation, by accuracy, then by loss, and reports its test accuracy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch, Data

from graphtf.datasets import CSL
from graphtf.files import write_atomically, write_json
from graphtf.models import GINE, StoredEncoding
from graphtf.nn import LinearTransformerPE
from graphtf.transforms import AddRandomWalkPE, AddSpectralPE

CLASSES, CHANNELS, LAYERS, BATCH, LOOK = 10, 32, 3, 30, 10
Transform = Callable[[Any], Any]
ENCODINGS: dict[str, tuple[Transform | None, Callable[[int], nn.Module | None]]] = {
    "none": (None, lambda seed: None),
    "Laplacian eigenvectors (8, random signs)": (
        AddSpectralPE(8),
        lambda seed: StoredEncoding("laplacian_eigenvector_pe", 8, random_sign=True),
    ),
    "Laplacian eigenvectors (20, random signs)": (
        AddSpectralPE(20),
        lambda seed: StoredEncoding("laplacian_eigenvector_pe", 20, random_sign=True),
    ),
    "random walk (16 steps, stored)": (AddRandomWalkPE(16), lambda seed: StoredEncoding("random_walk_pe", 16)),
    "linear transformer (16 layers, learned)": (None, lambda seed: LinearTransformerPE(k=16, seed=seed)),
}


def prepared(graphs: list[Data], transform: Transform | None) -> list[Data]:
    return graphs if transform is None else [transform(graph) for graph in graphs]


@torch.no_grad()
def judge(model: nn.Module, batch: Batch) -> tuple[float, float]:
    model.eval()
    scores: Tensor = model(batch)
    right = (scores.argmax(1) == batch.y).double().mean()
    return float(right), float(cross_entropy(scores, batch.y))


def run(graphs: list[Data], fold: dict[str, Tensor], encoding: Callable[[int], Any], steps: int, seed: int) -> float:
    """Test accuracy of the state that is best in validation."""
    torch.manual_seed(seed)
    model = GINE(CHANNELS, LAYERS, 1, 0, CLASSES, encoding(seed), readout="mean")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    parts = {name: Batch.from_data_list([graphs[i] for i in fold[name]]) for name in ("val", "test")}
    best, test = (-1.0, 0.0), 0.0
    queue: list[Tensor] = []
    for step in range(1, steps + 1):
        queue = queue or list(fold["train"][torch.randperm(len(fold["train"]))].split(BATCH))
        data = Batch.from_data_list([graphs[i] for i in queue.pop()])
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(data), data.y).backward()
        optimizer.step()
        schedule.step()
        if step % LOOK == 0 or step == steps:
            accuracy, loss = judge(model, parts["val"])
            if (accuracy, -loss) > best:
                best, test = (accuracy, -loss), judge(model, parts["test"])[0]
    return test


def measure(folds: int, steps: int) -> list[dict[str, Any]]:
    dataset = CSL()
    rows = []
    for name, (transform, encoding) in ENCODINGS.items():
        start = time.process_time()
        graphs = prepared(list(dataset), transform)
        accuracy = [run(graphs, fold, encoding, steps, seed) for seed, fold in enumerate(dataset.folds()[:folds])]
        rows.append({"encoding": name, "test_accuracy": accuracy, "seconds": time.process_time() - start})
        print(cells(rows[-1]), flush=True)
    return rows


def cells(row: dict[str, Any]) -> str:
    percent = [100 * value for value in row["test_accuracy"]]
    spread = f"{statistics.mean(percent):.1f} ({min(percent):.0f} to {max(percent):.0f})"
    return f"| {row['encoding']} | {spread} | {row['seconds']:.0f} |"


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| encoding | test accuracy, % (mean and range over folds) | CPU seconds |", "|---|---|---|"]
    return "\n".join(lines + [cells(row) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(arguments.folds, arguments.steps)
    setting = {"steps": arguments.steps, "channels": CHANNELS, "layers": LAYERS, "batch_size": BATCH, "model": "GINE"}
    write_json(arguments.out / "csl.json", {"setting": setting, "rows": rows})
    write_atomically(arguments.out / "csl.md", lambda path: path.write_text(table(rows) + "\n", encoding="utf-8"))
    print(table(rows))


if __name__ == "__main__":
    main()
