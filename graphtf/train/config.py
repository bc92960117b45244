"""The options of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from graphtf.models import BACKBONES
from graphtf.models.base import READOUTS
from graphtf.models.norms import NORMS
from graphtf.train.encoding_options import ENCODINGS as ENCODINGS
from graphtf.train.encoding_options import check_encoding, has_layers, has_pairs
from graphtf.train.optimizer import OPTIMIZERS
from graphtf.train.regressor import PRECISIONS
from graphtf.validate import check_choice, check_dropout, check_positive_int

WHERE = ("out", "root", "accelerator", "strategy", "threads", "workers", "progress")
"""Options that say where and how a run is computed, not what: they may change when it is resumed."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and where; written to `config.yaml` of the run folder.

    Args:
        data: `"embedded"` (the molecules that come with graphtf), `"zinc"` (the official ZINC-12k), `"ogbg-mol..."`,
            `"qm9:TARGET"`, or a directory with `train`, `val` and perhaps `test` as `.csv` or `.csv.gz`, columns
            `smiles` and `y` (`"DIR:COLUMN"` for another than `y`).
        pe: positional encoding, one of `none`, `laplacian` (eigenvectors), `signnet` (a sign-invariant network on
            them), `random-walk`, `path-flow` (learned shortest paths), `release` (the paper's, pre-trained to
            eigenvectors), `linear-transformer` or `conductances` (a linear transformer with four heads of learned
            conductances, and leverages); perhaps with options, as `conductances:heads=1,pair=false`, see
            :mod:`graphtf.train.encoding_options`.
        pe_dim: its number of columns; `None` means 8 eigenvectors or stages of flows, 6 slots of the release, 16 steps
            or layers.
        pe_lr_scale: factor on the learning rate of the weights of a linear transformer's layers.
        epochs, batch_size: budget.
        model: backbone, `transformer`, `gine` or `gps`.
        layers, channels, heads, dropout, norm, readout: see :class:`graphtf.models.GraphTransformer`.
        attention_dropout: dropout of the weights of attention, with `model="gps"`.
        attention_bias: let an encoding of all pairs of nodes bias the attention, see :class:`graphtf.models.GPS`; with
            `model="gps"` and an encoding by a linear transformer that keeps its pairs.
        optimizer: `"adamw"`, or `"muon"`: Muon for the matrices between hidden layers, AdamW for the rest.
        lr, weight_decay, clip: of a one-cycle schedule whose peak is `lr`; `clip` bounds the gradient's norm.
        precision: `"32-true"`, or `"bf16-mixed"`: products of matrices in training are of type bfloat16, all else is of
            single precision, evaluation too.
        patience: stop after so many epochs without a better validation MAE; 0 never stops early.
        seed: of weights, order of the molecules, dropout and random signs.
        subset: use the first `subset` training molecules and a tenth as many (at least one) of the other splits.
        out: run folder.
        root: folder of cached data sets; `None` means `graphtf` in the user's cache directory.
        accelerator, devices, strategy: as in Lightning's `Trainer`, for example `"cpu"`, 2, `"ddp"`.
        threads: CPU threads of torch. Tensors here are small: one is as fast as two, and leaves a core for another run.
        workers: processes that collate batches.
        progress: `"bar"`, `"lines"` (one an epoch), `"none"` or `"auto"` (a bar on a terminal).

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of its range.

    Example:
        >>> TrainConfig(pe="laplacian").pe_dim
        8
        >>> TrainConfig(pe="conductances:pair=false,heads=4").pe
        'conductances:pair=false'
    """

    data: str = "embedded"
    pe: str = "linear-transformer"
    pe_dim: int | None = None
    pe_lr_scale: float = 1.0
    epochs: int = 30
    batch_size: int = 128
    model: str = "transformer"
    layers: int = 4
    channels: int = 64
    heads: int = 8
    dropout: float = 0.0
    attention_dropout: float = 0.0
    norm: str = "batch"
    readout: str = "sum"
    attention_bias: bool = False
    optimizer: str = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-5
    clip: float = 1.0
    precision: str = "32-true"
    patience: int = 0
    seed: int = 0
    subset: int | None = None
    out: str = "runs/train"
    root: str | None = None
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    threads: int = 1
    workers: int = 0
    progress: str = "auto"

    def __post_init__(self) -> None:
        for name in ("data", "out", "accelerator", "strategy", "root"):
            value = getattr(self, name)
            if not isinstance(value, str) and (name != "root" or value is not None):
                raise TypeError(f"{name} must be a str, but got {value!r} ({type(value).__name__})")
        for name in ("epochs", "batch_size", "layers", "channels", "heads", "devices", "threads"):
            check_positive_int(name, getattr(self, name))
        for name in ("patience", "seed", "workers"):
            check_positive_int(name, getattr(self, name), minimum=0)
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, but got {self.seed}")
        if self.subset is not None:
            check_positive_int("subset", self.subset)
        check_choice("model", self.model, tuple(BACKBONES))
        pe, dim = check_encoding(self.pe, self.pe_dim)
        object.__setattr__(self, "pe", pe)
        object.__setattr__(self, "pe_dim", dim)
        check_choice("norm", self.norm, tuple(NORMS))
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("readout", self.readout, READOUTS)
        check_choice("progress", self.progress, ("auto", "bar", "lines", "none"))
        if self.channels % self.heads:
            raise ValueError(f"heads must divide channels, but got channels={self.channels} and heads={self.heads}")
        if any(word in self.strategy for word in ("spawn", "fork", "notebook")):
            raise ValueError(
                f"strategy={self.strategy!r} trains in processes whose results are lost; use 'ddp', which starts the "
                "command again for every device"
            )
        for name in ("lr", "clip", "pe_lr_scale"):
            _check_number(name, getattr(self, name), above_zero=True)
        _check_number("weight_decay", self.weight_decay, above_zero=False)
        for name in ("dropout", "attention_dropout"):
            check_dropout(name, getattr(self, name))
        if self.attention_dropout and self.model != "gps":
            raise ValueError(
                f"attention_dropout={self.attention_dropout} needs attention over all pairs of nodes, but "
                f"model={self.model!r} has none; use model='gps'"
            )
        if self.pe_lr_scale != 1 and not has_layers(pe):
            raise ValueError(f"pe={pe!r} has no layers whose learning rate pe_lr_scale={self.pe_lr_scale} could scale")

        self._check_attention_bias()

    def _check_attention_bias(self) -> None:
        if not isinstance(self.attention_bias, bool):
            got = f"{self.attention_bias!r} ({type(self.attention_bias).__name__})"
            raise TypeError(f"attention_bias must be True or False, but got {got}")
        if self.attention_bias and self.model != "gps":
            raise ValueError(
                f"attention_bias=True needs attention over all pairs of nodes, but model={self.model!r} has none; use "
                "model='gps'"
            )
        if self.attention_bias and not has_pairs(self.pe):
            raise ValueError(
                f"attention_bias=True needs an encoding of all pairs of nodes, but pe={self.pe!r} has none; use "
                "'conductances', 'linear-transformer' or 'release', without pair=false"
            )

    def to_dict(self) -> dict[str, Any]:
        """All options as a plain dictionary."""
        return asdict(self)

    @classmethod
    def load(cls, path: str | Path) -> TrainConfig:
        """Read a `config.yaml`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds something else.
        """
        import yaml

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no configuration {path}; give the config.yaml of a run")
        text = Path(path).read_text(encoding="utf-8")
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
        known = {f.name for f in fields(cls)}
        if not isinstance(content, dict) or set(content) - known:
            unknown = f", it has {sorted(set(content) - known)}" if isinstance(content, dict) else ""
            raise ValueError(f"{path} is no configuration of a run of this version of graphtf{unknown}")
        return cls(**content)

    def differences(self, other: TrainConfig) -> list[str]:
        """Options that differ from those of `other` in what is computed, as `name: this, other`."""
        return [
            f"{f.name}: {getattr(self, f.name)!r}, {getattr(other, f.name)!r}"
            for f in fields(self)
            if f.name not in WHERE and getattr(self, f.name) != getattr(other, f.name)
        ]


def _check_number(name: str, value: Any, above_zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, but got {value!r} ({type(value).__name__})")
    if not (0 < value < float("inf") if above_zero else 0 <= value < float("inf")):
        raise ValueError(f"{name} must be {'positive' if above_zero else 'at least 0'} and finite, but got {value}")
