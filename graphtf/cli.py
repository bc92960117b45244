"""The command line: `graphtf train`, `compare`, `evaluate`, `predict`, `export`, `learn`."""

from __future__ import annotations

import argparse
import csv
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from graphtf.cli_parser import PROMPT_TASKS, build_parser
from graphtf.configs import load_recipe, recipe_names


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments; `None` means those of the process.

    Returns:
        The exit status: 0, 2 for wrong input, 130 after an interruption.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.verb is None:
        parser.print_help()
        return 2
    try:
        VERBS[arguments.verb](arguments)
    except KeyboardInterrupt:
        print(f"graphtf: interrupted{arguments.again}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, ImportError, OSError, RuntimeError) as error:
        print(f"graphtf: {error}", file=sys.stderr)
        return 2
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    from graphtf.train.config import TrainConfig

    values = {f.name: getattr(arguments, f.name, None) for f in fields(TrainConfig)}
    return {name: value for name, value in values.items() if value is not None}


def _config(base: dict[str, Any], given: dict[str, Any], pe_options: str | None = None) -> Any:
    """A configuration from the options of a recipe or a file, and those of the command line, which override them."""
    from graphtf.train.config import TrainConfig
    from graphtf.train.encoding_options import format_encoding, has_layers, has_pairs, parse_encoding, parse_options

    options = base | given
    before = TrainConfig(**base).pe
    name, own = parse_encoding(options.get("pe", before))
    if pe_options is not None:
        own |= parse_options(name, pe_options)
    options["pe"] = format_encoding(name, own)
    if name != parse_encoding(before)[0]:
        options["pe_dim"] = given.get("pe_dim")
        if not has_layers(name):
            options["pe_lr_scale"] = given.get("pe_lr_scale", 1.0)
    attends = options.get("model") == "gps"
    if not attends:
        options["attention_dropout"] = given.get("attention_dropout", 0.0)
    if not attends or not has_pairs(options["pe"]):
        options["attention_bias"] = given.get("attention_bias", False)
    return TrainConfig(**options)


def _recipe(name: str | None) -> dict[str, Any]:
    return {} if name is None else load_recipe(name).options


def _list_recipes() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        options = ", ".join(f"{key}={value}" for key, value in recipe.options.items())
        print(f"{name}: {recipe.description}\n    {options}")


def _train(arguments: argparse.Namespace) -> None:
    if arguments.recipe == "list":
        return _list_recipes()
    from graphtf.train import TrainConfig, train

    given = _given(arguments)
    path, recipe = arguments.config, arguments.recipe
    if path is not None and recipe is not None:
        raise ValueError(f"give either --config or --recipe, but got {path} and {recipe}")
    own = arguments.resume and "out" in given and (Path(given["out"]) / "config.yaml").is_file()
    if path is None and recipe is None and own:
        path = str(Path(given["out"]) / "config.yaml")
    base = _recipe(recipe) if path is None else TrainConfig.load(path).to_dict()
    config = _config(base, given, arguments.pe_options)
    if "out" not in given:
        start = "" if recipe is None else f"{recipe}-"
        out = f"runs/{start}{config.pe.replace(':', '-')}-seed{config.seed}"
        config = replace(config, out=str(Path(path).parent) if arguments.resume and path is not None else out)
    metrics = train(config, arguments.resume)
    if metrics:
        print(json.dumps(metrics, indent=2))


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.recipe == "list":
        return _list_recipes()
    from graphtf.train import compare
    from graphtf.train.compare import table

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # so that the runs, which are processes of their own, end with this one
    encodings, seeds = arguments.pe, arguments.seeds
    arguments.pe = None
    base = {name: value for name, value in _recipe(arguments.recipe).items() if name not in ("pe", "pe_dim")}
    config = _config(base, _given(arguments))
    print(
        f"graphtf: training with {', '.join(encodings)} for {config.epochs} epochs each on {config.data} data; seeds: "
        f"{', '.join(map(str, seeds))}; {arguments.jobs} {'run' if arguments.jobs == 1 else 'runs'} at a time, in "
        f"{config.out}",
        flush=True,
    )
    rows = compare(config, encodings, seeds, arguments.jobs)
    print(f"\n{table(rows)}\n\nruns, comparison.json and comparison.png: {config.out}")


def _learn(arguments: argparse.Namespace) -> None:
    out = arguments.out or f"runs/learn-{arguments.task}-{arguments.preset}"
    shown = arguments.progress == "bar" or (arguments.progress == "auto" and sys.stderr.isatty())
    made = "checkpoints, metrics.json, table.md and learn.png"
    if arguments.task in PROMPT_TASKS:
        others = [f"--{name}" for name in ("layers", "models", "graphs") if getattr(arguments, name) is not None]
        if others:
            raise ValueError(f"{', '.join(others)} belong to tasks on graphs, not to --task {arguments.task}")
        from graphtf.learn import incontext_run

        found = incontext_run.learn_in_context(
            arguments.task, out, arguments.preset, arguments.seeds, arguments.steps, shown
        )
        print(f"{incontext_run.table(found)}\n\n{made}: {out}")
        return
    from graphtf.learn import LearnConfig, learn
    from graphtf.learn.report import table
    from graphtf.learn.run import PRESETS

    preset = PRESETS[arguments.preset]
    steps = preset["steps"]
    given = {"models": arguments.models and tuple(arguments.models), "graphs": arguments.graphs}
    config = LearnConfig(
        task=arguments.task,
        layers=arguments.layers or (1, 3, 5, 7, 9),
        seeds=arguments.seeds,
        steps=steps if arguments.steps is None else dict.fromkeys(steps, arguments.steps),
        test_graphs=preset["test_graphs"],
        **{"graphs": preset["graphs"], **{name: value for name, value in given.items() if value is not None}},
    )
    metrics = learn(config, out, progress=shown)
    print(f"{table(metrics)}\n\n{made}: {out}")


def _model(arguments: argparse.Namespace) -> str | Path:
    """The file with the trained model."""
    from graphtf.weights import path

    return str(arguments.checkpoint) if arguments.weights is None else path(arguments.weights)


def _evaluate(arguments: argparse.Namespace) -> None:
    from graphtf.train import evaluate
    from graphtf.train.task import METRICS, metric_label

    result = evaluate(_model(arguments), arguments.data, arguments.split, arguments.root, arguments.subset)
    if arguments.json:
        print(json.dumps(result))
    else:
        metric = next(name for name in METRICS if name in result)
        print(
            f"{metric_label(metric)} {result[metric]!r} over {result['num_graphs']} molecules, {result['split']} split "
            f"of {result['data']}"
        )


def _export(arguments: argparse.Namespace) -> None:
    from graphtf.train.export import export_weights

    print(export_weights(arguments.run, arguments.name, arguments.out))


def _predict(arguments: argparse.Namespace) -> None:
    from graphtf.files import write_atomically
    from graphtf.train.predict import predict, read_molecules

    output = arguments.output
    if output != "-" and (Path(output).is_dir() or not Path(output).parent.is_dir()):
        raise ValueError(f"the output must be a file in an existing folder, but got {output}")
    molecules = read_molecules(arguments.input, arguments.smiles_column)
    rows = predict(_model(arguments), molecules, arguments.on_error, progress=sys.stderr.isatty())

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


VERBS: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "compare": _compare,
    "evaluate": _evaluate,
    "predict": _predict,
    "export": _export,
    "learn": _learn,
}
