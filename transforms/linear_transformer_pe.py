"""The transform that stores a positional encoding computed by a linear transformer."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.nn import LinearTransformerPE, LinearTransformerPEConfig
from graphtf.nn.inputs import read_data
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe, weights_digest
from graphtf.transforms._store import check_names, store_node
from graphtf.validate import check_positive_int


@functional_transform(unique_functional_name("add_linear_transformer_pe"))
class AddLinearTransformerPE(BaseTransform):
    r"""Add a positional encoding by a linear transformer (functional name: :obj:`add_linear_transformer_pe`).

    Runs the transformer of a :class:`graphtf.nn.LinearTransformerPE`, with weights set to an algorithm or trained, on
    the incidence matrix and stores its node encoding `[n, k]` (with heads `k` columns a head; learned conductances read
    `x` and `edge_attr`). The result is deterministic, connected components do not
    see each other, and `k >= n` is fine: eigenvectors that do not exist are zero. A whole `Batch` costs a small
    fraction of its graphs one by one.

    Args:
        config (LinearTransformerPEConfig or LinearTransformerPE, optional): the encoding, or a trained module whose
            weights are used as they are (evaluation mode; the module is not changed). Default: made from `options`.
        attr_name (str, optional): attribute that gets the node encoding; `None` appends it to `data.x`, in the dtype
            of `x`.
        edge_attr_name (str, optional): attribute that gets the encoding `[E, k]` of the columns of `edge_index`.
        symmetrize (bool): accept a directed graph and use (A + A^T) / 2 in place of its adjacency matrix A. Without it,
            a graph that lists no edge in both directions is taken for undirected, with every edge listed once.
        **options: options of the configuration, for example `k=8, init="basis", start="electric"`.

    Raises:
        TypeError: the graph is heterogeneous, `config` is something else, or `x` to append to holds integers.
        ValueError: an option does not exist, only some edges are listed both ways (a directed graph), or a weight is
            not finite and positive.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> AddLinearTransformerPE(k=4)(path).linear_transformer_pe.round(decimals=4)
        tensor([[0.0000, 0.5000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000, 1.0000],
                [0.0000, 0.5000, 0.0000, 0.5000]])

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025.
    """

    def __init__(
        self,
        config: LinearTransformerPEConfig | LinearTransformerPE | None = None,
        attr_name: str | None = "linear_transformer_pe",
        edge_attr_name: str | None = None,
        symmetrize: bool = False,
        **options: Any,
    ) -> None:
        if isinstance(config, int):
            check_positive_int("k", config)
            raise TypeError(
                f"the first argument is a config or a trained encoder; for {config} columns pass k={config}"
            )
        if isinstance(config, LinearTransformerPE):
            if options:
                raise ValueError(f"give either a trained encoder or options, but got an encoder and {sorted(options)}")
            self._trained = True
            self.encoder = copy.deepcopy(config).cpu()
        else:
            self._trained = False
            self.encoder = LinearTransformerPE(config, **options)
        self.encoder.eval().requires_grad_(False)
        self._mix = self.encoder.coefficients() if self.encoder.config.init == "basis" else None
        check_names(attr_name=attr_name, edge_attr_name=edge_attr_name)
        self.attr_name, self.edge_attr_name, self.symmetrize = attr_name, edge_attr_name, symmetrize

    @torch.no_grad()
    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the encoding set."""
        graph = read_data(data, self.symmetrize)
        pairs = data.edge_index if data.edge_index is not None else graph.index
        pairs = pairs[:, :0] if self.edge_attr_name is None else pairs
        encoder, mix = self.encoder, self._mix
        if graph.device.type != "cpu":
            encoder, mix = copy.deepcopy(encoder).to(graph.device), None
        features = {"listed": data.edge_index, "x": data.get("x"), "edge_attr": data.get("edge_attr")}
        node, edge = encoder.encode(graph, pairs, mix, **features)
        if self.edge_attr_name is not None:
            data[self.edge_attr_name] = edge
        store_node(data, self.attr_name, node)
        return data

    def __repr__(self) -> str:
        weights = {"weights": weights_digest(self.encoder.state_dict())} if self._trained else {}
        names = {"attr_name": self.attr_name, "edge_attr_name": self.edge_attr_name}
        return describe(self, **self.encoder.config.to_dict(), **weights, **names, symmetrize=self.symmetrize)
