"""A learnable positional encoding that starts at a graph algorithm."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast, overload

import torch
from torch import Tensor, nn

from graphtf.incidence import Incidence
from graphtf.layout import check_pairs
from graphtf.nn.build import build_conductances, build_memory, build_slots, build_transformer
from graphtf.nn.config import LinearTransformerPEConfig
from graphtf.nn.head_encoding import encode_heads, head_mixes, runs_in_loops
from graphtf.nn.inputs import graph_parts
from graphtf.nn.network_encoding import encode_network
from graphtf.nn.pair_encoding import encode_all_pairs
from graphtf.nn.random_encoding import encode_random
from graphtf.transformer import LinearTransformer


class LinearTransformerPE(nn.Module):
    r"""Positional encoding by a linear transformer on the incidence matrix, learnable end to end.

    With `init="basis"` the registers start at :math:`\Phi_0 = I` of each graph, so that :math:`\Phi_l = p_l(L)` and

    .. math:: \mathrm{node}_{i l} = \Phi_l[i, i], \qquad \mathrm{edge}_{(u, v) l} = \Phi_l[u, v], \qquad l = 1 \dots k .

    These are exactly permutation equivariant and know no sign or basis ambiguity. An isolated node has :math:`L = 0`,
    so that a random walk stays on it. Memory grows with the square of the largest graph where gradients reach its
    edge weights, else linearly.

    With `init="random"` the registers start at `num_probes` columns :math:`\Phi_0 \sim N(0, 1)`, from which the same
    entries are estimated at a cost of O(m) a column. They are equivariant in distribution, and tend to those of
    `"basis"` as :math:`1 / \sqrt{\mathrm{num\_probes}}`. Training draws the columns anew, with torch's global generator
    as dropout does; evaluation draws them by the seed and the place of a node within its component.

    With `init="slots"` the registers start at a learned table indexed by a random slot for every node, as in the
    paper's release; :func:`graphtf.nn.pretrain_to_eigenvectors` is its pre-training. Training draws the slots anew,
    evaluation uses a fixed seeded order of them within each component. There the edge encoding is
    :math:`\Phi[u] \odot \Phi[v]`. In both cases evaluation is deterministic and does not depend on the batch (but does
    on the order of the nodes).

    `shared=True` applies one layer in a loop. With `memory=True` column `l` is :math:`\sum_j \Gamma_{lj} \Phi_j` with
    learned :math:`\Gamma`, a memory of the states after all layers. :meth:`all_pairs` encodes all pairs of nodes.

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
        node_channels, edge_channels: widths of the encodings, `k` columns a head, and for edges the leverages.

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
        self.memory = build_memory(self.config)
        self.table, self.readout, order = build_slots(self.config)
        self.register_buffer("slot_order", order)
        self.slot_order: Tensor | None

    @property
    def transformer(self) -> LinearTransformer:
        """The transformer of the first head."""
        return cast(LinearTransformer, self.transformers[0])

    @classmethod
    def from_pretrained(cls, name: str | Path) -> LinearTransformerPE:
        """The trained encoder of weights that ship with graphtf, or of a file; see :func:`graphtf.weights.load`."""
        from graphtf.weights import load_encoder

        return load_encoder(name, cls)

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
        graph, edge_index, x, edge_attr = graph_parts(data, edge_weight, batch, num_nodes, x, edge_attr)
        pairs = edge_index if return_edge else edge_index[:, :0]
        node, edge = self.encode(graph, pairs, listed=edge_index, x=x, edge_attr=edge_attr)
        return (node, edge) if return_edge else node

    def all_pairs(
        self,
        data: Any,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        x: Tensor | None = None,
        edge_attr: Tensor | None = None,
        project: Tensor | None = None,
    ) -> Tensor:
        """Encode all pairs of nodes of every graph, for attention over all pairs.

        What :meth:`encode` gives for single pairs, without leverages: on the diagonal (for `init="basis"`, `"random"`)
        the encoding of the nodes. In memory every channel is a matrix, so that `.permute(0, 3, 1, 2)`, the bias of
        attention with a channel a head, needs no copy.

        Args:
            data: the graphs; this and the next five as in :meth:`forward`.
            edge_weight: with an `edge_index`: `[E]` conductances.
            batch: with an `edge_index`: `[n]` graph of every node.
            num_nodes: with an `edge_index`: number of nodes.
            x: features of the nodes, for learned conductances.
            edge_attr: the same of the columns of `edge_index`.
            project: `[C, node_channels]` weights of a linear map of the encoding, which costs less here than after,
                since the polynomials are projected and not the pairs. Gradients reach it.

        Returns:
            `[num_graphs, N, N, node_channels]`, or `C` channels, with `N` nodes in the largest graph; zero in the
            padding and between components. Node `i` of a graph is its `i`-th in the batch.

        Raises:
            TypeError, ValueError: as in :meth:`forward`, or `project` has another shape.

        Example:
            >>> import torch
            >>> path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
            >>> LinearTransformerPE(k=2).all_pairs(path)[0, :, :, 1]  # two steps of the walk
            tensor([[0.5000, 0.0000, 0.5000],
                    [0.0000, 1.0000, 0.0000],
                    [0.5000, 0.0000, 0.5000]], grad_fn=<SelectBackward0>)
        """
        graph, edge_index, x, edge_attr = graph_parts(data, edge_weight, batch, num_nodes, x, edge_attr)
        return encode_all_pairs(self, graph, edge_index, x, edge_attr, project, only_pairs=True)[2]

    def encode_with_pairs(
        self,
        data: Any,
        edge_weight: Tensor | None = None,
        batch: Tensor | None = None,
        num_nodes: int | None = None,
        *,
        x: Tensor | None = None,
        edge_attr: Tensor | None = None,
        project: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode nodes, edges and all pairs of nodes by one computation.

        Args:
            data: the graphs; this and the others as in :meth:`all_pairs`.
            edge_weight: with an `edge_index`: `[E]` conductances.
            batch: with an `edge_index`: `[n]` graph of every node.
            num_nodes: with an `edge_index`: number of nodes.
            x: features of the nodes, for learned conductances.
            edge_attr: the same of the columns of `edge_index`.
            project: `[C, node_channels]` weights of a linear map of the encoding of all pairs.

        Returns:
            What :meth:`forward` gives with `return_edge`, and what :meth:`all_pairs` gives. Random columns or slots
            are the same in all three.

        Raises:
            TypeError, ValueError: as in :meth:`all_pairs`.

        Example:
            >>> node, edge, pairs = LinearTransformerPE(k=2).encode_with_pairs(torch.tensor([[0, 1], [1, 0]]))
            >>> bool(pairs[0, 0, 0].equal(node[0])), bool(pairs[0, 0, 1].equal(edge[0]))
            (True, True)
        """
        graph, edge_index, x, edge_attr = graph_parts(data, edge_weight, batch, num_nodes, x, edge_attr)
        found = encode_all_pairs(self, graph, edge_index, x, edge_attr, project)
        return cast(tuple[Tensor, Tensor, Tensor], found)

    @property
    def many_heads(self) -> bool:
        """Whether the networks are several, or other than the given one."""
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
            mix: what :meth:`coefficients` gives, if it is at hand, for a single network.
            listed: `[2, E]` edges that `edge_attr` belongs to; `None`: those of `graph.index`.
            x: node features, for learned conductances.
            edge_attr: edge features, for learned conductances.

        Returns:
            `[n, node_channels]` and `[P, edge_channels]`.

        Raises:
            IndexError: a pair has a node that the graph has not.
        """
        if self.config.init == "random":
            return encode_random(self, graph, pairs, mix, listed, x, edge_attr)
        edges = pairs is listed or pairs is graph.index or pairs.shape[1] == 0
        if not edges:
            check_pairs(graph, pairs)
        if self.many_heads:
            return encode_heads(self, graph, pairs, listed, x, edge_attr)
        if edges and runs_in_loops(self, graph):
            return encode_heads(self, graph, pairs, mix=None if mix is None else mix.unsqueeze(0))
        return encode_network(self, graph, pairs, mix)

    def coefficients(self, dtype: torch.dtype = torch.float64, head: int = 0) -> Tensor:
        r"""Coefficients `[k, k + 1]` of the polynomials in :math:`T = I - L` that are the columns of the encoding.

        Args:
            dtype: floating type.
            head: which head's.

        Raises:
            ValueError: with `init="slots"` the layers are no polynomials.

        Example:
            >>> LinearTransformerPE(k=2).coefficients().tolist()
            [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        return head_mixes(self, dtype, head)[0]

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.config.to_dict().items())
        return f"{type(self).__name__}({options})"
