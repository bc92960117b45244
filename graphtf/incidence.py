"""The signed, weighted incidence operator of a graph or of a whole batch of graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from graphtf.validate import check_batch, check_index, check_weight

if TYPE_CHECKING:
    import numpy as np

Normalization = Literal["sym", "spectral"]


class Incidence:
    r"""Signed, weighted incidence operator `B` of an undirected graph, or of a whole batch of graphs.

    .. math:: B_{u e} = +\sqrt{w_e}, \quad B_{v e} = -\sqrt{w_e} \quad\text{for } e = (u, v), \qquad L = B B^\top .

    Every undirected edge is one column, in an arbitrary orientation. A batch is one block-diagonal operator:
    `batch` names the graph of every node, and per-graph results never mix graphs. The operator is immutable.

    Args:
        index: `[2, m]` integer tensor, the end points `(u, v)` of every edge, each edge once, no self-loops.
        weight: `[m]` floating tensor of conductances, finite and positive; `None` means one. May require gradients.
        num_nodes: number of nodes `n`; `None` means one more than the largest index.
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
            weight = torch.ones(index.shape[1], dtype=torch.get_default_dtype(), device=index.device)
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

    # ---------------------------------------------------------------- construction
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
        """Build from a NetworkX graph; see :func:`graphtf.convert.from_networkx`."""
        from graphtf.convert import from_networkx

        return from_networkx(graph, weight, symmetrize=symmetrize)

    @classmethod
    def from_scipy(cls, adjacency: Any, *, symmetrize: bool = False) -> Incidence:
        """Build from a SciPy sparse adjacency matrix; see :func:`graphtf.convert.from_scipy`."""
        from graphtf.convert import from_scipy

        return from_scipy(adjacency, symmetrize=symmetrize)

    def _replace(self, **changes: Any) -> Incidence:
        fields: dict[str, Any] = {
            "index": self.index,
            "weight": self.weight,
            "num_nodes": self.num_nodes,
            "batch": self.batch,
            "num_graphs": self.num_graphs,
        }
        scale = changes.pop("scale", self.scale)
        components = changes.pop("components", self._components)
        new = Incidence(**{**fields, **changes}, validate=False)
        new.scale = scale
        new._components = components
        return new

    # ---------------------------------------------------------------- properties
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

    # ---------------------------------------------------------------- products
    def _check(self, x: Tensor, rows: int) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"the operator multiplies a torch.Tensor, but got {type(x).__name__}")
        if x.dim() == 0 or x.shape[0] != rows:
            raise ValueError(f"operand must have {rows} rows, but has shape {list(x.shape)}")
        return x.to(self.dtype)

    def _rows(self, vector: Tensor, x: Tensor) -> Tensor:
        return vector.view(-1, *[1] * (x.dim() - 1))

    def matmul(self, x: Tensor) -> Tensor:
        """`B x`: `[m, ...]` edge values to `[n, ...]` node values."""
        x = self._check(x, self.num_edges)
        x = x * self._rows(self.weight.sqrt(), x)
        u, v = self.index
        out = x.new_zeros(self.num_nodes, *x.shape[1:]).index_add(0, u, x).index_add(0, v, -x)
        return out if self.scale is None else out * self._rows(self.scale, out)

    def rmatmul(self, x: Tensor) -> Tensor:
        """`B^T x`: `[n, ...]` node values to `[m, ...]` edge values."""
        x = self._check(x, self.num_nodes)
        if self.scale is not None:
            x = x * self._rows(self.scale, x)
        u, v = self.index
        difference = x.index_select(0, u) - x.index_select(0, v)
        return difference * self._rows(self.weight.sqrt(), difference)

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.matmul(x)

    def _laplacian_product(self, x: Tensor) -> Tensor:
        x = self._check(x, self.num_nodes)
        if self.scale is not None:
            x = x * self._rows(self.scale, x)
        u, v = self.index
        flow = x.index_select(0, u) - x.index_select(0, v)
        flow = flow * self._rows(self.weight, flow)
        out = torch.zeros_like(x).index_add(0, u, flow).index_add(0, v, -flow)
        return out if self.scale is None else out * self._rows(self.scale, out)

    def dense(self) -> Tensor:
        """`B` as a dense `[n, m]` tensor."""
        return self.matmul(torch.eye(self.num_edges, dtype=self.dtype, device=self.device))

    def laplacian_dense(self) -> Tensor:
        """`L` as a dense `[n, n]` tensor."""
        return self._laplacian_product(torch.eye(self.num_nodes, dtype=self.dtype, device=self.device))

    def laplacian_scipy(self) -> Any:
        """`L` as a SciPy CSR matrix (a copy on the CPU, without gradients)."""
        from scipy.sparse import csr_array

        u, v, w, diagonal = self._laplacian_entries()
        rows = torch.cat([u, v, torch.arange(self.num_nodes, device=self.device)])
        columns = torch.cat([v, u, torch.arange(self.num_nodes, device=self.device)])
        values = torch.cat([-w, -w, diagonal])
        as_numpy: Callable[[Tensor], np.ndarray] = lambda t: t.detach().cpu().numpy()  # noqa: E731
        return csr_array((as_numpy(values), (as_numpy(rows), as_numpy(columns))), shape=(self.num_nodes,) * 2)

    def _laplacian_entries(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`(u, v, w, diagonal)` with `L[u, v] = L[v, u] = -w`."""
        u, v = self.index
        w, diagonal = self.weight, self.degree
        if self.scale is not None:
            w, diagonal = w * self.scale[u] * self.scale[v], diagonal * self.scale**2
        return u, v, w, diagonal

    # ---------------------------------------------------------------- structure
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
        labels = self.components()
        v = torch.ones(self.num_nodes, dtype=self.dtype, device=self.device)
        if self.scale is not None:
            v = torch.where(self.scale > 0, 1 / torch.where(self.scale > 0, self.scale, v), v)
        count = int(labels.max()) + 1 if labels.numel() else 0
        return v / v.new_zeros(count).index_add(0, labels, v * v).sqrt()[labels]

    def center(self, x: Tensor) -> Tensor:
        """Project `[n]` or `[n, k]` node values on the range of `L`, component by component.

        For the plain Laplacian this subtracts the mean of every connected component, so that demands sum to zero.

        Example:
            >>> import torch
            >>> Incidence(torch.tensor([[0], [1]]), num_nodes=3).center(torch.tensor([1.0, 0.0, 5.0]))
            tensor([ 0.5000, -0.5000,  0.0000])
        """
        x = self._check(x, self.num_nodes)
        labels, v = self.components(), self._rows(self.null_vector(), x)
        count = int(labels.max()) + 1 if labels.numel() else 0
        inner = x.new_zeros(count, *x.shape[1:]).index_add(0, labels, v * x)
        return x - v * inner[labels]

    def lambda_bound(self) -> Tensor:
        """`[num_graphs]` upper bounds of the largest eigenvalue of `L` on every graph.

        Twice the largest weighted degree (Gershgorin) for `L` itself, 2 for `"sym"`, 1 for `"spectral"`; 0 without
        edges.
        """
        *_, diagonal = self._laplacian_entries()
        if self.scale is not None:
            u, v, w, _ = self._laplacian_entries()
            absolute = diagonal.index_add(0, u, w).index_add(0, v, w)
            gershgorin = self._per_graph_max(absolute)
            return torch.minimum(gershgorin, self._per_graph_max(diagonal) * 2)
        return 2 * self._per_graph_max(diagonal)

    def _per_graph_max(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.num_graphs).scatter_reduce(0, self.batch, x, "amax")

    def normalized(self, kind: Normalization) -> Incidence:
        r"""Scale the rows of `B`, so that one step size serves every graph.

        Args:
            kind: `"sym"`: :math:`D^{-1/2} B`, whose `L` is the symmetric normalized Laplacian, eigenvalues in [0, 2]
                (rows of isolated nodes are zero); `"spectral"`: :math:`B / \sqrt{2 \max_u d_u}` per graph,
                eigenvalues in [0, 1].

        Raises:
            ValueError: `kind` is none of these, or the operator is normalized already.
        """
        if self.scale is not None:
            raise ValueError("this operator is already normalized; normalize the original one instead")
        degree = self.degree
        if kind == "spectral":
            degree = self.lambda_bound()[self.batch]
        elif kind != "sym":
            raise ValueError(f"normalization must be 'sym' or 'spectral', but got {kind!r}")
        positive = degree > 0
        return self._replace(scale=torch.where(positive, degree, torch.ones_like(degree)).rsqrt() * positive)

    # ---------------------------------------------------------------- conversion
    def to(self, *args: Any, **kwargs: Any) -> Incidence:
        """Move or cast, as `torch.Tensor.to` does: `B.to("cuda")`, `B.to(torch.float64)`."""
        weight = self.weight.to(*args, **kwargs)
        if not weight.is_floating_point():
            raise TypeError(f"weights must stay floating point, but dtype {weight.dtype} was asked for")
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


class LinearMap:
    """A linear map given by its product, for `map @ x`."""

    def __init__(self, shape: tuple[int, int], product: Callable[[Tensor], Tensor]) -> None:
        self.shape = shape
        self._product = product

    def __matmul__(self, x: Tensor) -> Tensor:
        return self._product(x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"
