"""A learnable positional encoding that starts at a graph algorithm."""

from __future__ import annotations

from typing import Any, Literal, cast, overload

import torch
from torch import Tensor, nn

from graphtf.convert import from_data, from_edge_index
from graphtf.incidence import Incidence
from graphtf.layout import local_index
from graphtf.nn.build import build_conductances, build_slots, build_transformer
from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.nn.head_encoding import encode_heads
from graphtf.polynomial import polynomial_coefficients
from graphtf.powers import power_entries
from graphtf.transformer import LinearTransformer, make_layout


class LinearTransformerPE(nn.Module):
    r"""Positional encoding by a linear transformer on the incidence matrix, learnable end to end.

    With `init="basis"` the registers start at :math:`\Phi_0 = I` of each graph, so that :math:`\Phi_l = p_l(L)` and

    .. math:: \mathrm{node}_{i l} = \Phi_l[i, i], \qquad \mathrm{edge}_{(u, v) l} = \Phi_l[u, v], \qquad l = 1 \dots k .

    These are exactly permutation equivariant and know no sign or basis ambiguity. An isolated node has :math:`L = 0`,
    so that a random walk stays on it. Memory grows with the square of the largest graph where gradients reach its
    edge weights, else linearly.

    With `init="slots"` the registers start at a learned table indexed by a random slot for every node, as in the
    paper's release; :func:`graphtf.nn.pretrain_to_eigenvectors` is its pre-training. Training draws the slots anew,
    with torch's global generator as dropout does; evaluation uses a fixed seeded order of them within each component,
    so that it is deterministic and does not depend on the batch (but does on the order of the nodes). There the edge
    encoding is :math:`\Phi[u] \odot \Phi[v]`.

    With `heads` the layers run on several networks on the same edges. `node_types`, `edge_types`, `node_dim` or
    `edge_dim` let features of the edges and their ends decide how well they conduct in each; `leverage=True` adds
    :math:`w_e R_e` of every network to the encoding of the edges.

    Encodings have the dtype of the edge weights or of the parameters, whichever is wider. Half precision computes in
    float32, and autocast is off inside: powers of a matrix do not survive eight bits.

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
        self.node_channels = self.config.k * self.config.heads
        self.edge_channels = self.node_channels + self.config.heads * self.config.leverage
        self.transformers = nn.ModuleList(build_transformer(self.config, head) for head in range(self.config.heads))
        self.conductances = build_conductances(self.config)
        self.table, self.readout, order = build_slots(self.config)
        self.register_buffer("slot_order", order)
        self.slot_order: Tensor | None

    @property
    def transformer(self) -> LinearTransformer:
        """The transformer of the first head."""
        return cast(LinearTransformer, self.transformers[0])

    def reset_parameters(self) -> None:
        """Put the weights back to the start, as the seed of the configuration decides; optimizers keep hold of them."""
        self.load_state_dict(LinearTransformerPE(self.config).state_dict())

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
        x: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode a graph or a batch.

        Args:
            data: a PyG `Data` or `Batch` (edge weights are conductances), an `Incidence`, or an `edge_index` `[2, E]`.
            edge_weight: with an `edge_index`: `[E]` conductances, `None` for ones. Gradients reach it.
            batch: with an `edge_index`: `[n]` graph of every node, `None` for a single graph.
            num_nodes: with an `edge_index`: number of nodes.
            return_edge: also return the encoding of the edges.
            x: with an `edge_index` or an `Incidence`: features of the nodes, for learned conductances.
            edge_attr: the same of the columns of `edge_index`.

        Returns:
            `[n, node_channels]` node encoding; with `return_edge` also `[E, edge_channels]`, one row for every column
            of `edge_index` (for an `Incidence`: of its `index`).

        Raises:
            TypeError: a HeteroData, or something else that is no graph.
            ValueError: the graph is not an undirected one with positive weights, or its parts are given twice; with
                slots, it has too many nodes.
        """
        if not isinstance(data, Tensor) and any(x is not None for x in (edge_weight, batch, num_nodes)):
            raise ValueError(
                f"edge_weight, batch and num_nodes go with an edge_index, but the graph is a {type(data).__name__}, "
                "which holds its own; leave them out"
            )
        if isinstance(data, Incidence):
            graph, edge_index = data, data.index
        elif isinstance(data, Tensor):
            graph, edge_index = from_edge_index(data, edge_weight, num_nodes, batch), data.to(torch.int64)
        else:
            graph = from_data(data)
            edge_index = data.edge_index.to(torch.int64) if data.edge_index is not None else graph.index
            x = data.get("x") if x is None else x
            edge_attr = data.get("edge_attr") if edge_attr is None else edge_attr
        pairs = edge_index if return_edge else edge_index[:, :0]
        node, edge = self.encode(graph, pairs, listed=edge_index, x=x, edge_attr=edge_attr)
        return (node, edge) if return_edge else node

    @property
    def _many_heads(self) -> bool:
        return self.config.heads > 1 or self.config.leverage or self.conductances is not None

    def encode(
        self,
        graph: Incidence,
        pairs: Tensor,
        mix: Tensor | None = None,
        *,
        listed: Tensor | None = None,
        x: Tensor | None = None,
        edge_attr: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode the nodes, and any pairs of nodes.

        Args:
            graph: incidence operator of a graph or a batch; one that is normalized already is taken as it is.
            pairs: `[2, P]` pairs of nodes; of different components they get zeros.
            mix: what :meth:`coefficients` gives, if it is at hand, with `init="basis"` and one network.
            listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
            x: node features, for learned conductances.
            edge_attr: edge features, for learned conductances.

        Returns:
            `[n, node_channels]` and `[P, edge_channels]`.
        """
        if self._many_heads:
            return encode_heads(self, graph, pairs, listed, x, edge_attr)
        parameter = self.transformer.stack[0].value.dtype
        dtype = torch.promote_types(graph.dtype, parameter)
        with torch.autocast(graph.device.type, enabled=False):
            graph = graph if graph.dtype == dtype else graph.to(dtype)
            if self.config.init == "slots" or self.config.normalization == "spectral":
                graph = graph.split_components()  # no component may change the encoding of another
            if graph.scale is None:
                graph = graph.normalized(self.config.normalization)  # type: ignore[arg-type]
            node, edge = self._basis(graph, pairs, mix) if self.config.init == "basis" else self._slots(graph, pairs)
        half = parameter in (torch.float16, torch.bfloat16)
        return (node.to(parameter), edge.to(parameter)) if half else (node, edge)

    def coefficients(self, dtype: torch.dtype = torch.float64, head: int = 0) -> Tensor:
        r"""Coefficients `[k, k + 1]` of the polynomials in :math:`T = I - L` that the layers compute.

        Args:
            dtype: floating type.
            head: which head's.

        Raises:
            ValueError: with `init="slots"` the layers are no polynomials.

        Example:
            >>> LinearTransformerPE(k=2).coefficients().tolist()
            [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        transformer = cast(LinearTransformer, self.transformers[head])
        identity = torch.zeros(len(transformer.registers), dtype=dtype, device=transformer.stack[0].value.device)
        identity[0] = 1.0
        return polynomial_coefficients(transformer, identity)[1:]

    def _basis(self, graph: Incidence, pairs: Tensor, mix: Tensor | None) -> tuple[Tensor, Tensor]:
        mix = self.coefficients(graph.dtype) if mix is None else mix.to(graph.dtype)
        node, edge = power_entries(graph, self.transformer.num_layers, pairs, mix)
        # Demands sum to zero on every component: the start is I - v v^T, and T v = v.
        if "psi" in self.transformer.registers:
            v, labels = graph.null_vector(), graph.components()
            same = labels[pairs[0]] == labels[pairs[1]]
            node = node - v.square().unsqueeze(1) * mix.sum(1)
            edge = edge - (v[pairs[0]] * v[pairs[1]] * same).unsqueeze(1) * mix.sum(1)
        return node, edge

    def _slots(self, graph: Incidence, pairs: Tensor) -> tuple[Tensor, Tensor]:
        table, transformer = self.table, self.transformer
        assert table is not None  # made with init="slots"
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
        same = (graph.batch[pairs[0]] == graph.batch[pairs[1]]).unsqueeze(1)
        return phi, torch.where(same, phi[pairs[0]] * phi[pairs[1]], 0.0)

    def _slot_of_node(self, graph: Incidence) -> Tensor:
        """`[n]` a slot for every node, different ones within a component: drawn in training, fixed at evaluation."""
        assert self.slot_order is not None
        local, largest = local_index(graph)
        if largest > self.config.num_slots:
            raise ValueError(
                f"a graph has a component of {largest} nodes, but the table has num_slots={self.config.num_slots}; use "
                "a larger one"
            )
        if not self.training:
            return self.slot_order[local]
        order = torch.rand(graph.num_graphs, self.config.num_slots, device=graph.device).argsort(dim=1)
        return order[graph.batch, local]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.to_dict().items())
        return f"{type(self).__name__}({options})"
