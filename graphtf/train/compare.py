"""Several encodings on one backbone, at equal budget and initialisation."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from graphtf.files import write_atomically, write_json, write_yaml
from graphtf.train.config import WHERE, TrainConfig
from graphtf.train.data import available_splits, load_graphs, task_of
from graphtf.train.encoding_options import check_encoding, has_layers, has_pairs
from graphtf.train.plots import plot_comparison
from graphtf.validate import check_positive_int

COMPARED = ("none", "laplacian", "random-walk", "linear-transformer", "conductances")
"""The encodings that are compared where no others are named."""


def compare(
    config: TrainConfig, encodings: Sequence[str] = COMPARED, seeds: Sequence[int] = (0,), jobs: int = 1
) -> list[dict[str, Any]]:
    """Train the same backbone with several encodings and seeds, and tabulate.

    Every run has the same options, the same order of the molecules and, but for the encoding's own, the same weights at
    the start. Runs are folders `out/<encoding>-seed<seed>`; finished ones are kept and interrupted ones resumed, so
    that the same call goes on where it was stopped. `out` gets `comparison.json`, `comparison.md`, `comparison.png`.

    Args:
        config: the options common to all; `pe`, `pe_dim` and `seed` are set here. `pe_lr_scale` is 1 for encodings that
            have no layers, and `attention_bias` is off for those that have no pairs; the rest trains with it.
        encodings: encodings, perhaps with options, such as `conductances:pair=false`.
        seeds: seeds.
        jobs: runs at a time, each a process with `config.threads` threads.

    Returns:
        One row an encoding: `pe`, `num_parameters`, lists `val_mae`, `test_mae`, `seconds_per_epoch` over the seeds.

    Raises:
        ValueError: an option is wrong, `out` holds runs with other options, or the data has another metric than the
            mean absolute error.
        RuntimeError: a run failed; its folder has the log.
    """
    encodings = [check_encoding(pe, None)[0] for pe in encodings]
    given: dict[str, list[Any]] = {"encodings": list(encodings), "seeds": list(seeds)}
    for name, values in given.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be at least one, each once, but got {values}")
    check_positive_int("jobs", jobs)
    if config.attention_bias and not any(map(has_pairs, encodings)):
        raise ValueError(
            f"attention_bias=True needs an encoding of all pairs of nodes, but none of {', '.join(encodings)} has one"
        )
    available_splits(config.data)
    if task_of(config.data).metric != "mae":
        raise ValueError(f"encodings are compared by their mean absolute errors, but {config.data} has another metric")
    out = Path(config.out)
    configs = [_config_of(config, pe, seed) for seed in seeds for pe in encodings]
    for one in configs:
        path = Path(one.out) / "config.yaml"
        if path.exists() and _started(Path(one.out)):
            different = TrainConfig.load(path).differences(one)
            if different:
                raise ValueError(
                    f"{one.out} holds a run with other options ({'; '.join(different)}); choose another --out"
                )
    for split in available_splits(config.data):  # once, before processes ask for the same cache
        load_graphs(config.data, split, "none", 0, config.root)
    _run_all(configs, jobs, hide=config.progress == "none")
    rows = _collect(configs, encodings)
    common = {name: value for name, value in config.to_dict().items() if name not in (*WHERE, "pe", "pe_dim", "seed")}
    write_json(out / "comparison.json", {"config": common, "seeds": list(seeds), "rows": rows})
    write_atomically(out / "comparison.md", lambda p: p.write_text(table(rows) + "\n", encoding="utf-8"))
    histories = {
        pe: [json.loads((Path(c.out) / "history.json").read_text()) for c in configs if c.pe == pe] for pe in encodings
    }
    repeats = "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    plot_comparison(histories, out / "comparison.png", f"validation MAE, {Path(config.data).name} data, {repeats}")
    return rows


def _config_of(config: TrainConfig, pe: str, seed: int) -> TrainConfig:
    can: dict[str, Any] = {
        "pe_lr_scale": config.pe_lr_scale if has_layers(pe) else 1.0,
        "attention_bias": config.attention_bias and has_pairs(pe),
    }
    out = Path(config.out) / f"{pe.replace(':', '-')}-seed{seed}"
    return replace(config, pe=pe, pe_dim=None, seed=seed, out=str(out), progress="lines", **can)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of :func:`compare` as a Markdown table, mean and standard deviation over the seeds.

    Example:
        >>> row = {"pe": "none", "num_parameters": 1000, "val_mae": [0.5, 0.7], "test_mae": [None, None],
        ...        "seconds_per_epoch": [3.0, 4.0]}
        >>> print(table([row]))
        | encoding | parameters | validation MAE | test MAE | seconds per epoch |
        |---|---|---|---|---|
        | none | 1,000 | 0.600 ± 0.141 | - | 3.5 |
    """
    lines = ["| encoding | parameters | validation MAE | test MAE | seconds per epoch |", "|---|---|---|---|---|"]
    for row in rows:
        seconds = statistics.median(row["seconds_per_epoch"])
        lines.append(
            f"| {row['pe']} | {row['num_parameters']:,} | {_spread(row['val_mae'])} | {_spread(row['test_mae'])} "
            f"| {seconds:.1f} |"
        )
    return "\n".join(lines)


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{statistics.mean(known):.3f}"
    return f"{mean} ± {statistics.stdev(known):.3f}" if len(known) > 1 else mean


