"""The options of the command line."""

from __future__ import annotations

import argparse

from graphtf import __version__
from graphtf.configs import recipe_names

PES = ("none", "laplacian", "signnet", "random-walk", "path-flow", "release", "linear-transformer", "conductances")
COMPARED = ("none", "laplacian", "random-walk", "linear-transformer", "conductances")
GRAPH_TASKS = ("electric", "resistive", "heat", "eigenvectors")
PROMPT_TASKS = (
    "regression",
    "memformer",
    "functional",
    "sparse",
    "dynamics",
    "dynamics-covariates",
    "shortest-path",
    "min-cost-flow",
)
DATA_HELP = (
    "embedded, zinc, ogbg-mol..., qm9:TARGET, or a directory with train/val[/test].csv[.gz] (columns smiles,y; "
    "DIR:COLUMN for another than y)"
)
PE_HELP = f"{', '.join(PES)}; with options as in conductances:heads=1,pair=false"


def build_parser() -> argparse.ArgumentParser:
    """The parser; `arguments.verb` is the verb, or `None`, and `arguments.again` what to say after an interruption."""
    parser = argparse.ArgumentParser(
        prog="graphtf", description="Linear transformers as positional encodings: train and use molecular models."
    )
    parser.add_argument("--version", action="version", version=f"graphtf {__version__}")
    parser.set_defaults(verb=None, again="")
    verbs = parser.add_subparsers(metavar="train|compare|evaluate|predict|export|learn", dest="verb")
    _add_train(verbs.add_parser("train", help="train one model", description="Train one model; writes a run folder."))
    _add_compare(
        verbs.add_parser(
            "compare",
            help="train with several encodings at equal budget",
            description="Train the same model with several encodings and tabulate those of this call. The same call "
            "again goes on where it was stopped.",
        )
    )
    evaluate = verbs.add_parser(
        "evaluate",
        help="error of a checkpoint or of weights on a split",
        description="Metric of a checkpoint or of weights on one split; the same number every time.",
    )
    _add_model(evaluate)
    evaluate.add_argument(
        "--data",
        metavar="DATA",
        help=f"{DATA_HELP} (what it was trained on, if that is at hand; --weights zinc12k need DIR or zinc)",
    )
    evaluate.add_argument("--split", choices=("train", "val", "test"), default="val", help="split (val)")
    evaluate.add_argument("--subset", type=int, metavar="N", help="only the first N molecules")
    evaluate.add_argument("--root", metavar="DIR", help="folder of cached data sets (~/.cache/graphtf)")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    predict = verbs.add_parser(
        "predict",
        help="predict for SMILES, as CSV",
        description="Predict the target of molecules: echo CCO | graphtf predict --checkpoint runs/x/best.ckpt",
    )
    _add_model(predict)
    predict.add_argument("--input", default="-", metavar="FILE", help=".csv[.gz], or one SMILES a line; - is stdin (-)")
    predict.add_argument("--smiles-column", metavar="NAME", help="the input is a CSV with this column (smiles)")
    predict.add_argument("--output", default="-", metavar="FILE", help="CSV to write; - is stdout (-)")
    predict.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="unreadable molecules; skip leaves their predictions empty (raise)",
    )
    export = verbs.add_parser(
        "export",
        help="write the weights of a run as safetensors",
        description="Write NAME.safetensors and NAME.json from the best checkpoint of a finished run.",
    )
    export.add_argument("--run", required=True, metavar="DIR", help="run folder")
    export.add_argument("--name", required=True, metavar="NAME", help="name of the weights")
    export.add_argument("--out", default=".", metavar="DIR", help="folder to write to (.)")
    _add_learn(
        verbs.add_parser(
            "learn",
            help="train transformers from random weights on a graph algorithm",
            description="Train transformers from random weights on random graphs or prompts, and compare their losses "
            "with constructed weights, exact answers and published values. The same call again goes on where it was "
            "stopped.",
        )
    )
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("--config", metavar="FILE", help="config.yaml of a run; other options override it")
    train.add_argument(
        "--pe", type=_encoding, metavar="PE", help=f"positional encoding (linear-transformer): {PE_HELP}"
    )
    train.add_argument("--pe-options", metavar="X=Y,...", help="options added to those of --pe: heads=1,leverage=false")
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
    train.set_defaults(again="; the same command with --resume goes on")


