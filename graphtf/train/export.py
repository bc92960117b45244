"""The trained model of a run as a pair of files: weights and what they are."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

from graphtf import __version__
from graphtf.nn import LinearTransformerPE
from graphtf.train.config import WHERE, TrainConfig
from graphtf.train.evaluate import load_checkpoint
from graphtf.weights import Weights
from graphtf.weights.named import FORMAT


def export_weights(run: str | Path, name: str, out: str | Path) -> Path:
    """Write `NAME.safetensors` and `NAME.json` from the best checkpoint of a finished run.

    Args:
        run: a run folder.
        name: letters, digits, dots, dashes and underscores.
        out: the folder to write to.

    Returns:
        The path of the safetensors file; :func:`graphtf.weights.load` takes it.

    Raises:
        ValueError: the name is no plain one, or the folder holds no finished run.
        ImportError: safetensors is not installed.
    """
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"name must be letters, digits, dots, dashes and underscores, but got {name!r}")
    run = Path(run)
    metrics = run / "metrics.json"
    if not metrics.is_file():
        raise ValueError(f"{run} holds no finished run (no metrics.json); finish it with graphtf train --resume")
    config = TrainConfig.load(run / "config.yaml")
    module = load_checkpoint(run / "best.ckpt")
    encoders = [(key, m) for key, m in module.named_modules() if isinstance(m, LinearTransformerPE)]
    found = [{"prefix": f"{key}.", "config": encoder.config.to_dict()} for key, encoder in encoders]
    info = {
        "format": FORMAT,
        "graphtf": __version__,
        "metrics": json.loads(metrics.read_text(encoding="utf-8")),
        "command": train_command(config),
        "encoder": found[0] if found else None,
        "model": dict(module.hparams) | {"data": public_name(config.data)},
    }
    file = Path(out) / f"{name}.safetensors"
    Weights(module.state_dict(), info).save(file)
    return file


def public_name(data: str) -> str:
    """The data without the path to it.

    Example:
        >>> public_name("zinc"), public_name("qm9:gap"), public_name("/home/me/molecules")
        ('zinc', 'qm9:gap', 'molecules')
    """
    return Path(data).name


def train_command(config: TrainConfig) -> str:
    """The command line of a run, without what says where it ran.

    Example:
        >>> train_command(TrainConfig(data="/home/me/molecules", pe="laplacian", epochs=5))
        'graphtf train --data molecules --pe laplacian --epochs 5'
        >>> train_command(TrainConfig(pe="conductances", model="gps", attention_bias=True))
        'graphtf train --data embedded --pe conductances --model gps --attention-bias'
    """
    words = ["graphtf", "train", "--data", public_name(config.data)]
    plain = TrainConfig(pe=config.pe)
    for field in fields(TrainConfig):
        value = getattr(config, field.name)
        if field.name in ("pe", "seed") or (value != getattr(plain, field.name) and field.name not in (*WHERE, "data")):
            option = f"--{field.name.replace('_', '-')}"
            words += [option] if value is True else [option, str(value)]
    if not config.seed:
        del words[words.index("--seed") : words.index("--seed") + 2]
    return shlex.join(words)
