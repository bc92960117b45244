"""Tables and figures of molecular regression: encodings and their ingredients, and the error against training time.

    python benchmarks/zinc.py ablation runs/ablation --run --data DIR --epochs 30 --seeds 0 1 2 --jobs 2
    python benchmarks/zinc.py ablation runs/ablation runs/more          # folders that graphtf compare has written
    python benchmarks/zinc.py curve runs/e30 runs/e60 runs/e130 runs/e300   # run folders of graphtf train

`ablation --run` first calls `graphtf compare` with the options that follow (and the encodings of `COMPARED`, unless
`--pe` names others); called again, it goes on where it was stopped. `curve` takes runs that differ in the number of
epochs, and perhaps the seed, alone; an earlier NAME.json stands for its runs. Both write NAME.json and NAME.md into
`--results` and NAME.png into `--figures`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from learning_curve import extrapolate, read_runs, summary
from report import table, write
from zinc_plots import plot_ablation, plot_curve

from graphtf.train.config import TrainConfig
from graphtf.train.encoding_options import check_encoding, has_layers, parse_encoding

ROOT = Path(__file__).resolve().parents[1]
FULL = "conductances"
OFF = {
    "pair=false": "no edge channel",
    "heads=1": "one head",
    "leverage=false": "no leverages",
    "conductances=false": "no learned conductances",
    "start=random": "random start",
    "shared=true": "shared layers",
}
"""What an option leaves of the full encoding."""
BASELINES = ("none", "laplacian", "signnet", "random-walk", "release:pretrain=20", "linear-transformer")
COMPARED = (*BASELINES, FULL, *(f"{FULL}:{option}" for option in OFF))


DEFAULTS = TrainConfig().to_dict()


def run(out: Path, options: list[str]) -> None:
    """Call `graphtf compare`."""
    pe = [] if "--pe" in options else ["--pe", *COMPARED]
    subprocess.run([sys.executable, "-P", "-m", "graphtf", "compare", "--out", str(out), *options, *pe], check=True)


def read(folders: list[Path]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Common options and one row an encoding, of all folders together.

    Raises:
        FileNotFoundError: a folder has no comparison.
        ValueError: options differ, or a run is there twice with different errors.
    """
    common: dict[str, Any] = {}
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        path = folder / "comparison.json"
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}; give a folder that graphtf compare has finished")
        comparison = json.loads(path.read_text(encoding="utf-8"))
        config = comparison["config"] | {"data": Path(comparison["config"]["data"]).name}
        common = common or config
        both = [DEFAULTS | options for options in (common, config)]  # folders lack options newer than themselves
        different = sorted(name for name in both[0].keys() | both[1].keys() if both[0].get(name) != both[1].get(name))
        if different:
            raise ValueError(f"{folder} was run with other options ({', '.join(different)}); give one table to each")
        for row in comparison["rows"]:
            pe = check_encoding(row["pe"], None)[0]
            empty = {"pe": pe, "num_parameters": row["num_parameters"], "val_mae": {}, "seconds": []}
            into = found.setdefault(pe, empty)
            for seed, value in zip(comparison["seeds"], row["val_mae"], strict=True):
                if into["val_mae"].setdefault(seed, value) != value:
                    raise ValueError(
                        f"{pe} with seed {seed} is there twice, with different errors; leave one folder out"
                    )
            into["seconds"] += row["seconds_per_epoch"]
    return common, [judged(row, found.get(FULL)) for row in found.values()]