def _add_compare(compare: argparse.ArgumentParser) -> None:
    compare.add_argument(
        "--pe",
        type=_encoding,
        nargs="+",
        default=list(COMPARED),
        metavar="PE",
        help=f"encodings ({' '.join(COMPARED)}): {PE_HELP}",
    )
    compare.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="seeds (0)")
    compare.add_argument("--out", metavar="DIR", default="runs/compare", help="folder of the runs (runs/compare)")
    compare.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (1)")
    _add_budget(compare)
    compare.set_defaults(again="; the same command goes on")


def _add_learn(learn: argparse.ArgumentParser) -> None:
    learn.add_argument(
        "--task",
        required=True,
        choices=(*GRAPH_TASKS, *PROMPT_TASKS),
        help="what is learned: an algorithm on graphs, or one in context, on prompts",
    )
    learn.add_argument("--layers", type=_integers, metavar="N,N,...", help="depths, of graph tasks (1,3,5,7,9)")
    learn.add_argument(
        "--preset", choices=("quick", "full"), default="quick", help="quick takes minutes, full longer (quick)"
    )
    learn.add_argument(
        "--models", nargs="+", choices=("structured", "literal"), help="which transformers, of graph tasks (both)"
    )
    learn.add_argument("--seeds", type=_integers, default=(0, 1, 2), metavar="N,N,...", help="seeds (0,1,2)")
    learn.add_argument("--steps", type=int, metavar="N", help="training steps of a model (as in the preset)")
    learn.add_argument("--graphs", type=int, metavar="N", help="graphs a step and seed, of graph tasks (preset)")
    learn.add_argument("--out", metavar="DIR", help="folder (runs/learn-TASK-PRESET)")
    learn.add_argument(
        "--progress", choices=("auto", "bar", "none"), default="auto", help="how to show progress (auto)"
    )
    learn.set_defaults(again="; the same command goes on")


def _add_model(parser: argparse.ArgumentParser) -> None:
    """The trained model that a verb works with."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--checkpoint", metavar="FILE", help="best.ckpt of a run folder")
    model.add_argument("--weights", metavar="NAME", help="weights that come with graphtf, or a .safetensors file")


def _add_budget(parser: argparse.ArgumentParser) -> None:
    """Options that `train` and `compare` share; unset ones are left to :class:`graphtf.train.TrainConfig`."""
    recipes = ", ".join(recipe_names())
    parser.add_argument(
        "--recipe", metavar="NAME", help=f"options by name, which others override: {recipes}; list describes them"
    )
    parser.add_argument("--data", metavar="DATA", help=f"{DATA_HELP} (embedded)")
    numbers: list[tuple[str, type, str]] = [
        ("epochs", int, "epochs (30)"),
        ("batch-size", int, "molecules a batch (128)"),
        ("layers", int, "layers (4)"),
        ("channels", int, "width (64)"),
        ("heads", int, "attention heads (8); gine has none"),
        ("dropout", float, "dropout (0)"),
        ("attention-dropout", float, "dropout of the attention weights of gps (0)"),
        ("lr", float, "peak learning rate (0.002)"),
        ("pe-lr-scale", float, "factor on it for the layers of a linear transformer as encoding (1)"),
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
    parser.add_argument(
        "--optimizer", choices=("adamw", "muon"), help="muon: for the matrices, with adamw for the rest (adamw)"
    )
    parser.add_argument(
        "--precision",
        choices=("32-true", "bf16-mixed"),
        help="bf16-mixed: train with products of matrices in bfloat16, faster where the processor knows it (32-true)",
    )
    parser.add_argument("--readout", choices=("sum", "mean"), help="pooling of the nodes (sum)")
    parser.add_argument(
        "--attention-bias",
        action=argparse.BooleanOptionalAction,
        help="let a linear transformer's encoding of all pairs of nodes bias the attention of gps; compare does where "
        "the encoding has pairs (no)",
    )
    parser.add_argument("--accelerator", metavar="NAME", help="Lightning accelerator: auto, cpu, gpu ... (auto)")
    parser.add_argument("--strategy", metavar="NAME", help="Lightning strategy: auto, ddp ... (auto)")
    parser.add_argument("--root", metavar="DIR", help="folder of cached data sets (~/.cache/graphtf)")


def _encoding(text: str) -> str:
    # What follows the colon is checked where torch is loaded.
    name = text.partition(":")[0]
    if name not in PES:
        raise argparse.ArgumentTypeError(f"invalid choice: {name!r} (choose from {', '.join(PES)})")
    return text


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected integers with commas between, such as 1,3,5, but got {text!r}"
        ) from None
