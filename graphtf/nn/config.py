"""Configuration of a linear-transformer positional encoding, shared by the transform and the module."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from graphtf.validate import check_choice, check_positive_int

INITS = ("basis", "slots")
STARTS = {
    "basis": ("random-walk", "electric", "eigenvectors", "random"),
    "slots": ("release", "eigenvectors", "electric", "random-walk", "random"),
}
NORMALIZATIONS = ("sym", "spectral")
DEPTHS = {"release": (3, 3), "eigenvectors": (1, 64), "electric": (16, 1), "random-walk": (16, 1), "random": (4, 1)}


@dataclass(frozen=True)
class LinearTransformerPEConfig:
    """What a :class:`graphtf.nn.LinearTransformerPE` is; also what the transform is made of.

    Args:
        k: number of columns of the encoding.
        init: `"basis"`: the registers start at the identity of each graph, column `l` of the encoding is the diagonal
            after layer `l`; exactly permutation equivariant. `"slots"`: they start at a table of random vectors, a row
            for every node; permutation equivariant in distribution only.
        start: what the weights compute at first. Basis: `"random-walk"` (default), `"electric"`, `"eigenvectors"`
            (powers of `I - L / 2`) or `"random"`. Slots: `"release"` (default: random weights in the architecture of
            the paper's release), `"eigenvectors"`, `"electric"`, `"random-walk"` or `"random"`.
        num_layers: layers of the stack. Basis: always `k`. Slots: 3 (release), 1 (eigenvectors), 16 or 4 (random).
        num_loops: how often the stack is applied, with shared weights. Basis: always 1. Slots: 3 (release),
            64 (eigenvectors) or 1.
        channels: slots only: columns of the registers; 8 for `"release"` and `"random"`, `k` (`k + 1` with the trivial
            vector) for the constructions.
        num_slots: slots only: rows of the table, at least the size of the largest graph.
        normalization: `"sym"`: :math:`D^{-1/2} B`; `"spectral"`: `B` over the root of twice the largest degree.
        seed: of random weights, of the table and of its order at evaluation.
        heads: basis only: number of networks on the edges, each with its own layers; columns are those of all heads.
        leverage: basis only: the edge encoding also has the leverage `w_e R_e` of the edge in every head.
        node_types, edge_types: basis only: learn the conductances of every head from categorical features `x` and
            `edge_attr` with so many values (one number for every column).
        node_dim, edge_dim: the same for continuous features of these widths.
        hidden: width of the network that learns them.

    Raises:
        TypeError: an integer option is something else.
        ValueError: an option has a value that does not exist or does not fit the others.

    Example:
        >>> LinearTransformerPEConfig(k=4).num_layers
        4
        >>> LinearTransformerPEConfig(k=6, init="slots").start
        'release'
    """

    k: int = 16
    init: str = "basis"
    start: str | None = None
    num_layers: int | None = None
    num_loops: int | None = None
    channels: int | None = None
    num_slots: int = 64
    normalization: str = "sym"
    seed: int = 0
    heads: int = 1
    leverage: bool = False
    node_types: int | tuple[int, ...] | None = None
    edge_types: int | tuple[int, ...] | None = None
    node_dim: int = 0
    edge_dim: int = 0
    hidden: int = 32

    def __post_init__(self) -> None:
        check_positive_int("k", self.k)
        check_choice("init", self.init, INITS)
        start = STARTS[self.init][0] if self.start is None else self.start
        check_choice(f"start (for init={self.init!r})", start, STARTS[self.init])
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_positive_int("num_slots", self.num_slots)
        check_positive_int("seed", self.seed, minimum=0)
        self._check_heads()
        if self.init == "basis":
            layers, loops, channels = self.k, 1, None
            for name, given, only in [("num_layers", self.num_layers, layers), ("num_loops", self.num_loops, loops)]:
                if given not in (None, only):
                    raise ValueError(f"init='basis' has one column a layer, so {name} must be {only}, but got {given}")
            if self.channels is not None:
                raise ValueError(
                    f"channels is an option of init='slots', but init='basis' got channels={self.channels}"
                )
        else:
            layers, loops = DEPTHS[start]
            fixed = {"eigenvectors": self.k + 1, "electric": self.k, "random-walk": self.k}.get(start)
            layers = layers if self.num_layers is None else self.num_layers
            loops = loops if self.num_loops is None else self.num_loops
            channels = self.channels if self.channels is not None else (fixed or 8)
            for name, value in [("num_layers", layers), ("num_loops", loops), ("channels", channels)]:
                check_positive_int(name, value)
            if fixed not in (None, channels):
                raise ValueError(f"start={start!r} with k={self.k} needs channels={fixed}, but got {channels}")
        resolved = {"start": start, "num_layers": layers, "num_loops": loops, "channels": channels}
        for name, filled in resolved.items():
            object.__setattr__(self, name, filled)

    @property
    def learned_conductances(self) -> bool:
        """Whether features of edges or nodes decide the conductances."""
        return self.node_types is not None or self.edge_types is not None or self.node_dim > 0 or self.edge_dim > 0

    def _check_heads(self) -> None:
        for name in ("heads", "hidden"):
            check_positive_int(name, getattr(self, name))
        for name in ("node_dim", "edge_dim"):
            check_positive_int(name, getattr(self, name), minimum=0)
        if not isinstance(self.leverage, bool):
            raise TypeError(f"leverage must be True or False, but got {self.leverage!r}")
        for name in ("node_types", "edge_types"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            if value is not None and self.__dict__[name.replace("types", "dim")]:
                raise ValueError(f"{name} says categories and {name.replace('types', 'dim')} a width; give one of them")
        if self.heads == 1 and not self.leverage and not self.learned_conductances:
            return
        if self.init != "basis" or self.normalization != "sym":
            raise ValueError(
                "heads, leverage and learned conductances need init='basis' and normalization='sym', but got "
                f"init={self.init!r}, normalization={self.normalization!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """All options as a plain dictionary."""
        return asdict(self)
