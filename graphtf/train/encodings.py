"""The encodings that can be compared on one backbone: a transform that prepares the data, a module that reads it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE, AddRandomWalkPE, BaseTransform

from graphtf.models import StoredEncoding
from graphtf.nn import LinearTransformerPE
from graphtf.train.encoding_options import encoder_config, parse_encoding
from graphtf.train.signnet import SignNet
from graphtf.transforms import AddPathFlowPE, AddSpectralPE

Transform = Callable[[Any], Any]
VECTORS, VALUES = "laplacian_eigenvector_pe", "laplacian_eigenvalues"


def build_encoding(
    pe: str, dim: int, seed: int = 0, node_types: int | Sequence[int] = 28, edge_types: int | Sequence[int] = 4
) -> nn.Module | None:
    """The module that reads or computes an encoding inside the model.

    Args:
        pe: an encoding, perhaps with options, see :func:`graphtf.train.encoding_options.parse_encoding`.
        dim: number of columns.
        seed: of random weights; torch's global generator is left as it was.
        node_types: numbers of values of the node features, from which conductances are learned.
        edge_types: the same of the edge features.

    Returns:
        A module for :class:`graphtf.models.GraphTransformer`, or `None`.

    Raises:
        ValueError: there is no such encoding, or its options do not go together.

    Example:
        >>> build_encoding("random-walk", 16)
        StoredEncoding('random_walk_pe', 16, random_sign=False)
        >>> encoding = build_encoding("conductances:heads=2,pair=false", 8)
        >>> encoding.node_channels, encoding.edge_channels
        (16, 0)
    """
    name, options = parse_encoding(pe)
    if name == "none":
        return None
    if name == "laplacian":
        return StoredEncoding(VECTORS, dim, random_sign=True)
    if name == "signnet":
        return SignNet(dim, VECTORS, VALUES, seed=seed, **options)
    if name == "random-walk":
        return StoredEncoding("random_walk_pe", dim)
    if name == "path-flow":
        return StoredEncoding("path_flow_pe", 2 * dim, "path_flow_edge_pe", dim)
    encoder = LinearTransformerPE(encoder_config(pe, dim, seed, node_types, edge_types))
    return encoder if options.get("pair", True) else NodeChannels(encoder)


def build_transform(pe: str, dim: int) -> Transform | None:
    """The transform that prepares the data of an encoding, or `None` if it needs none.

    Args:
        pe: an encoding, see :func:`build_encoding`.
        dim: number of columns.

    Example:
        >>> build_transform("laplacian", 8)
        LaplacianPE(k=8)
    """
    name, _ = parse_encoding(pe)
    if name == "laplacian":
        return LaplacianPE(dim)
    if name == "signnet":
        return AddSpectralPE(dim, VECTORS, eigenvalues_name=VALUES)
    if name == "random-walk":
        return AddRandomWalkPE(walk_length=dim)
    if name == "path-flow":
        return AddPathFlowPE(dim)
    return None


def linear_transformer_in(module: nn.Module | None) -> LinearTransformerPE | None:
    """The linear transformer that an encoding is or holds, or `None`.

    Example:
        >>> linear_transformer_in(build_encoding("conductances:pair=false", 4)).node_channels
        16
    """
    found = [] if module is None else [m for m in module.modules() if isinstance(m, LinearTransformerPE)]
    return found[0] if found else None


class NodeChannels(nn.Module):
    """An encoding without its edge channel: a model sees what it says of the nodes alone.

    Args:
        encoder: any encoding of nodes and edges.

    Example:
        >>> NodeChannels(LinearTransformerPE(k=4)).edge_channels
        0
    """

    def __init__(self, encoder: LinearTransformerPE) -> None:
        super().__init__()
        self.encoder, self.node_channels, self.edge_channels = encoder, encoder.node_channels, 0

    def forward(self, data: Any, *, return_edge: bool = False) -> Tensor | tuple[Tensor, None]:
        """Encode the nodes; with `return_edge` a pair, of which the second is `None`."""
        node = self.encoder(data)
        return (node, None) if return_edge else node


class LaplacianPE(BaseTransform):
    """PyG's Laplacian eigenvectors, zero where a graph has fewer than `k`, with a sign that does not change.

    PyG draws signs from the global generator and fails for `k >= n`. Here the entry of largest magnitude is positive
    (the first of them, up to rounding), so that evaluation is deterministic; training flips signs at random.

    Args:
        k: number of non-trivial eigenvectors.

    Example:
        >>> import torch
        >>> edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> LaplacianPE(k=3)(edge).laplacian_eigenvector_pe.round(decimals=4)
        tensor([[ 0.7071,  0.0000,  0.0000],
                [-0.7071,  0.0000,  0.0000]])
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def forward(self, data: Any) -> Data:
        """Set `laplacian_eigenvector_pe` `[n, k]`."""
        n = int(data.num_nodes)
        pe = torch.zeros(n, self.k)
        if n > 1:
            columns = min(self.k, n - 1)
            with warnings.catch_warnings():  # PyG builds a CSR matrix to compute them
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
                computed = AddLaplacianEigenvectorPE(columns, attr_name="pe", is_undirected=True)(data).pe
            pe[:, :columns] = computed * _canonical_sign(computed)
        data.laplacian_eigenvector_pe = pe
        return data

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k})"


def _canonical_sign(vectors: Tensor) -> Tensor:
    """`[k]` signs that make the first entry of (almost) largest magnitude positive."""
    magnitude = vectors.abs()
    first = (magnitude >= magnitude.amax(0) * (1 - 1e-4)).int().argmax(0)
    sign = vectors.gather(0, first.unsqueeze(0)).squeeze(0).sign()
    return torch.where(sign == 0, 1.0, sign)
