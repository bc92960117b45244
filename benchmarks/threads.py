"""A training step of every task on prompts with one thread and with two: why `graphtf learn` takes one.

    python benchmarks/threads.py                                        # writes results/threads.json and .md, a minute
    python benchmarks/threads.py --tasks regression sparse --rounds 9 --out runs/threads

A step draws a batch, runs the deepest model of the task forward and back, clips and moves the weights, as in `graphtf
learn`. Numbers of threads take turns, round by round, until all rounds are done or the task has had its seconds; the
table shows medians of a step, by the clock and in processor time of all threads, which other work on the machine
disturbs less. `load before` says how busy the machine was with other work.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from report import table, write

from graphtf.attention import Layer
from graphtf.learn.fit import Fit
from graphtf.learn.incontext_run import EXPERIMENTS

STEPS = 5  # of a round, at most
SECONDS = 8.0  # of a task; two threads that wait for each other can take seconds a step


def deepest(task: str) -> Fit:
    """How the model with the most layers is trained, the last one of them."""
    fits = EXPERIMENTS[task]((0,), 100, 1000).fits
    depth = [sum(isinstance(m, Layer) for m in f.build(0).modules()) for f in fits]
    return [f for f, layers in zip(fits, depth, strict=True) if layers == max(depth)][-1]


def training_step(spec: Fit) -> Callable[[], None]:
    model, generator = spec.build(0), torch.Generator().manual_seed(0)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=spec.lr, betas=spec.betas)

    def step() -> None:
        loss = spec.loss(model, spec.sample(generator))
        optimizer.zero_grad()
        loss.backward()
        if spec.clip is not None:
            torch.nn.utils.clip_grad_norm_(weights, spec.clip)
        optimizer.step()

    return step


def measure(step: Callable[[], None], threads: Sequence[int], rounds: int) -> dict[int, tuple[float, float, int]]:
    """Medians by number of threads: seconds of a step by the clock and of processor time, and how many were timed."""
    found: dict[int, list[tuple[float, float]]] = {number: [] for number in threads}
    torch.set_num_threads(1)
    step()  # does not count
    start = time.perf_counter()
    for _ in range(rounds):
        for number in threads:
            torch.set_num_threads(number)
            for _ in range(STEPS):
                wall, cpu = time.perf_counter(), time.process_time()
                step()
                found[number].append((time.perf_counter() - wall, time.process_time() - cpu))
                if time.perf_counter() - wall > SECONDS / 20:
                    break
        if time.perf_counter() - start > SECONDS:
            break
    torch.set_num_threads(1)
    return {
        number: (statistics.median(w for w, _ in times), statistics.median(c for _, c in times), len(times))
        for number, times in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 and 2)")
    parser.add_argument("--rounds", type=int, default=15, help=f"rounds of at most {STEPS} steps (default 15)")
    default = Path(__file__).parent / "results" / "threads"
    parser.add_argument("--out", type=Path, default=default, help="write OUT.json and OUT.md (results/threads)")
    args = parser.parse_args()
    if min(args.rounds, *args.threads) < 1:
        parser.error(f"rounds and threads must be at least 1, but are {args.rounds} and {args.threads}")
    setting: dict[str, Any] = {
        "rounds": args.rounds,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "load before": round(os.getloadavg()[0], 1),
    }
    rows = []
    for task in args.tasks:
        spec = deepest(task)
        row: dict[str, Any] = {"task": task, "model": spec.name.removesuffix("-seed0")}
        for number, (wall, cpu, steps) in measure(training_step(spec), args.threads, args.rounds).items():
            word = "1 thread" if number == 1 else f"{number} threads"
            row |= {f"{word}, wall ms": 1e3 * wall, f"{word}, CPU ms": 1e3 * cpu, f"{word}, steps": steps}
        rows.append(row)
        print(row, flush=True)
    text = ["# Threads\n", ", ".join(f"{key} {value}" for key, value in setting.items()) + "\n"]
    shown = [{name: value for name, value in row.items() if not name.endswith("steps")} for row in rows]
    text += ["## A training step, by the clock and in processor time of all threads\n", table(shown)]
    print("\n".join(text))
    write(args.out, {"setting": setting, "rows": rows}, text)


if __name__ == "__main__":
    main()
