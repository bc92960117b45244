"""Configuration of a linear-transformer positional encoding, shared by the transform and the module."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from graphtf.validate import check_choice, check_positive_int

INITS = ("basis", "slots", "random")
_POLYNOMIALS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
STARTS = {
    "basis": _POLYNOMIALS,
    "slots": ("release", "eigenvectors", "electric", "resistive", "heat", "random-walk", "random"),
    "random": _POLYNOMIALS,
}
NORMALIZATIONS = ("sym", "spectral")
DEPTHS = {"release": (3, 3), "eigenvectors": (1, 64), "random": (4, 1)}  # else 16 layers, once
CENTERED = ("electric", "resistive")


@dataclass(frozen=True)
class LinearTransformerPEConfig:
    """What a :class:`graphtf.nn.LinearTransformerPE` is; also what the transform is made of.

    Args:
        k: number of columns of the encoding.
        init: `"basis"`: the registers start at the identity of each graph, column `l` of the encoding is the diagonal
            after layer `l`; exactly permutation equivariant. `"random"`: they start at `num_probes` columns of random
            numbers, from which the same diagonal is estimated at linear cost, for large graphs. `"slots"`: they start
            at a table of random vectors, a row for every node. The last two are equivariant in distribution only.
        start: what the weights compute at first. Basis and random: `"random-walk"` (default), `"electric"`,
            `"resistive"`, `"heat"` (column `l`: time `l / 2`), `"eigenvectors"` (powers of `I - L / 2`) or `"random"`.
            Slots: `"release"` (default: random weights in the architecture of the paper's release), `"eigenvectors"`,
            `"electric"`, `"resistive"`, `"heat"` (half as many units of time as layers), `"random-walk"` or `"random"`.
        num_layers: layers of the stack. Basis and random: `k`. Slots: 3 (release), 1 (eigenvectors), 4 (random) or 16.
        num_loops: how often the stack is applied. Basis and random: 1. Slots: 3 (release), 64 (eigenvectors) or 1.
        shared: one layer, applied in a loop: `num_layers=1`, and `num_loops` the whole depth.
        memory: not with slots: column `l` of the encoding is a learned combination of the states after all layers,
            instead of the state after layer `l`. `None`: where the start needs it (`"heat"`, `"resistive"` if shared).
        channels: slots only: columns of the registers; 8 for `"release"` and `"random"`, `k` (`k + 1` with the trivial
            vector) for the constructions.
        num_slots: slots only: rows of the table, at least the size of the largest graph.
        num_probes: random only: columns of random numbers, 64 by default.
        normalization: `"sym"`: :math:`D^{-1/2} B`; `"spectral"`: `B` over the root of twice the largest degree.
        seed: of random weights, of the table and its order, and of the random columns at evaluation.
        heads: not with slots: number of networks on the edges, each with its own layers; columns are those of all.
        leverage: not with slots: the edge encoding also has the leverage `w_e R_e` of the edge in every head.
        node_types, edge_types: not with slots: learn the conductances of every head from categorical features `x` and
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
    shared: bool = False
    memory: bool | None = None
    num_probes: int | None = None

    def __post_init__(self) -> None:
        check_positive_int("k", self.k)
        check_choice("init", self.init, INITS)
        start = STARTS[self.init][0] if self.start is None else self.start
        check_choice(f"start (for init={self.init!r})", start, STARTS[self.init])
        check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_positive_int("num_slots", self.num_slots)
        check_positive_int("seed", self.seed, minimum=0)
        self._check_heads()
        for name in ("shared", "memory"):
            value = getattr(self, name)
            if not isinstance(value, bool) and (name, value) != ("memory", None):
                raise TypeError(f"{name} must be True or False, but got {value!r}")
        resolved = {"start": start}
        resolved |= self._slots(start) if self.init == "slots" else self._polynomials(start)
        for name, filled in resolved.items():
            object.__setattr__(self, name, filled)

    def _polynomials(self, start: str) -> dict[str, Any]:
        """The options that are left open, for a column a layer."""
        layers, loops = (1, self.k) if self.shared else (self.k, 1)
        for name, given, only in [("num_layers", self.num_layers, layers), ("num_loops", self.num_loops, loops)]:
            if given not in (None, only):
                raise ValueError(
                    f"init={self.init!r} has one column a layer, so with shared={self.shared} {name} must be {only}, "
                    f"but got {given}"
                )
        if self.channels is not None:
            raise ValueError(f"channels is an option of init='slots', but init={self.init!r} got {self.channels}")
        if self.init == "random":
            probes = check_positive_int("num_probes", 64 if self.num_probes is None else self.num_probes)
        elif self.num_probes is not None:
            raise ValueError(f"num_probes is an option of init='random', but init='basis' got {self.num_probes}")
        else:
            probes = None
        needed = start == "heat" or (start == "resistive" and self.shared)
        if needed and self.memory is False:
            raise ValueError(
                f"start={start!r} with shared={self.shared} is a combination of the states after all layers, which "
                "needs memory, but got memory=False; leave it out"
            )
        memory = needed if self.memory is None else self.memory
        return {"num_layers": layers, "num_loops": loops, "memory": memory, "num_probes": probes}

    def _slots(self, start: str) -> dict[str, Any]:
        """The options that are left open, for a table of slots."""
        if self.memory or self.num_probes is not None:
            name = "memory" if self.memory else "num_probes"
            raise ValueError(f"{name} is no option of init='slots', but got {getattr(self, name)!r}; leave it out")
        layers, loops = DEPTHS.get(start, (16, 1))
        layers, loops = (1, layers * loops) if self.shared else (layers, loops)
        layers = layers if self.num_layers is None else self.num_layers
        loops = loops if self.num_loops is None else self.num_loops
        fixed = {"release": None, "random": None, "eigenvectors": self.k + 1}.get(start, self.k)
        channels = self.channels if self.channels is not None else (fixed or 8)
        for name, value in [("num_layers", layers), ("num_loops", loops), ("channels", channels)]:
            check_positive_int(name, value)
        if self.shared and layers != 1:
            raise ValueError(f"shared=True is a single layer in a loop, but got num_layers={layers}; set num_loops")
        if start in ("heat", "resistive") and loops != 1:
            raise ValueError(
                f"the coefficients of start={start!r} change from layer to layer, so its layers cannot be repeated, "
                f"but got shared={self.shared}, num_loops={loops}; set num_layers instead"
            )
        if fixed not in (None, channels):
            raise ValueError(f"start={start!r} with k={self.k} needs channels={fixed}, but got {channels}")
        return {"num_layers": layers, "num_loops": loops, "channels": channels, "memory": False}

    @property
    def centered(self) -> bool:
        """Whether the registers start at demands, which sum to zero on every component."""
        return self.start in CENTERED

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
        if self.init == "slots" or self.normalization != "sym":
            raise ValueError(
                "heads, leverage and learned conductances need init='basis' or 'random' and normalization='sym', but "
                f"got init={self.init!r}, normalization={self.normalization!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """All options as a plain dictionary."""
        return asdict(self)
