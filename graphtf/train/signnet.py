"""A network on eigenvectors that does not depend on their signs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graphtf.precision import full_precision
from graphtf.validate import check_positive_int


class SignNet(nn.Module):
    r"""Sign-invariant encoding of nodes, from eigenvectors and eigenvalues that a transform has stored.

    .. math:: \mathrm{node} = \rho\bigl([\, \phi(v_j, \lambda_j) + \phi(-v_j, \lambda_j) \,]_{j = 1}^{k}\bigr)

    with a network :math:`\phi` of message passing,
    :math:`h_i \leftarrow \mathrm{MLP}\bigl((1 + \epsilon) h_i + \sum_{j \sim i} h_j\bigr)`, shared by all
    eigenvectors, and a network :math:`\rho` of two layers on every node. Eigenvectors that a graph does not have
    (eigenvalue 0) contribute nothing. A repeated eigenvalue leaves its basis open, on which the encoding depends.

    Args:
        k: number of eigenvectors.
        vectors, values: attributes with them and with their eigenvalues, `[n, k]` each, as
            :class:`graphtf.transforms.AddSpectralPE` stores them.
        hidden: width of both networks.
        num_layers: rounds of message passing.
        out_channels: width of the encoding.
        seed: of the weights.

    Raises:
        TypeError: a number is no int.
        ValueError: a number is not positive.

    Example:
        >>> from torch_geometric.data import Data
        >>> from graphtf.transforms import AddSpectralPE
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> data = AddSpectralPE(k=2, eigenvalues_name="laplacian_eigenvalues")(path)
        >>> encoder = SignNet(k=2)
        >>> before = encoder(data)
        >>> data.laplacian_eigenvector_pe[:, 0] *= -1
        >>> torch.allclose(encoder(data), before, atol=1e-6)
        True

    Reference: Lim, Robinson et al., "Sign and Basis Invariant Networks for Spectral Graph Representation Learning",
    ICLR 2023.
    """

    def __init__(
        self,
        k: int = 8,
        vectors: str = "laplacian_eigenvector_pe",
        values: str = "laplacian_eigenvalues",
        hidden: int = 28,
        num_layers: int = 3,
        out_channels: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.k, self.vectors, self.values = check_positive_int("k", k), vectors, values
        for name, value in [("hidden", hidden), ("num_layers", num_layers), ("out_channels", out_channels)]:
            check_positive_int(name, value)
        self.node_channels, self.edge_channels = out_channels, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(check_positive_int("seed", seed, minimum=0))
            self.phi = nn.ModuleList(_network(hidden if i else 2, hidden, hidden) for i in range(num_layers))
            self.rho = _network(k * hidden, hidden, out_channels)
        self.eps = nn.Parameter(torch.zeros(num_layers))

    def forward(self, data: Any, *, return_edge: bool = False) -> Tensor | tuple[Tensor, None]:
        """Encode the nodes `[n, out_channels]`; with `return_edge` a pair, of which the second is `None`.

        Raises:
            ValueError: the data has no eigenvectors or eigenvalues, or not `k` of them.
        """
        v, values = (self._read(data, name) for name in (self.vectors, self.values))
        with full_precision(v.device.type):  # v and -v must cancel where they should
            node = self._encode(v, values, data.edge_index)
        return (node, None) if return_edge else node

    def _encode(self, v: Tensor, values: Tensor, edge_index: Tensor) -> Tensor:
        signed = torch.stack([v, -v], dim=1)  # [n, 2, k]
        h = torch.stack([signed, values.unsqueeze(1).expand_as(signed)], dim=-1)
        source, target = edge_index
        for i, (eps, network) in enumerate(zip(self.eps, self.phi, strict=True)):
            h = network(((1 + eps) * h).index_add(0, target, h.index_select(0, source)))
            if i < len(self.phi) - 1:
                h = h.relu()
        there = (values > 0).to(h.dtype).unsqueeze(-1)
        out: Tensor = self.rho((h.sum(1) * there).flatten(1))
        return out

    def _read(self, data: Any, name: str) -> Tensor:
        value = data.get(name)
        if value is None:
            raise ValueError(f"the data has no {name!r}; apply AddSpectralPE with this name before batching")
        if value.dim() != 2 or value.shape[1] != self.k:
            raise ValueError(f"{name} must have {self.k} columns, but has shape {list(value.shape)}")
        return value

    def extra_repr(self) -> str:
        """Attributes and width."""
        return f"k={self.k}, vectors={self.vectors!r}, values={self.values!r}, out_channels={self.node_channels}"


def _network(channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, out_channels))
