"""The transform that stores how much of all shortest paths goes over every edge."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.data.datapipes import functional_transform
from torch_geometric.transforms import BaseTransform

from graphtf.convert import from_data
from graphtf.incidence import Incidence
from graphtf.incontext.shortest_path_transformer import ShortestPathTransformer, flow_steps
from graphtf.layout import edge_at, local_index
from graphtf.solvers import laplacian_eigenvectors
from graphtf.transforms._register import unique_functional_name
from graphtf.transforms._repr import describe, weights_digest
from graphtf.transforms._store import check_names, store_node
from graphtf.validate import check_positive_int

CHUNK = 1 << 22  # numbers in memory at once
LARGEST_GROWTH = 1e4  # of errors without thresholds; these stop less, but hardly more


@functional_transform(unique_functional_name("add_path_flow_pe"))
class AddPathFlowPE(BaseTransform):
    r"""Add soft shortest paths between all pairs of nodes (functional name: :obj:`add_path_flow_pe`).

    .. math:: \mathrm{edge}_{e l} = \binom{n}{2}^{-1} \sum_{s < t} |f^{st}_{e l}|, \qquad
        \mathrm{node}_{u l} = \Bigl[\tfrac12 \sum_{e \ni u} \mathrm{edge}_{e l},\ \
        \tfrac{1}{n - 1} \sum_t \sum_e \ell_e |f^{ut}_{e l}|\Bigr]

    with :math:`f^{st}_l` the flow from s to t after step l of a :class:`graphtf.incontext.ShortestPathTransformer`,
    which is zero further than l edges from both. At the end flows are close to shortest paths; if they were exact,
    edges would have their betweenness centrality, and nodes theirs plus 1 / n, beside their mean distance to others.
    Columns are `k` steps evenly apart. Lengths are 1 / weights; what scale they have does not matter. No signs, no
    bases; exactly permutation equivariant. Made for molecules: the cost of a graph grows as :math:`m n^2`, and the
    steps that come with graphtf are too large for most graphs with degrees above about 10, of which a `RuntimeWarning`
    tells beforehand.

    Args:
        k (int): number of steps that are looked at, at most those that the model has.
        model (ShortestPathTransformer, optional): whose weights are used as they are; `None`: those that come with
            graphtf. With hubs: :meth:`~graphtf.incontext.ShortestPathTransformer.with_decreasing_thresholds`.
        attr_name (str, optional): attribute that gets the node encoding `[n, 2 k]`; `None` appends it to `data.x`.
        edge_attr_name (str, optional): attribute that gets the encoding `[E, k]` of the columns of `edge_index` (zero
            on self-loops); `None` leaves it out.
        symmetrize (bool): accept a directed graph and use (A + A^T) / 2 in place of its adjacency matrix A. Without it,
            a graph that lists no edge in both directions is taken for undirected, with every edge listed once.

    Raises:
        TypeError: the graph is heterogeneous, an argument has the wrong type, or `x` to append to holds integers.
        ValueError: `k` is out of its range, only some edges are listed both ways (a directed graph), or a weight is
            not finite and positive.

    Example:
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> exact = ShortestPathTransformer.with_decreasing_thresholds(100)
        >>> AddPathFlowPE(k=1, model=exact)(path).path_flow_edge_pe.flatten().round(decimals=2)  # two of three pairs
        tensor([0.6700, 0.6700, 0.6700, 0.6700])

    Reference: betweenness as in Brandes, "A faster algorithm for betweenness centrality", 2001.
    """

    def __init__(
        self,
        k: int = 8,
        model: ShortestPathTransformer | None = None,
        attr_name: str | None = "path_flow_pe",
        edge_attr_name: str | None = "path_flow_edge_pe",
        symmetrize: bool = False,
    ) -> None:
        if model is not None and not isinstance(model, ShortestPathTransformer):
            raise TypeError(f"model must be a ShortestPathTransformer, but got {type(model).__name__}")
        model = ShortestPathTransformer.from_pretrained("shortest-path") if model is None else model
        self.coefficients = model.coefficients().detach().cpu().clone()
        self.k = check_positive_int("k", k)
        if k > len(self.coefficients):
            raise ValueError(f"k must be at most {len(self.coefficients)}, the steps of the model, but got {k}")
        check_names(attr_name=attr_name, edge_attr_name=edge_attr_name)
        self.attr_name, self.edge_attr_name, self.symmetrize = attr_name, edge_attr_name, symmetrize

    @torch.no_grad()
    def forward(self, data: Any) -> Data:
        """Return `data` (PyG has made a shallow copy) with the attributes set."""
        graph = from_data(data, symmetrize=self.symmetrize)
        steps = (torch.arange(1, self.k + 1) * len(self.coefficients)).div(self.k, rounding_mode="floor")
        with warnings.catch_warnings():
            if _warn_large_steps(self.coefficients, graph):
                warnings.simplefilter("ignore", RuntimeWarning)  # that of the layers, which speaks of training
            node, edge = all_pairs_flow(self.coefficients.to(graph.device), graph, steps.to(graph.device))
        if self.edge_attr_name is not None:
            edges = data.edge_index if data.edge_index is not None else graph.index
            at = edge_at(graph, edges)
            padded = torch.cat([edge, edge.new_zeros(1, self.k)])  # the last row, -1, is that of self-loops
            data[self.edge_attr_name] = padded[at]
        store_node(data, self.attr_name, node)
        return data

    def __repr__(self) -> str:
        weights = weights_digest({"coefficients": self.coefficients})
        names = {"attr_name": self.attr_name, "edge_attr_name": self.edge_attr_name}
        return describe(self, k=self.k, weights=weights, **names, symmetrize=self.symmetrize)


def growth(coefficients: Tensor, eigenvalue: float) -> float:
    r"""By how much steps without thresholds multiply an error along an eigenvector of :math:`B^\top B`, at most.

    .. math:: \max_l |e_l|, \qquad e_{l+1} = (1 - \gamma_l \lambda) e_l + \mu_l (e_l - e_{l-1}), \qquad e_0 = e_{-1} = 1

    Args:
        coefficients: `[L, 3]` numbers of the steps.
        eigenvalue: the eigenvalue, at most that of the Laplacian of the graph without weights.

    Example:
        >>> steps = torch.tensor([[0.25, 0.1, 0.0]] * 10)
        >>> growth(steps, 4.0), growth(steps, 12.0)
        (1.0, 1024.0)
    """
    last = now = largest = 1.0
    for gamma, _, mu in coefficients.tolist():
        last, now = now, (1 - gamma * eigenvalue) * now + mu * (now - last)
        largest = max(largest, abs(now))
    return largest


def _warn_large_steps(coefficients: Tensor, graph: Incidence) -> bool:
    """Whether the steps diverge on the graph, thresholds aside; if so, warn."""
    if not graph.num_edges:
        return False
    (u, v), degree = graph.index, torch.bincount(graph.index.flatten(), minlength=graph.num_nodes)
    if growth(coefficients, float((degree[u] + degree[v]).max())) <= LARGEST_GROWTH:  # no eigenvalue is larger
        return False
    plain = Incidence(graph.index, None, graph.num_nodes, graph.batch, graph.num_graphs, validate=False)
    found = growth(coefficients, float(laplacian_eigenvectors(plain, 1, which="largest").eigenvalues.max()))
    if found <= LARGEST_GROWTH:
        return False
    most = int(degree.max())
    warnings.warn(
        f"the graph has a node with {most} neighbors, for which the steps of this model are too large: they multiply "
        f"errors by up to {found:.0e}, so that the encoding may be wrong. Pass model="
        f"ShortestPathTransformer.with_decreasing_thresholds(400, max_degree={most})",
        RuntimeWarning,
        stacklevel=3,
    )
    return True


def all_pairs_flow(coefficients: Tensor, graph: Incidence, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Flows between all pairs of nodes, summed up as :class:`AddPathFlowPE` says.

    Args:
        coefficients: `[L, 3]` numbers of the steps, see :meth:`graphtf.incontext.ShortestPathTransformer.coefficients`.
        graph: plain operator of a graph or a batch; lengths are 1 / weights.
        steps: `[k]` steps to look at, 0 the start.

    Returns:
        `[n, 2 k]` of the nodes, `[m, k]` of the edges.
    """
    k, (u, v) = len(steps), graph.index
    size = torch.bincount(graph.batch, minlength=graph.num_graphs).to(graph.dtype)[graph.batch]  # [n]
    edge, far = graph.weight.new_zeros(graph.num_edges, k), graph.weight.new_zeros(graph.num_nodes, k)
    if graph.num_edges:
        parts = graph.split_components()  # every part uses the columns for pairs of its own
        local, most = local_index(parts)
        last = torch.bincount(parts.batch)[parts.batch] - 1
        unit = _mean_length(graph)[graph.batch[u]]
        length, part = 1 / (graph.weight * unit), parts.batch[u]
        pairs = torch.triu_indices(most, most, 1, device=graph.device)
        width = max(1, CHUNK // ((len(coefficients) + 1) * graph.num_edges))
        for first, second in zip(pairs[0].split(width), pairs[1].split(width), strict=True):
            there = second <= last.unsqueeze(1)  # [n, columns]
            starts, ends = (local.unsqueeze(1) == first) & there, (local.unsqueeze(1) == second) & there
            demand = starts.to(edge) - ends.to(edge)
            flow = flow_steps(coefficients, graph, length, demand, return_all=True)[steps].abs()  # [k, m, columns]
            edge += flow.sum(2).T
            cost = flow.new_zeros(k, parts.num_graphs, len(first))
            cost.index_add_(1, part, flow * (length * unit).unsqueeze(1))
            far += torch.einsum("nc,knc->nk", demand.abs(), cost[:, parts.batch])
    edge = edge / (size * (size - 1) / 2)[u].unsqueeze(1)
    through = edge.new_zeros(graph.num_nodes, k).index_add(0, u, edge).index_add(0, v, edge) / 2
    return torch.cat([through, far / (size - 1).clamp(min=1).unsqueeze(1)], 1), edge


def _mean_length(graph: Incidence) -> Tensor:
    """`[G]` geometric mean of the lengths of every graph."""
    of = graph.batch[graph.index[0]]
    total = graph.weight.new_zeros(graph.num_graphs).index_add(0, of, -graph.weight.log())
    return torch.exp(total / torch.bincount(of, minlength=graph.num_graphs).clamp(min=1))
