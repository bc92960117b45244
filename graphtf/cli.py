"""The command line: `graphtf train`, `compare`, `evaluate`, `predict`, `learn`."""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

PES = ("none", "laplacian", "random-walk", "linear-transformer", "conductances")
DATA_HELP = "embedded, zinc, or a directory with train/val[/test].csv[.gz] (columns smiles,y)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; `None` means those of the process.

    Returns:
        The exit status: 0, 2 for wrong input, 130 after an interruption.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        parser.print_help()
        return 2
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"graphtf: interrupted{arguments.again}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        print(f"graphtf: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    from graphtf import __version__

    parser = argparse.ArgumentParser(
        prog="graphtf", description="Linear transformers as positional encodings: train and use molecular models."
    )
    parser.add_argument("--version", action="version", version=f"graphtf {__version__}")
    parser.set_defaults(run=None)
    verbs = parser.add_subparsers(metavar="train|compare|evaluate|predict|learn")

    train = verbs.add_parser("train", help="train one model", description="Train one model; writes a run folder.")
    train.add_argument("--config", metavar="FILE", help="config.yaml of a run; other options override it")
    train.add_argument("--pe", choices=PES, help="positional encoding (linear-transformer)")
    train.add_argument("--pe-dim", type=int, metavar="K", help="its columns (8 eigenvectors, 16 steps, 16 layers)")
    train.add_argument("--seed", type=int, metavar="N", help="seed (0)")
    train.add_argument("--out", metavar="DIR", help="run folder (runs/PE-seedSEED)")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from last.ckpt of the run folder, with the options that stand there",
    )
    _add_budget(train)
    train.add_argument("--progress", choices=("auto", "bar", "lines", "none"), help="how to show progress (auto)")
    train.set_defaults(run=_train, again="; the same command with --resume goes on")

    compare = verbs.add_parser(
        "compare",
        help="train with several encodings at equal budget",
        description="Train the same model with several encodings and tabulate those of this call. The same call again "
        "goes on where it was stopped.",
    )
    compare.add_argument("--pe", choices=PES, nargs="+", default=list(PES), help="encodings (all)")
    compare.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="seeds (0)")
    compare.add_argument("--out", metavar="DIR", default="runs/compare", help="folder of the runs (runs/compare)")
    compare.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (1)")
    _add_budget(compare)
    compare.set_defaults(run=_compare, again="; the same command goes on")

    evaluate = verbs.add_parser(
        "evaluate",
        help="mean absolute error of a checkpoint",
        description="Mean absolute error of a checkpoint on one split; the same number every time.",
    )
    evaluate.add_argument("--checkpoint", required=True, metavar="FILE", help="best.ckpt of a run folder")
    evaluate.add_argument("--data", metavar="DATA", help=f"{DATA_HELP} (what it was trained on)")
    evaluate.add_argument("--split", choices=("train", "val", "test"), default="val", help="split (val)")
    evaluate.add_argument("--subset", type=int, metavar="N", help="only the first N molecules")
    evaluate.add_argument("--root", metavar="DIR", help="folder of cached data sets (~/.cache/graphtf)")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.set_defaults(run=_evaluate, again="")

    predict = verbs.add_parser(
        "predict",
        help="predict for SMILES, as CSV",
        description="Predict the target of molecules: echo CCO | graphtf predict --checkpoint runs/x/best.ckpt",
    )
    predict.add_argument("--checkpoint", required=True, metavar="FILE", help="best.ckpt of a run folder")
    predict.add_argument("--input", default="-", metavar="FILE", help=".csv[.gz], or one SMILES a line; - is stdin (-)")
    predict.add_argument("--smiles-column", metavar="NAME", help="the input is a CSV with this column (smiles)")
    predict.add_argument("--output", default="-", metavar="FILE", help="CSV to write; - is stdout (-)")
    predict.add_argument("--on-error", choices=("raise", "skip"), default="raise", help="unreadable molecules (raise)")
    predict.set_defaults(run=_predict, again="")

    learn = verbs.add_parser(
        "learn",
        help="train transformers from random weights on a graph algorithm",
        description="Train the literal and the structured transformer from random weights on random graphs, and "
        "compare their losses with the constructed weights and the published values. The same call again goes on where "
        "it was stopped.",
    )
    learn.add_argument(
        "--task", required=True, choices=("electric", "resistive", "heat", "eigenvectors"), help="what is learned"
    )
    learn.add_argument(
        "--layers", type=_integers, default=(1, 3, 5, 7, 9), metavar="N,N,...", help="depths (1,3,5,7,9)"
    )
    learn.add_argument(
        "--preset", choices=("quick", "full"), default="quick", help="minutes, or the documented numbers (quick)"
    )
    learn.add_argument("--models", nargs="+", choices=("structured", "literal"), help="which transformers (both)")
    learn.add_argument("--seeds", type=_integers, default=(0, 1, 2), metavar="N,N,...", help="seeds (0,1,2)")
    learn.add_argument("--steps", type=int, metavar="N", help="training steps of either model (as in the preset)")
    learn.add_argument("--graphs", type=int, metavar="N", help="graphs a step and seed (as in the preset)")
    learn.add_argument("--out", metavar="DIR", help="folder (runs/learn-TASK-PRESET)")
    learn.add_argument(
        "--progress", choices=("auto", "bar", "none"), default="auto", help="how to show progress (auto)"
    )
    learn.set_defaults(run=_learn, again="; the same command goes on")
    return parser


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected integers with commas between, such as 1,3,5, but got {text!r}"
        ) from None


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """Options that `train` and `compare` share; unset ones are left to :class:`graphtf.train.TrainConfig`."""
    parser.add_argument("--data", metavar="DATA", help=f"{DATA_HELP} (embedded)")
    numbers: list[tuple[str, type, str]] = [
        ("epochs", int, "epochs (30)"),
        ("batch-size", int, "molecules a batch (128)"),
        ("layers", int, "layers (4)"),
        ("channels", int, "width (64)"),
        ("heads", int, "attention heads (8); gine has none"),
        ("dropout", float, "dropout (0)"),
        ("lr", float, "peak learning rate (0.002)"),
        ("weight-decay", float, "weight decay (1e-5)"),
        ("clip", float, "largest norm of the gradient (1)"),
        ("patience", int, "stop after so many epochs without improvement; 0 never (0)"),
        ("subset", int, "first N training molecules, N // 10 of the other splits (all)"),
        ("devices", int, "devices, or CPU processes (1)"),
        ("threads", int, "CPU threads of a run (1)"),
        ("workers", int, "processes that collate batches (0)"),
    ]
    for name, kind, text in numbers:
        parser.add_argument(f"--{name}", type=kind, help=text, metavar="N" if kind is int else "X")
    parser.add_argument("--model", choices=("transformer", "gine", "gps"), help="backbone (transformer)")
    parser.add_argument("--norm", choices=("batch", "layer"), help="normalisation (batch)")
    parser.add_argument("--readout", choices=("sum", "mean"), help="pooling of the nodes (sum)")
    parser.add_argument("--accelerator", metavar="NAME", help="Lightning accelerator: auto, cpu, gpu ... (auto)")
    parser.add_argument("--strategy", metavar="NAME", help="Lightning strategy: auto, ddp ... (auto)")
    parser.add_argument("--root", metavar="DIR", help="folder of cached data sets (~/.cache/graphtf)")


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    from graphtf.train.config import TrainConfig

    values = {f.name: getattr(arguments, f.name, None) for f in fields(TrainConfig)}
    return {name: value for name, value in values.items() if value is not None}