def judged(row: dict[str, Any], full: dict[str, Any] | None) -> dict[str, Any]:
    """A row with its mean, standard deviation, and difference to the full encoding over the seeds that both have."""
    name, options = parse_encoding(row["pe"])
    option = row["pe"].partition(":")[2]
    both = [] if full is None or row is full else sorted(row["val_mae"].keys() & full["val_mae"].keys())
    difference = [row["val_mae"][seed] - full["val_mae"][seed] for seed in both] if full else []
    return {
        "pe": row["pe"],
        "off": ", ".join(OFF.get(part, part) for part in option.split(",")) if name == FULL and options else "",
        "ours": has_layers(row["pe"]),
        "num_parameters": row["num_parameters"],
        "val_mae": dict(sorted(row["val_mae"].items())),
        "mean": statistics.mean(row["val_mae"].values()),
        "sd": deviation(list(row["val_mae"].values())),
        "difference": statistics.mean(difference) if difference else None,
        "difference_sd": deviation(difference),
        "paired_seeds": both,
        "seconds_per_epoch": statistics.median(row["seconds"]),
    }


def deviation(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def spread(mean: float | None, sd: float | None, sign: str = "") -> str:
    if mean is None:
        return "-"
    return f"{mean:{sign}.4f}" if sd is None else f"{mean:{sign}.4f} ± {sd:.4f}"


def groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Encodings, and the full one with its ingredients switched off; each from the largest error to the least."""
    ordered = sorted(rows, key=lambda row: -row["mean"])
    parts = {
        "Encodings": [row for row in ordered if not row["off"]],
        "Ingredients": [row for row in ordered if row["off"] or row["pe"] == FULL],
    }
    return {title: part for title, part in parts.items() if len(part) > 1 or title == "Encodings"}


def text(config: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """The tables in Markdown."""
    lines = [
        f"Validation MAE of the best epoch of {config['epochs']} on {config['data']}, mean and standard deviation over "
        f"the seeds, and every seed. The difference is to `{FULL}`, seed by seed.",
        "",
    ]
    for title, part in groups(rows).items():
        cells = [
            {
                "encoding": f"`{row['pe']}`",
                "change": row["off"] or "-",
                "parameters": f"{row['num_parameters']:,}",
                "validation MAE": spread(row["mean"], row["sd"]),
                "seeds": ", ".join(f"{seed}: {value:.4f}" for seed, value in row["val_mae"].items()),
                "difference": spread(row["difference"], row["difference_sd"], "+"),
                "seconds per epoch": row["seconds_per_epoch"],
            }
            for row in part
        ]
        lines += [f"**{title}**", "", table(cells)]
    return lines


def ablation(arguments: argparse.Namespace) -> None:
    if arguments.run is not None:
        run(arguments.folders[-1], arguments.run)
    config, rows = read(arguments.folders)
    lines = text(config, rows)
    write(arguments.results / arguments.name, {"config": config, "rows": rows}, lines)
    title = f"validation MAE, {config['data']}, {config['epochs']} epochs; a dot a seed, a bar their mean"
    plot_ablation(groups(rows), arguments.figures / f"{arguments.name}.png", title)
    print("\n".join(lines))


def curve(arguments: argparse.Namespace) -> None:
    points = read_runs(arguments.folders)
    found = extrapolate(points, arguments.to, arguments.noise)
    lines = summary(points, found)
    write(arguments.results / arguments.name, {"runs": points, **found}, lines)
    plot_curve(points, found, arguments.figures / f"{arguments.name}.png")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    tables = {"ablation": (ablation, "zinc_ablation"), "curve": (curve, "zinc_curve")}
    for verb, (_, name) in tables.items():
        sub = verbs.add_parser(verb)
        sub.add_argument("folders", type=Path, nargs="+")
        sub.add_argument("--name", default=name, help=f"of the files ({name})")
        sub.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
        sub.add_argument("--figures", type=Path, default=ROOT / "docs" / "figures")
    one, other = (verbs.choices[verb] for verb in tables)
    one.add_argument("--run", nargs=argparse.REMAINDER, help="graphtf compare first, into the last folder; its options")
    other.add_argument("--to", type=int, nargs="+", default=[1000, 2000], help="epochs to extrapolate to (1000 2000)")
    other.add_argument("--noise", type=float, help="deviation of a run's error between seeds (from the runs)")
    arguments = parser.parse_args()
    try:
        tables[arguments.verb][0](arguments)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
