"""A learnable positional encoding that starts at a graph algorithm."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from graphtf.convert import from_data, from_edge_index
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.nn.build import build_transformer
from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.polynomial import polynomial_coefficients, power_entries
from graphtf.transformer import make_layout


class LinearTransformerPE(nn.Module):
    r"""Positional encoding by a linear transformer on the incidence matrix, learnable end to end.

    With `init="basis"` the registers start at :math:`\Phi_0 = I` of each graph, so that :math:`\Phi_l = p_l(L)` and

    .. math:: \mathrm{node}_{i l} = \Phi_l[i, i], \qquad \mathrm{edge}_{(u, v) l} = \Phi_l[u, v], \qquad l = 1 \dots k .

    These are exactly permutation equivariant and know no sign or basis ambiguity. With `init="slots"` the registers
    start
    at a learned table indexed by a random slot for every node, as in the paper's release; training draws the slots
    anew,
    evaluation uses a fixed seeded order of them within each graph, so that it is deterministic and does not depend on
    the batch (but does depend on the order of the nodes). There the edge encoding is :math:`\Phi[u] \odot \Phi[v]`.

    Args:
        config: a :class:`LinearTransformerPEConfig`; or give its options as keywords.
        **options: options of the configuration, for example `k=16, init="basis", start="electric"`.

    Attributes:
        config: the configuration.
        transformer: the :class:`graphtf.LinearTransformer`; its parameters are the weights.
        node_channels, edge_channels: width `k` of the encodings.

    Raises:
        TypeError, ValueError: the configuration is not valid.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> triangle = Data(edge_index=torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]]), num_nodes=3)
        >>> node, edge = LinearTransformerPE(k=4)(triangle, return_edge=True)
        >>> node.shape, edge.shape
        (torch.Size([3, 4]), torch.Size([6, 4]))
        >>> [round(value, 4) for value in node[0].tolist()]  # returns of the random walk on a triangle
        [0.0, 0.5, 0.25, 0.375]

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025, sections 5 and 6.
    """

    def __init__(self, config: LinearTransformerPEConfig | None = None, **options: Any) -> None:
        super().__init__()
        if config is not None and options:
            raise ValueError(f"give either a config or options, but got a config and {sorted(options)}")
        if config is not None and not isinstance(config, LinearTransformerPEConfig):
            raise TypeError(f"config must be a LinearTransformerPEConfig, but got {type(config).__name__}")
        self.config = config if config is not None else LinearTransformerPEConfig(**options)
        self.node_channels = self.edge_channels = self.config.k
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Put the weights back to the start, as the seed of the configuration decides."""
        config = self.config
        self.transformer = build_transformer(config)
        self.table: nn.Parameter | None = None
        self.readout: nn.Linear | None = None
        if config.init == "slots":
            generator = torch.Generator().manual_seed(config.seed + 1)
            random_columns = config.channels or 1
            if config.start == "eigenvectors":
                random_columns -= 1  # the first column is the trivial vector
            self.table = nn.Parameter(torch.randn(config.num_slots, random_columns, generator=generator))
            self.register_buffer("slot_order", torch.randperm(config.num_slots, generator=generator))
            self.slot_order: Tensor
            if config.start in ("release", "random"):
                self.readout = nn.Linear(random_columns, config.k, bias=False)
                bound = random_columns**-0.5
                with torch.no_grad():
                    self.readout.weight.uniform_(-bound, bound, generator=generator)

    @overload
    def forward(self, data: Any, edge_weight: Tensor | None = ..., batch: Tensor | None = ...,
                num_nodes: int | None = ..., *, return_edge: Literal[False] = ...) -> Tensor: ...  # fmt: skip
    @overload
    def forward(self, data: Any, edge_weight: Tensor | None = ..., batch: Tensor | None = ...,
                num_nodes: int | None = ..., *, return_edge: Literal[True]) -> tuple[Tensor, Tensor]: ...  # fmt: skip
    def forward(
        self,
        data: Any,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        return_edge: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode a graph or a batch.

        Args:
            data: a PyG `Data` or `Batch` (edge weights are conductances), an `Incidence`, or an `edge_index` `[2, E]`.
            edge_weight: with an `edge_index`: `[E]` conductances, `None` for ones. Gradients reach it.
            batch: with an `edge_index`: `[n]` graph of every node.
            num_nodes: with an `edge_index`: number of nodes.
            return_edge: also return the encoding of the edges.

        Returns:
            `[n, k]` node encoding; with `return_edge` also `[E, k]`, one row for every column of `edge_index` (for an
            `Incidence`: of its `index`).

        Raises:
            TypeError: a HeteroData, or something else that is no graph.
            ValueError: the graph is not an undirected one with positive weights; with slots, it has too many nodes.
        """
        if isinstance(data, Incidence):
            graph, edge_index = data, data.index
        elif isinstance(data, Tensor):
            graph, edge_index = from_edge_index(data, edge_weight, num_nodes, batch), data.to(torch.int64)
        else:
            graph = from_data(data)
            edge_index = data.edge_index.to(torch.int64) if data.edge_index is not None else graph.index
        node, edge = self.encode(graph, edge_index if return_edge else edge_index[:, :0])
        return (node, edge) if return_edge else node

    def encode(self, graph: Incidence, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the nodes, and pairs `[2, P]` of nodes of the same component: `[n, k]` and `[P, k]`."""
        if self.config.init == "slots" or self.config.normalization == "spectral":
            graph = graph.split_components()  # no component may change the encoding of another
        if graph.scale is None:
            graph = graph.normalized(self.config.normalization)  # type: ignore[arg-type]
        return self._basis(graph, pairs) if self.config.init == "basis" else self._slots(graph, pairs)

    def _basis(self, graph: Incidence, pairs: Tensor) -> tuple[Tensor, Tensor]:
        transformer = self.transformer
        identity = torch.zeros(len(transformer.registers), dtype=graph.dtype, device=graph.device)
        identity[0] = 1.0
        mix = polynomial_coefficients(transformer, identity)[1:]  # [k, degree + 1]
        diagonal, entries = power_entries(graph, transformer.num_layers, pairs)
        if "psi" in transformer.registers:  # demands sum to zero on every component
            v = graph.null_vector()
            diagonal = diagonal - v.square().unsqueeze(1)
            entries = entries - (v[pairs[0]] * v[pairs[1]]).unsqueeze(1)
        return diagonal @ mix.t(), entries @ mix.t()

    def _slots(self, graph: Incidence, pairs: Tensor) -> tuple[Tensor, Tensor]:
        table, transformer = self.table, self.transformer
        if table is None:
            raise RuntimeError("the slot table is missing; call reset_parameters()")
        phi = table.to(graph.dtype)[self._slot_of_node(graph)]
        if self.config.start == "eigenvectors":
            phi = torch.cat([graph.null_vector().unsqueeze(1), phi], dim=1)
        elif self.config.start == "electric":
            phi = graph.center(phi)
        state = phi.new_zeros(graph.num_nodes, len(transformer.registers), phi.shape[1])
        state[:, 0] = phi
        name = transformer.choose_layout(graph, "auto", phi.shape[1])
        layout = make_layout(graph, name)
        final = layout.unpack(transformer.run(layout, layout.pack(state))[-1])
        phi = final[:, transformer.registers.index(transformer.readout)]
        if self.config.start == "eigenvectors":
            phi = phi[:, 1:]
        if self.readout is not None:
            phi = phi @ self.readout.weight.to(phi.dtype).t()
        return phi, phi[pairs[0]] * phi[pairs[1]]

    def _slot_of_node(self, graph: Incidence) -> Tensor:
        """`[n]` a slot for every node, different ones within a graph: drawn in training, fixed at evaluation."""
        local, largest = local_index(graph)
        if largest > self.config.num_slots:
            raise ValueError(
                f"a graph has {largest} nodes, but the table has num_slots={self.config.num_slots}; use a larger one"
            )
        if not self.training:
            return self.slot_order[local]
        order = torch.rand(graph.num_graphs, self.config.num_slots, device=graph.device).argsort(dim=1)
        return order[graph.batch, local]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.to_dict().items())
        return f"{type(self).__name__}({options})"
