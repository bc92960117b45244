"""Graphs that the benchmarks of the solvers share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphtf import Incidence
from graphtf.components import connected_components


def weights(index: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.exp(2 * torch.rand(index.shape[1], dtype=torch.float64, generator=generator) - 1)


def grid(side: int) -> Tensor:
    nodes = torch.arange(side * side).view(side, side)
    across = torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()])
    return torch.cat([across, torch.stack([nodes[:-1].flatten(), nodes[1:].flatten()])], 1)


def preferential(n: int, m: int, exponent_bias: float = 0.0, seed: int = 0) -> Tensor:
    """Every node is joined to `m` ends of earlier edges (with a bias to early nodes as well)."""
    rng, ends, count = np.random.default_rng(seed), np.empty(2 * n * m, np.int64), 0
    for v in range(1, n):
        for _ in range(min(m, v)):
            early = count == 0 or rng.random() < exponent_bias
            u = int(v * rng.random() ** 3) if early else ends[int(rng.random() * count)]
            u = u if u < v else v - 1
            ends[count], ends[count + 1] = v, u
            count += 2
    return torch.from_numpy(ends[:count].reshape(-1, 2).T.copy())


def road(n: int, seed: int = 0) -> Tensor:
    """Planar: a thinned Delaunay triangulation with long chains of nodes of degree two, like roads."""
    from scipy.spatial import Delaunay

    rng = np.random.default_rng(seed)
    corners = max(n // 4, 10)
    triangles = Delaunay(rng.random((corners, 2))).simplices
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    pairs = pairs[rng.random(len(pairs)) < 0.6]
    per_edge = max((n - corners) // max(len(pairs), 1), 0)
    inner = corners + np.arange(len(pairs) * per_edge).reshape(len(pairs), per_edge)
    chain = np.concatenate([pairs[:, :1], inner, pairs[:, 1:]], 1)
    index = torch.from_numpy(np.stack([chain[:, :-1].ravel(), chain[:, 1:].ravel()]))
    labels = connected_components(index, int(index.max()) + 1)
    kept = index[:, (labels == labels.bincount().argmax())[index[0]]]
    return torch.unique(kept, return_inverse=True)[1]


def large_graphs(quick: bool) -> dict[str, Incidence]:
    if quick:
        indices = {"grid 150 x 150": grid(150), "preferential attachment 20,000": preferential(20_000, 5)}
    else:
        indices = {
            "grid 500 x 500": grid(500),
            "preferential attachment 100,000": preferential(100_000, 5),
            "road-like planar": road(1_450_000),
            "power law": preferential(200_000, 5, 0.2),
        }
    return {
        name: Incidence.from_edge_index(index, weights(index), directions="once") for name, index in indices.items()
    }
