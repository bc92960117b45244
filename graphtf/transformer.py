"""A stack of linear attention layers, structured or literal, constructed or learned: one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from graphtf.attention import Layer, StructuredAttention
from graphtf.incidence import Incidence
from graphtf.layout import GraphLayout, Layout, PaddedLayout, SparseLayout
from graphtf.products import as_operand
from graphtf.validate import check_positive_int

LayoutName = Literal["auto", "sparse", "padded"]


class LinearTransformer(nn.Module):
    r"""Linear transformer on the registers of a graph.

    The graph enters only through its incidence operator. Weights that make the layers run a known algorithm come from
    :mod:`graphtf.constructions`; learned weights are the same parameters after training.

    Args:
        layers: the layers, first to last: :class:`StructuredAttention`, :class:`graphtf.memory.ConjugateGradient`.
        registers: names of the `p` registers, for example `("psi", "x")`.
        readout: name of the register that holds the answer.
        loops: how often the whole stack is applied, with shared weights.

    Raises:
        ValueError: a layer has another number of registers, or `readout` is not one of them.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> from graphtf.constructions import electric_flow
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.ones(2, dtype=torch.float64))  # a path
        >>> psi = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
        >>> x = electric_flow(num_layers=80, delta=0.25)(B, psi=psi)  # L^+ psi
        >>> [round(value, 6) for value in x.tolist()]
        [1.0, 0.0, -1.0]

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025.
    """

    def __init__(self, layers: Sequence[Layer], registers: Sequence[str], readout: str, loops: int = 1) -> None:
        super().__init__()
        check_positive_int("loops", loops)
        self.registers, self.readout, self.loops = tuple(registers), readout, loops
        if readout not in self.registers:
            raise ValueError(f"readout must be one of the registers {self.registers}, but got {readout!r}")
        for i, layer in enumerate(layers):
            if layer.num_registers != len(self.registers):
                raise ValueError(f"layer {i} has {layer.num_registers} register(s), but the names are {self.registers}")
        self.layers = nn.ModuleList(layers)

    @property
    def stack(self) -> list[StructuredAttention]:
        """The layers of one loop, as a list; raises `TypeError` if one of them is no :class:`StructuredAttention`."""
        for i, layer in enumerate(self.layers):
            if not isinstance(layer, StructuredAttention):
                raise TypeError(f"layer {i} is a {type(layer).__name__}, which has no weights Q, K, V, R; see .layers")
        return [cast(StructuredAttention, layer) for layer in self.layers]

    @property
    def _blocks(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]

    @property
    def num_layers(self) -> int:
        """Depth: layers times loops."""
        return len(self.layers) * self.loops

    @property
    def is_polynomial(self) -> bool:
        """Whether every layer is a polynomial in `L` with numbers as coefficients."""
        return all(layer.is_polynomial for layer in self._blocks)

    def forward(
        self, graph: Incidence, *, layout: LayoutName = "auto", return_all: bool = False, **registers: Tensor
    ) -> Tensor:
        """Run the layers.

        Args:
            graph: the incidence operator `B` of a graph or of a batch.
            layout: `"sparse"` works on a node list at a cost of O(m k) a layer; `"padded"` on dense blocks, faster
                for many small graphs; `"auto"` chooses.
            return_all: also return the readout before the first and after every layer.
            **registers: `[n]` or `[n, k]` initial registers by name; those not given start at zero.

        Returns:
            The readout register, `[n]` or `[n, k]` as the input; with `return_all` `[num_layers + 1, ...]`.

        Raises:
            TypeError: `graph` is no `Incidence`.
            ValueError: unknown or missing registers, or shapes that do not fit.
        """
        packed, flat = self._initial(graph, registers)
        chosen = make_layout(graph, self.choose_layout(graph, layout, packed.shape[2]))
        outputs = self.run(chosen, chosen.pack(packed), last_only=not return_all)
        index = self.registers.index(self.readout)
        states = [chosen.unpack(state)[:, index] for state in outputs]
        stacked = torch.stack(states)  # [1 or layers + 1, n, k]
        stacked = stacked.squeeze(2) if flat else stacked
        return stacked if return_all else stacked[0]

    def run(self, layout: Layout, state: Tensor, *, last_only: bool = False) -> list[Tensor]:
        """All states `[*, p, k]`, from the initial one to that after the last layer, or that one alone."""
        states = [state]
        for _ in range(self.loops):
            for layer in self._blocks:
                layout, state = layer(layout, state)
                if last_only:
                    states.clear()
                states.append(state)
        return states

    def choose_layout(self, graph: Incidence, name: LayoutName, columns: int) -> LayoutName:
        """Resolve `"auto"` for a graph and registers of `columns` columns."""
        if name not in ("auto", "sparse", "padded"):
            raise ValueError(f"layout must be 'auto', 'sparse' or 'padded', but got {name!r}")
        if name != "auto":
            return name
        structured = [layer for layer in self._blocks if isinstance(layer, StructuredAttention)]
        if any(layer.update is not None for layer in structured):
            return "padded"
        # Dense blocks win while they are small; attention between registers on many graphs needs them.
        attends = any(layer.score is not None for layer in structured)
        largest = int(torch.bincount(graph.batch).max()) if graph.num_nodes else 0
        small = largest <= 64 and graph.num_graphs > 1
        return "padded" if small and (attends or columns > 1) else "sparse"

    def _initial(self, graph: Incidence, registers: dict[str, Tensor]) -> tuple[Tensor, bool]:
        if not isinstance(graph, Incidence):
            raise TypeError(f"expected a graphtf.Incidence, but got {type(graph).__name__}; see Incidence.from_data")
        unknown = sorted(set(registers) - set(self.registers))
        if unknown or not registers:
            raise ValueError(
                f"registers to start from must be some of {self.registers}, but got {unknown or 'none'}; "
                "pass them by name, as tensors [n] or [n, k]"
            )
        for name, x in registers.items():
            if not isinstance(x, Tensor):
                raise TypeError(f"register {name} must be a torch.Tensor, but got {type(x).__name__}")
        shapes = {name: tuple(x.shape) for name, x in registers.items()}
        first = next(iter(shapes.values()))
        if any(s != first for s in shapes.values()) or len(first) not in (1, 2) or first[0] != graph.num_nodes:
            raise ValueError(f"registers must all be [{graph.num_nodes}] or [{graph.num_nodes}, k], but are {shapes}")
        zero = torch.zeros(first, dtype=graph.dtype, device=graph.device)
        packed = torch.stack(
            [as_operand(registers.get(name, zero), graph.num_nodes, graph.dtype) for name in self.registers], dim=1
        )
        return (packed.unsqueeze(2), True) if len(first) == 1 else (packed, False)

    def literal(self, num_edges: int, channels: int, dtype: torch.dtype = torch.float64) -> LiteralTransformer:
        """The literal twin for graphs with `m` edges and registers of `k` columns (every loop written out)."""
        from graphtf.literal import literal_layers

        layers = [new for layer in self._blocks for new in literal_layers(layer, num_edges, channels, dtype)]
        return LiteralTransformer(layers, self.loops)

    def tokens(self, graph: Incidence, **registers: Tensor) -> Tensor:
        """The token matrix `Z = [B | registers]`, `[n, m + p k]`, that the literal twin starts from."""
        packed, _ = self._initial(graph, registers)
        return torch.cat([graph.dense(), packed.flatten(1)], dim=1)

    def extra_repr(self) -> str:
        """Registers, readout and loops."""
        return f"registers={self.registers}, readout={self.readout!r}, loops={self.loops}"


class LiteralTransformer(nn.Module):
    """A stack of literal layers on tokens `[n, d]`; what :meth:`LinearTransformer.literal` exports.

    Args:
        layers: the layers, first to last: :class:`LinearAttention`, :class:`graphtf.memory.LiteralConjugateGradient`.
        loops: how often the whole stack is applied, with shared weights.
    """

    def __init__(self, layers: Sequence[nn.Module], loops: int = 1) -> None:
        super().__init__()
        self.layers, self.loops = nn.ModuleList(layers), loops

    def forward(self, tokens: Tensor, batch: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """Run the layers on `[n, d]` tokens; `batch` `[n]` keeps graphs apart, `keys` `[n]` are attended to (all)."""
        for _ in range(self.loops):
            for layer in self.layers:
                tokens = layer(tokens, batch) if keys is None else layer(tokens, batch, keys)
        return tokens


def make_layout(graph: Incidence, name: LayoutName) -> GraphLayout:
    """The `"sparse"` or `"padded"` layout of a graph."""
    return PaddedLayout(graph) if name == "padded" else SparseLayout(graph)