def _collect(configs: list[TrainConfig], encodings: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for pe in encodings:
        metrics = [json.loads((Path(c.out) / "metrics.json").read_text()) for c in configs if c.pe == pe]
        row: dict[str, Any] = {"pe": pe, "num_parameters": metrics[0]["num_parameters"]}
        rows.append(row | {key: [m[key] for m in metrics] for key in ("val_mae", "test_mae", "seconds_per_epoch")})
    return rows


def _started(out: Path) -> bool:
    return (out / "last.ckpt").exists() or (out / "metrics.json").exists()


def _run_all(configs: list[TrainConfig], jobs: int, hide: bool) -> None:
    """Run every configuration in a process of its own, with a bar of epochs for each that is at work."""
    processes: list[subprocess.Popen[str]] = []
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_one, config, hide, processes, stop) for config in configs]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            for process in processes:
                process.terminate()
            raise


def _run_one(config: TrainConfig, hide: bool, processes: list[subprocess.Popen[str]], stop: threading.Event) -> None:
    out = Path(config.out)
    if (out / "metrics.json").exists() or stop.is_set():
        return
    out.mkdir(parents=True, exist_ok=True)
    # -P: no module in the current directory may stand in for one of Python's.
    options = out / "options.yaml"  # a file, since data-parallel training starts the command again
    write_yaml(options, config.to_dict())
    command = [sys.executable, "-P", "-m", "graphtf", "train", "--config", str(options), "--out", str(out)]
    command += ["--resume"] if _started(out) else []
    log_path = out / "log.txt"
    with (
        tqdm(total=config.epochs, desc=f"{out.name:<26}", unit="epoch", disable=hide, mininterval=0) as bar,
        log_path.open("a", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        processes.append(process)
        if stop.is_set():
            process.terminate()
        if process.stdout is None:
            raise RuntimeError("the pipe to the run was not made")
        for line in process.stdout:
            log.write(line)
            if found := re.match(r"epoch (\d+)/.*val MAE ([\d.]+)", line):
                bar.update(int(found[1]) - bar.n)
                bar.set_postfix_str(f"val MAE {found[2]}")
    if process.returncode and not stop.is_set():
        last = log_path.read_text(encoding="utf-8").strip().splitlines()[-1:]
        raise RuntimeError(f"the run {out} failed: {' '.join(last)} (see {log_path})")
