"""Graphs of the accuracy table, and dense answers on them that are more exact than what they are compared with."""

from __future__ import annotations

import mpmath
import networkx as nx
import numpy as np
import scipy.fft
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch

from graphtf import Incidence
from graphtf.testing import graph_zoo

DIGITS = 60  # of the decompositions where weights are far apart
WIDE = 1e6  # largest over smallest weight from which on that is so
ROUNDS = 4  # corrections of potentials by residuals in extended precision


def graphs(quick: bool) -> dict[str, Incidence]:
    """The small graphs that ship with the package, and those of the list in the benchmark's description."""
    n = 64 if quick else 600
    side = 8 if quick else 25
    chosen = {
        f"cycle {n}": nx.cycle_graph(n),
        f"star {n}": nx.star_graph(n - 1),
        "complete 100": nx.complete_graph(100),
        f"grid {side} x {side}": nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, side)),
        f"barbell 2 x {n // 12}": nx.barbell_graph(n // 12, 0),
        f"random regular {n}, degree 4": nx.random_regular_graph(4, n, seed=0),
        f"random tree {n}": nx.random_labeled_tree(n, seed=0),
    }
    parts = [nx.cycle_graph(n // 4), nx.grid_2d_graph(7, 9), nx.complete_graph(20), nx.empty_graph(40)]
    chosen["disconnected, 40 isolated nodes"] = nx.convert_node_labels_to_integers(nx.disjoint_union_all(parts))
    long = 500 if quick else 5000
    chosen[f"path {long:,}"] = nx.path_graph(long)
    zoo = {f"zoo: {name}": graph for name, graph in graph_zoo().items()}
    big = {name: _incidence(graph, torch.ones(graph.size())) for name, graph in chosen.items()}
    mesh = nx.convert_node_labels_to_integers(nx.grid_2d_graph(6, 6))
    exponent = torch.rand(mesh.size(), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    big["grid 6 x 6, weights over 12 orders"] = _incidence(mesh, 10 ** (12 * exponent - 6))
    return zoo | big


def _incidence(graph: nx.Graph, weight: torch.Tensor) -> Incidence:
    index = torch.tensor(list(graph.edges), dtype=torch.int64).view(-1, 2).T.contiguous()
    return Incidence(index, weight.double(), graph.number_of_nodes())


class Reference:
    """Potentials with residuals in extended precision, and the eigenvalues of one graph.

    Eigenvalues are those of `scipy.linalg.eigh`, of an explicit formula for long paths, and of 60 digits where weights
    are far apart.
    """

    def __init__(self, graph: Incidence) -> None:
        self.graph = graph
        n, labels = graph.num_nodes, graph.components().numpy()
        self.labels = labels
        _, first = np.unique(labels, return_index=True)
        self.keep = np.ones(n, dtype=bool)
        self.keep[first] = False
        u, v = graph.index.numpy()
        w = graph.weight.numpy().astype(np.longdouble)
        self.L = sp.coo_array((np.concatenate([w, w, -w, -w]), (np.r_[u, v, u, v], np.r_[u, v, v, u])), (n, n)).tocsr()
        inner = self.L.astype(np.float64)[self.keep][:, self.keep].tocsc()
        options = {"SymmetricMode": True}
        self.factor = (
            spl.splu(inner, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options) if inner.shape[0] else None
        )
        self._eig: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}

    def center(self, x: np.ndarray) -> np.ndarray:
        """Columns less their mean on every component."""
        sums = np.zeros((self.labels.max(initial=-1) + 1, x.shape[1]), dtype=x.dtype)
        np.add.at(sums, self.labels, x)
        return x - (sums / np.bincount(self.labels)[:, None])[self.labels] if len(x) else x

    def potential(self, psi: np.ndarray) -> np.ndarray:
        """`L^+ psi` for `[n, k]`, in extended precision."""
        psi = self.center(psi.astype(np.longdouble))
        x = np.zeros_like(psi)
        for _ in range(ROUNDS if self.factor is not None else 0):
            step = np.zeros(psi.shape)
            step[self.keep] = self.factor.solve((psi - self.L @ x)[self.keep].astype(np.float64))
            x = self.center(x + step)
        return x

    def resistance(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Effective resistances of pairs, infinite between components."""
        psi = np.zeros((self.graph.num_nodes, len(u)))
        np.add.at(psi, (u, np.arange(len(u))), 1.0)
        np.add.at(psi, (v, np.arange(len(u))), -1.0)
        x = self.potential(psi)
        R = x[u, np.arange(len(u))] - x[v, np.arange(len(u))]
        return np.where(self.labels[u] == self.labels[v], R, np.inf)

    def inverse(self) -> np.ndarray:
        """`L^+`, column by column."""
        return self.potential(np.eye(self.graph.num_nodes))

    @property
    def is_path(self) -> bool:
        """Whether this is a long path of unit conductances, its nodes in order."""
        n, (u, v) = self.graph.num_nodes, self.graph.index
        line = n > 1000 and torch.equal(u, torch.arange(n - 1)) and torch.equal(v, u + 1)
        return line and bool((self.graph.weight == 1).all())

    def eigen(self, normalization: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues in ascending order, exact zeros among them, and eigenvectors."""
        if normalization not in self._eig:
            n, zeros = self.graph.num_nodes, self.labels.max(initial=-1) + 1
            S = self.graph if normalization is None else self.graph.normalized("sym")
            w = self.graph.weight
            if self.is_path and normalization is None:
                E = 4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2
                V = scipy.fft.idct(np.eye(n), axis=0, norm="ortho")
            elif len(w) and float(w.max()) > WIDE * float(w.min()):
                with mpmath.workdps(DIGITS):
                    A = _exact_laplacian(self.graph, normalization)
                    values, vectors = mpmath.eigsy(A)
                    E = np.array([float(values[i]) for i in range(n)])
                    V = np.array([[float(vectors[i, j]) for j in range(n)] for i in range(n)])
            else:
                E, V = np.linalg.eigh(S.laplacian_dense().numpy()) if n else (np.zeros(0), np.zeros((0, 0)))
            E[:zeros] = 0.0
            self._eig[normalization] = E, V
        return self._eig[normalization]

    def function(self, f, x: np.ndarray, normalization: str | None = None) -> np.ndarray:
        """`f(L) x` by eigenvalues."""
        E, V = self.eigen(normalization)
        return V @ (f(E)[:, None] * (V.T @ x))

    def root(self, psi: np.ndarray) -> np.ndarray:
        """`(L^+)^{1/2} psi`."""
        positive = np.arange(self.graph.num_nodes) > self.labels.max(initial=-1)
        safe = np.where(positive, self.eigen()[0], 1.0)
        return self.function(lambda E: positive / np.sqrt(safe), self.center(psi))


def _exact_laplacian(graph: Incidence, normalization: str | None) -> mpmath.matrix:
    n = graph.num_nodes
    A = mpmath.zeros(n)
    for u, v, w in zip(*graph.index.tolist(), graph.weight.tolist(), strict=True):
        A[u, u] += mpmath.mpf(w)
        A[v, v] += mpmath.mpf(w)
        A[u, v] -= mpmath.mpf(w)
        A[v, u] -= mpmath.mpf(w)
    if normalization == "sym":
        scale = [1 / mpmath.sqrt(A[i, i]) if A[i, i] else mpmath.mpf(0) for i in range(n)]
        for i in range(n):
            for j in range(n):
                A[i, j] *= scale[i] * scale[j]
    return A
