"""The signed, weighted incidence operator of a graph or of a whole batch of graphs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from graphtf import spectrum
from graphtf.products import LinearMap, as_operand, incidence_product, laplacian_product, transposed_product
from graphtf.validate import check_batch, check_index, check_weight, unit_weight

Normalization = Literal["sym", "spectral"]


class Incidence:
    r"""Signed, weighted incidence operator `B` of an undirected graph, or of a whole batch of graphs.

    .. math:: B_{u e} = +\sqrt{w_e}, \quad B_{v e} = -\sqrt{w_e} \quad\text{for } e = (u, v), \qquad L = B B^\top .

    Every undirected edge is one column, in an arbitrary orientation. A batch is one block-diagonal operator:
    `batch` names the graph of every node, and per-graph results never mix graphs. The operator is immutable.

    Args:
        index: `[2, m]` integer tensor, the end points `(u, v)` of every edge, each edge once, no self-loops.
        weight: `[m]` conductances, finite and positive; `None` means one. Kept in float32 or float64 (half precision
            and integers are converted). May require gradients.
        num_nodes: number of nodes `n`; `None` means the length of `batch`, or one more than the largest index.
        batch: `[n]` integer tensor, the graph of every node (in any order); `None` means a single graph.
        num_graphs: number of graphs; `None` means one more than the largest entry of `batch`.
        validate: `False` skips the checks, for input that this class produced itself.

    Raises:
        TypeError: a tensor has the wrong type.
        ValueError: shapes, indices, weights or `batch` are not as described.

    Example:
        >>> import torch
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]), torch.tensor([4.0, 1.0]))
        >>> B
        Incidence(num_nodes=3, num_edges=2, num_graphs=1, dtype=torch.float32)
        >>> B.dense()
        tensor([[ 2.,  0.],
                [-2.,  1.],
                [ 0., -1.]])
        >>> B.laplacian @ torch.tensor([1.0, 0.0, 0.0])
        tensor([ 4., -4.,  0.])

    Reference: Cheng, Carin, Sra, "Graph Transformers Dream of Electric Flow", ICLR 2025, section 2.
    """

    _starts: tuple[Tensor, Tensor] | None = None  # [G + 1] of nodes and of edges, where every graph's lie in a row
    _listed: tuple[Tensor, int, Tensor] | None = None  # edge_index, its version, columns of its edges

    def __init__(
        self,
        index: Tensor,
        weight: Tensor | None = None,
        num_nodes: int | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        *,
        validate: bool = True,
    ) -> None:
        if validate:
            if num_nodes is None and isinstance(batch, Tensor):
                num_nodes = batch.numel()
            index, num_nodes = check_index(index, num_nodes)
            batch, num_graphs = check_batch(batch, num_graphs, num_nodes, index)
            weight = check_weight(weight, index.shape[1], index.device)
            loops = index[0] == index[1]
            if bool(loops.any()):
                raise ValueError(
                    f"index has {int(loops.sum())} self-loop(s), but they cancel in B and cannot be columns of it; "
                    "build the operator with Incidence.from_edge_index, which drops them"
                )
        elif num_nodes is None:
            raise ValueError("validate=False needs num_nodes")
        if weight is None:
            weight = unit_weight(index)
        if batch is None:
            batch, num_graphs = index.new_zeros(num_nodes), 1
        elif num_graphs is None:
            num_graphs = int(batch.max()) + 1 if batch.numel() else 0
        self.index = index
        self.weight = weight
        self.num_nodes = num_nodes
        self.batch = batch
        self.num_graphs = num_graphs
        self.scale: Tensor | None = None  # [n]; the operator is diag(scale) B
        self._components: Tensor | None = None

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
        num_nodes: int | None = None,
        batch: Tensor | None = None,
        num_graphs: int | None = None,
        *,
        directions: Literal["auto", "once", "both"] = "auto",
        symmetrize: bool = False,
    ) -> Incidence:
        """Build from a PyG `edge_index`; see :func:`graphtf.convert.from_edge_index`."""
        from graphtf.convert import from_edge_index

        return from_edge_index(
            edge_index, edge_weight, num_nodes, batch, num_graphs, directions=directions, symmetrize=symmetrize
        )

    @classmethod
    def from_data(cls, data: Any, *, symmetrize: bool = False) -> Incidence:
        """Build from a PyG `Data` or `Batch`; see :func:`graphtf.convert.from_data`."""
        from graphtf.convert import from_data

        return from_data(data, symmetrize=symmetrize)

    @classmethod
    def from_networkx(cls, graph: Any, weight: str | None = "weight", *, symmetrize: bool = False) -> Incidence:
        """Build from a NetworkX graph; see :func:`graphtf.interop.from_networkx`."""
        from graphtf.interop import from_networkx

        return from_networkx(graph, weight, symmetrize=symmetrize)

    @classmethod
    def from_scipy(cls, adjacency: Any, *, symmetrize: bool = False) -> Incidence:
        """Build from a SciPy sparse adjacency matrix; see :func:`graphtf.interop.from_scipy`."""
        from graphtf.interop import from_scipy

        return from_scipy(adjacency, symmetrize=symmetrize)

    def _replace(self, **changes: Any) -> Incidence:
        names = ("index", "weight", "num_nodes", "batch", "num_graphs")
        fields: dict[str, Any] = {name: getattr(self, name) for name in names}
        scale = changes.pop("scale", self.scale)
        components = changes.pop("components", self._components)
        new = Incidence(**{**fields, **changes}, validate=False)
        new.scale = scale
        new._components = components
        if new.index is self.index and new.batch is self.batch:
            new._starts, new._listed = self._starts, self._listed
        return new

    @property
    def num_edges(self) -> int:
        """Number of edges `m`, each counted once."""
        return int(self.index.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, m)`."""
        return self.num_nodes, self.num_edges

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the weights, and so of every product."""
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.index.device

    @property
    def degree(self) -> Tensor:
        """`[n]` weighted degrees of the graph itself, whatever the normalization."""
        u, v = self.index
        zero = self.weight.new_zeros(self.num_nodes)
        return zero.index_add(0, u, self.weight).index_add(0, v, self.weight)

    @property
    def T(self) -> LinearMap:  # noqa: N802
        """The transpose, for `B.T @ x`: `[n]` or `[n, k]` to `[m]` or `[m, k]`."""
        return LinearMap((self.num_edges, self.num_nodes), self.rmatmul)

    @property
    def laplacian(self) -> LinearMap:
        """`L = B B^T` as an operator, for `B.laplacian @ x` on `[n]` or `[n, k]`."""
        return LinearMap((self.num_nodes, self.num_nodes), self._laplacian_product)

    def matmul(self, x: Tensor) -> Tensor:
        """`B x`: `[m, ...]` edge values to `[n, ...]` node values."""
        x = as_operand(x, self.num_edges, self.dtype)
        return incidence_product(self.index, self.weight, self.scale, self.num_nodes, x)

    def rmatmul(self, x: Tensor) -> Tensor:
        """`B^T x`: `[n, ...]` node values to `[m, ...]` edge values."""
        return transposed_product(self.index, self.weight, self.scale, as_operand(x, self.num_nodes, self.dtype))

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.matmul(x)

    def _laplacian_product(self, x: Tensor) -> Tensor:
        return laplacian_product(self.index, self.weight, self.scale, as_operand(x, self.num_nodes, self.dtype))

    def dense(self) -> Tensor:
        """`B` as a dense `[n, m]` tensor."""
        return self.matmul(torch.eye(self.num_edges, dtype=self.dtype, device=self.device))

    def laplacian_dense(self) -> Tensor:
        """`L` as a dense `[n, n]` tensor."""
        return self._laplacian_product(torch.eye(self.num_nodes, dtype=self.dtype, device=self.device))

    def laplacian_scipy(self) -> Any:
        """`L` as a SciPy CSR matrix (a copy on the CPU, without gradients)."""
        from graphtf.interop import laplacian_scipy

        return laplacian_scipy(self)

    def _laplacian_entries(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`(u, v, w, diagonal)` with `L[u, v] = L[v, u] = -w`."""
        u, v = self.index
        w, diagonal = self.weight, self.degree
        if self.scale is not None:
            w, diagonal = w * self.scale[u] * self.scale[v], diagonal * self.scale * self.scale
        return u, v, w, diagonal

    def components(self) -> Tensor:
        """`[n]` labels `0 ... c - 1` of the connected components, in the order of their first node."""
        if self._components is None:
            from graphtf.components import connected_components

            self._components = connected_components(self.index, self.num_nodes)
        return self._components

    def split_components(self) -> Incidence:
        """The same operator with every connected component as a graph of its own."""
        labels = self.components()
        return self._replace(batch=labels, num_graphs=int(labels.max()) + 1 if labels.numel() else 0)

    def null_vector(self) -> Tensor:
        """`[n]`, on every component the unit vector that `L` maps to zero (constant, or `sqrt(degree)` for `"sym"`).

        The projection `x - v (v^T x)` per component is what makes demands sum to zero.
        """
        return spectrum.null_vector(self)

    def center(self, x: Tensor) -> Tensor:
        """Project `[n]` or `[n, k]` node values on the range of `L`, component by component.

        For the plain Laplacian this subtracts the mean of every connected component, so that demands sum to zero.

        Example:
            >>> import torch
            >>> Incidence(torch.tensor([[0], [1]]), num_nodes=3).center(torch.tensor([1.0, 0.0, 5.0]))
            tensor([ 0.5000, -0.5000,  0.0000])
        """
        return spectrum.center(self, x)

    def lambda_bound(self) -> Tensor:
        """`[num_graphs]` upper bounds of the largest eigenvalue of `L` on every graph.

        Twice the largest weighted degree (Gershgorin) for `L` itself, 2 for `"sym"`, 1 for `"spectral"`; 0 without
        edges.
        """
        return spectrum.lambda_bound(self)

    def normalized(self, kind: Normalization) -> Incidence:
        r"""Scale the rows of `B`, so that one step size serves every graph.

        Args:
            kind: `"sym"`: :math:`D^{-1/2} B`, whose `L` is the symmetric normalized Laplacian, eigenvalues in [0, 2]
                (rows of isolated nodes are zero); `"spectral"`: :math:`B / \sqrt{2 \max_u d_u}` per graph,
                eigenvalues in [0, 1].

        Raises:
            ValueError: `kind` is none of these, or the operator is normalized already.

        Example:
            >>> import torch
            >>> Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0])).normalized("sym").laplacian_dense()
            tensor([[ 1., -1.],
                    [-1.,  1.]])
        """
        return self._replace(scale=spectrum.row_scale(self, kind))

    def to(self, *args: Any, **kwargs: Any) -> Incidence:
        """Move or cast, as `torch.Tensor.to` does: `B.to("cuda")`, `B.to(torch.float64)`."""
        weight = self.weight.to(*args, **kwargs)
        if weight.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"an operator is float32 or float64, but dtype {weight.dtype} was asked for")
        scale = None if self.scale is None else self.scale.to(weight.device, weight.dtype)
        components = None if self._components is None else self._components.to(weight.device)
        return self._replace(
            index=self.index.to(weight.device),
            weight=weight,
            batch=self.batch.to(weight.device),
            scale=scale,
            components=components,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_nodes={self.num_nodes}, num_edges={self.num_edges}, "
            f"num_graphs={self.num_graphs}, dtype={self.dtype})"
        )
