"""Learned conductances: features of an edge and of its ends decide how well the edge conducts, head by head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtf.compiled import is_traced
from graphtf.nn.categories import CategoricalEmbedding


class EdgeConductances(nn.Module):
    r"""Positive conductances of the edges from their features and those of their ends.

    .. math::
        w_e = \mathrm{softplus}\bigl(W_2\,\mathrm{relu}(W_1 [e_{uv} + s_u + s_v + p_u \odot p_v] + b_1) + b_2\bigr)

    but at least 1e-4, with embeddings `e` of the edge features and `s`, `p` of the node features. Symmetric in the two
    ends; features of an edge that is listed several times are averaged. At the start all conductances are near 1, so
    that the encoding is that of the plain graph, different from head to head by the random :math:`W_2`.

    Args:
        heads: number `H` of networks.
        node_types: number of values of the categorical node feature, or one for every column of `x`; `None`: unused.
        edge_types: the same for `edge_attr`.
        node_dim, edge_dim: widths of continuous features instead, 0 for none.
        hidden: width of the hidden layer.
        seed: of the weights.

    Raises:
        ValueError: a feature is declared both categorical and continuous, or none is declared.

    Example:
        >>> import torch
        >>> module = EdgeConductances(heads=2, edge_types=4)
        >>> w = module(torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]), None, torch.tensor([1, 3]))
        >>> w.shape, bool((w > 0).all())
        (torch.Size([2, 2]), True)
    """

    def __init__(
        self,
        heads: int,
        node_types: int | Sequence[int] | None = None,
        edge_types: int | Sequence[int] | None = None,
        node_dim: int = 0,
        edge_dim: int = 0,
        hidden: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, types, dim in (("node", node_types, node_dim), ("edge", edge_types, edge_dim)):
            if types is not None and dim:
                raise ValueError(f"{name}_types says categories and {name}_dim={dim} a width; give one of them")
        if node_types is None and edge_types is None and not node_dim and not edge_dim:
            raise ValueError("conductances need features; give node_types, edge_types, node_dim or edge_dim")
        self.hidden = hidden
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.edge = _embedding("edge_attr", edge_types, edge_dim, hidden)
            self.node = _embedding("x", node_types, node_dim, 2 * hidden)
            self.inner = nn.Linear(hidden, hidden)
            self.outer = nn.Linear(hidden, heads)
            nn.init.constant_(self.outer.bias, math.log(math.e - 1))  # softplus gives 1

    def forward(self, index: Tensor, edge_of: Tensor, x: Tensor | None, edge_attr: Tensor | None) -> Tensor:
        """Conductances `[H, m]`.

        Args:
            index: `[2, m]` end points of the edges.
            edge_of: `[E]` edge of every listed direction, or -1 for self-loops.
            x: `[n]` or `[n, f]` node features.
            edge_attr: `[E]` or `[E, f']` features of the listed directions.

        Raises:
            ValueError: a feature that was declared is missing, or does not fit.
        """
        kinds = self._kinds(index, edge_of, x, edge_attr)
        if kinds is None:
            return self._each(index, edge_of, x, edge_attr).t()
        first, listed, kind = kinds
        ends = _given(x, "x")[index[:, first].flatten()] if self.node is not None else None
        bonds = _given(edge_attr, "edge_attr")[listed] if self.edge is not None else None
        pairs = torch.arange(2 * len(first)).view(2, -1)
        rows = self._each(pairs, pairs[0], ends, bonds)
        return rows.index_select(0, kind).t()

    def _kinds(
        self, index: Tensor, edge_of: Tensor, x: Tensor | None, edge_attr: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """An edge of every kind, where it is listed, and the kind of each edge, where kinds are categories alone.

        Molecules have few of them, some hundred in thousands of edges; `None` where they do not decide.
        """
        m, embeddings = index.shape[1], [module for module in (self.node, self.edge) if module is not None]
        categorical = [module for module in embeddings if isinstance(module, CategoricalEmbedding)]
        if index.device.type != "cpu" or m == 0 or len(categorical) < len(embeddings):
            return None
        types, bonds = (math.prod(getattr(module, "sizes", ())) for module in (self.node, self.edge))
        if types**2 * bonds >= 2**62:
            return None
        key = index.new_zeros(m)
        if isinstance(self.node, CategoricalEmbedding):
            low, high = self.node.codes(_given(x, "x"))[index].aminmax(dim=0)
            key = low * types + high
        listed = index.new_full((m,), -1).scatter(0, edge_of.clamp(min=0), torch.arange(len(edge_of)))
        if isinstance(self.edge, CategoricalEmbedding):
            codes = self.edge.codes(_given(edge_attr, "edge_attr"))
            self._check_listed(codes, edge_of)
            if int(edge_of.min()) < 0 or int(listed.min()) < 0 or not torch.equal(codes[listed][edge_of], codes):
                return None  # self-loops, or directions that differ
            key = key * bonds + codes[listed]
        kinds, kind = torch.unique(key, return_inverse=True)
        first = kinds.new_empty(len(kinds)).scatter(0, kind, torch.arange(m))
        return first, listed[first], kind

    def _each(self, index: Tensor, edge_of: Tensor, x: Tensor | None, edge_attr: Tensor | None) -> Tensor:
        """`[m, H]` conductances edge by edge."""
        m = index.shape[1]
        z = self.inner.weight.new_zeros(m, self.hidden)
        if self.node is not None:
            ends = _apply(self.node, x, "x").view(-1, 2, self.hidden)
            tail, head = ends.index_select(0, index[0]), ends.index_select(0, index[1])
            z = z + tail[:, 0] + head[:, 0] + tail[:, 1] * head[:, 1]
        if self.edge is not None:
            listed = _apply(self.edge, edge_attr, "edge_attr")
            self._check_listed(listed, edge_of)
            real = edge_of >= 0
            if not bool(real.all()):
                listed, edge_of = listed[real], edge_of[real]
            count = torch.bincount(edge_of, minlength=m).clamp(min=1).unsqueeze(1).to(z.dtype)
            z = z + torch.zeros_like(z).index_add(0, edge_of, listed.to(z.dtype)) / count
        return nn.functional.softplus(self.outer(self.inner(z.relu()).relu())).clamp(min=1e-4)

    @staticmethod
    def _check_listed(feature: Tensor, edge_of: Tensor) -> None:
        if len(feature) != len(edge_of):
            raise ValueError(f"edge_attr has {len(feature)} row(s), but the graph lists {len(edge_of)} edges")


def _embedding(name: str, types: int | Sequence[int] | None, dim: int, width: int) -> nn.Module | None:
    if types is not None:
        return CategoricalEmbedding(name, types, width)
    return nn.Linear(dim, width) if dim else None


def _given(feature: Tensor | None, name: str) -> Tensor:
    if feature is None:
        raise ValueError(
            f"the conductances are learned from {name}, but the graph has none; pass it, or set it in data"
        )
    return feature


def _apply(module: nn.Module, feature: Tensor | None, name: str) -> Tensor:
    feature = _given(feature, name)
    if isinstance(module, nn.Linear):
        feature = feature.view(len(feature), -1)
        if not feature.is_floating_point() or feature.shape[1] != module.in_features:
            raise ValueError(
                f"{name} must have {module.in_features} floating-point column(s), but has shape "
                f"{list(feature.shape)} and dtype {feature.dtype}"
            )
        if feature.device.type == "cpu" and not is_traced() and not bool(torch.isfinite(feature.detach()).all()):
            raise ValueError(f"{name} must be finite, but {int((~torch.isfinite(feature)).sum())} entries are not")
        feature = feature.to(module.weight.dtype)
    out: Tensor = module(feature)
    return out