def _train(arguments: argparse.Namespace) -> None:
    from graphtf.train import TrainConfig, train

    given = _given(arguments)
    path = arguments.config
    if path is None and arguments.resume and "out" in given and (Path(given["out"]) / "config.yaml").is_file():
        path = str(Path(given["out"]) / "config.yaml")
    if path is None:
        config = TrainConfig(**given)
    else:
        config = TrainConfig.load(path)
        if given.get("pe", config.pe) != config.pe:
            given.setdefault("pe_dim", None)
            config = replace(config, pe_dim=None)
        config = replace(config, **given)
    if "out" not in given:
        own = arguments.resume and path is not None
        config = replace(config, out=str(Path(path).parent) if own else f"runs/{config.pe}-seed{config.seed}")
    metrics = train(config, arguments.resume)
    if metrics:
        print(json.dumps(metrics, indent=2))


def _compare(arguments: argparse.Namespace) -> None:
    from graphtf.train import TrainConfig, compare
    from graphtf.train.compare import table

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that the runs, which are processes of their own, end with this one
    encodings, seeds = arguments.pe, arguments.seeds
    arguments.pe = None
    config = TrainConfig(**_given(arguments))
    print(
        f"graphtf: training with {', '.join(encodings)} for {config.epochs} epochs each, seeds "
        f"{', '.join(map(str, seeds))}, {arguments.jobs} at a time, on {config.data} data; runs in {config.out}",
        flush=True,
    )
    rows = compare(config, encodings, seeds, arguments.jobs)
    print(f"\n{table(rows)}\n\nruns, comparison.json and comparison.png: {config.out}")


def _learn(arguments: argparse.Namespace) -> None:
    from graphtf.learn import LearnConfig, learn
    from graphtf.learn.report import table
    from graphtf.learn.run import PRESETS

    preset = PRESETS[arguments.preset]
    steps = preset["steps"]
    given = {"models": arguments.models and tuple(arguments.models), "graphs": arguments.graphs}
    config = LearnConfig(
        task=arguments.task,
        layers=arguments.layers,
        seeds=arguments.seeds,
        steps=steps if arguments.steps is None else dict.fromkeys(steps, arguments.steps),
        test_graphs=preset["test_graphs"],
        **{"graphs": preset["graphs"], **{name: value for name, value in given.items() if value is not None}},
    )
    out = arguments.out or f"runs/learn-{config.task}-{arguments.preset}"
    shown = arguments.progress == "bar" or (arguments.progress == "auto" and sys.stderr.isatty())
    metrics = learn(config, out, progress=shown)
    print(f"{table(metrics)}\n\ncheckpoints, metrics.json, table.md and learn.png: {out}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from graphtf.train import evaluate

    result = evaluate(arguments.checkpoint, arguments.data, arguments.split, arguments.root, arguments.subset)
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"MAE {result['mae']!r} over {result['num_graphs']} molecules, {result['split']} split of {result['data']}"
        )


def _predict(arguments: argparse.Namespace) -> None:
    from graphtf.files import write_atomically
    from graphtf.train.predict import predict, read_molecules

    output = arguments.output
    if output != "-" and (Path(output).is_dir() or not Path(output).parent.is_dir()):
        raise ValueError(f"the output must be a file in an existing folder, but got {output}")
    molecules = read_molecules(arguments.input, arguments.smiles_column)
    rows = predict(arguments.checkpoint, molecules, arguments.on_error, progress=sys.stderr.isatty())

    def write(file: Any) -> None:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["smiles", "prediction"])
        writer.writerows((row.smiles, "" if row.value is None else repr(row.value)) for row in rows)

    def write_file(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            write(file)

    if output == "-":
        write(sys.stdout)
    else:
        write_atomically(output, write_file)
    for molecule, row in zip(molecules, rows, strict=True):
        if row.reason:
            print(f"graphtf: {molecule.place} skipped: {row.reason}", file=sys.stderr)
