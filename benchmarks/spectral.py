"""Eigenvectors and heat kernels: many molecules in one call, two large graphs, and their peers in the same process.

python benchmarks/spectral.py --quick
python benchmarks/spectral.py --out results/spectral    # writes results/spectral.json and results/spectral.md
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE
from torch_geometric.utils import to_dense_adj

from graphtf import Incidence
from graphtf.solvers import heat_kernel, laplacian_eigenvectors


def molecules(count: int) -> list[Data]:
    """Molecules that come with the package, as graphs; repeated if there are fewer."""
    from graphtf.datasets import clean_leads_smiles, zinc_graph

    graphs = [zinc_graph(s) for s in clean_leads_smiles("train")[:count]]
    graphs = [Data(edge_index=g.edge_index, num_nodes=g.num_nodes) for g in graphs if g.num_nodes > 9]
    return (graphs * -(-count // len(graphs)))[:count]


def grid(side: int) -> tuple[np.ndarray, int]:
    index = np.arange(side * side).reshape(side, side)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()])
    down = np.stack([index[:-1].ravel(), index[1:].ravel()])
    return np.concatenate([across, down], 1), side * side


def preferential_attachment(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, int]:
    rng, ends, edges, targets = np.random.default_rng(seed), [], [], list(range(m))
    for v in range(m, n):
        edges += [(v, t) for t in targets]
        ends += targets + [v] * m
        targets = []
        while len(targets) < m:
            t = ends[rng.integers(len(ends))]
            if t not in targets:
                targets.append(t)
    return np.array(edges).T, n


def timed(function, repeats: int) -> tuple[float, object]:
    """Median seconds, and the answer."""
    seconds, answer = [], None
    for _ in range(repeats):
        start = time.perf_counter()
        answer = function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), answer


def angle(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Sine of the largest angle between two subspaces."""
    a, b = torch.linalg.qr(ours.double())[0], torch.linalg.qr(theirs.double())[0]
    return float(torch.linalg.matrix_norm(a - b @ (b.T @ a), 2))


def small(count: int, repeats: int, peers: int) -> list[dict]:
    graphs = molecules(count)
    batch = Batch.from_data_list(graphs)
    B = Incidence.from_data(batch)
    k, rows = 8, []
    laplacian_eigenvectors(B, k, "sym", trivial=False)  # compiled and read from the disk

    def add(name, seconds, number, **more):
        rows.append(
            {"task": f"{k} eigenvectors a molecule", "method": name, "us_per_graph": seconds / number * 1e6} | more
        )

    seconds, v = timed(lambda: laplacian_eigenvectors(B, k, "sym", trivial=False), repeats)
    worst, start = 0.0, 0
    for i, g in enumerate(graphs[:300]):
        L = Incidence.from_data(g).to(torch.float64).normalized("sym").laplacian_dense()
        E, U = torch.linalg.eigh(L)
        c = int(v.counts[i])
        free = len(E) - int((E < 1e-10).sum())
        block = v.value[start : start + g.num_nodes, :c]
        start += g.num_nodes
        if c == k < free and E[-free + k] - E[-free + k - 1] < 1e-3:
            continue  # the subspace is not determined
        worst = max(worst, angle(block, U[:, -free:][:, :c]))
    add("graphtf, from an Incidence", seconds, count, sine=worst)
    seconds, _ = timed(lambda: laplacian_eigenvectors(batch, k, "sym", trivial=False), repeats)
    add("graphtf, from a Batch", seconds, count)
    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *args: None if name == "numba" else find_spec(name, *args)
    try:
        seconds, _ = timed(lambda: laplacian_eigenvectors(B, k, "sym", trivial=False), repeats)
    finally:
        importlib.util.find_spec = find_spec
    add("graphtf without numba, from an Incidence", seconds, count)

    def padded():
        part = Batch.from_data_list(graphs[:peers])
        A = to_dense_adj(part.edge_index, part.batch)
        degree = A.sum(2)
        root = torch.where(degree > 0, degree, 1.0).rsqrt()
        L = torch.diag_embed(torch.where(degree > 0, 1.0, 3.0)) - root.unsqueeze(2) * A * root.unsqueeze(1)
        return torch.linalg.eigh(L)[1][:, :, 1 : k + 1]

    add("padded torch.linalg.eigh", timed(padded, repeats)[0], peers)
    transform = AddLaplacianEigenvectorPE(k, is_undirected=True)
    number = max(100, peers // 4)
    seconds, _ = timed(lambda: [transform(g.clone()) for g in graphs[:number]], 1)
    add("PyG AddLaplacianEigenvectorPE", seconds, number)
    return rows


def large(
    name: str, edges: np.ndarray, n: int, repeats: int, quick: bool, k: int = 16, tol: float = 1e-5
) -> list[dict]:
    weight = np.exp(np.random.default_rng(0).uniform(-1, 1, edges.shape[1]))
    B = Incidence.from_edge_index(torch.from_numpy(edges), torch.from_numpy(weight), n, directions="once")
    L = B.normalized("sym").laplacian_scipy().tocsr()
    degree = B.degree.numpy()
    rows: list[dict] = []
    task = f"{k} eigenvectors, {name}, {n} nodes, {edges.shape[1]} edges"

    def residual(V):
        V, _ = np.linalg.qr(V)
        E, U = np.linalg.eigh(V.T @ (L @ V))
        return float(np.linalg.norm(L @ (V @ U) - V @ U * E, axis=0).max()) / 2, E

    best, v = timed(lambda: laplacian_eigenvectors(B, k, "sym", tol=tol), repeats)
    expected = v.eigenvalues.numpy()
    rows.append({"task": task, "method": f"graphtf auto ({v.method})", "seconds": best,
                 "residual": residual(v.value.numpy())[0], "products": v.num_layers})  # fmt: skip

    v0 = np.random.default_rng(1).normal(size=n)
    shifted = (L + 1e-5 * sp.identity(n)).tocsc()
    mesh = v.method == "preconditioned"

    def plain():
        return spl.eigsh(L, k, which="SA", tol=tol, v0=v0, maxiter=40 if mesh else None)[1]

    def shift_invert():
        return spl.eigsh(L, k, sigma=-1e-5, tol=tol, v0=v0)[1]

    def shift_invert_ordered():
        options = {"SymmetricMode": True}
        factor = spl.splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        inverse = spl.LinearOperator((n, n), matvec=factor.solve, dtype=np.float64)
        return spl.eigsh(L, k, sigma=-1e-5, OPinv=inverse, tol=tol, v0=v0)[1]

    def multigrid():
        import pyamg

        M = pyamg.smoothed_aggregation_solver(shifted.tocsr(), B=np.sqrt(degree)[:, None]).aspreconditioner()
        X = np.random.default_rng(0).normal(size=(n, k))
        return spl.lobpcg(L, X, M=M, tol=tol, maxiter=60, largest=False)[1]

    peers = [("SciPy eigsh", plain)]
    if mesh or not quick:  # takes minutes without a mesh
        peers.append(("PyAMG + SciPy lobpcg", multigrid))
    if mesh:
        peers += [("SciPy eigsh, shift-invert", shift_invert), ("the same, symmetric ordering", shift_invert_ordered)]
    for peer, function in peers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds, V = timed(function, 1)
        except (spl.ArpackNoConvergence, ImportError) as error:
            rows.append({"task": task, "method": peer, "note": f"{type(error).__name__}: did not finish"})
            continue
        off, values = residual(V)
        error = float(np.abs(values - expected).max() / max(expected.max(), 1e-300))
        rows.append({"task": task, "method": peer, "seconds": seconds, "residual": off,
                     "ratio": seconds / best, "eigenvalue_difference": error})  # fmt: skip
    return rows


def heat(name: str, edges: np.ndarray, n: int, repeats: int) -> list[dict]:
    B = Incidence.from_edge_index(torch.from_numpy(edges), torch.ones(edges.shape[1]).double(), n, directions="once")
    x = np.random.default_rng(0).normal(size=n)
    times = [0.1, 1.0, 10.0]
    task = f"heat at {times}, {name}, sym"
    seconds, y = timed(lambda: heat_kernel(B, torch.from_numpy(x), times, normalization="sym", tol=1e-8), repeats)
    L = B.normalized("sym").laplacian_scipy().tocsr()
    peer, z = timed(lambda: np.stack([spl.expm_multiply(-t * L, x) for t in times]), 1)
    error = float(np.linalg.norm(y.numpy() - z, axis=1).max() / np.linalg.norm(x))
    return [
        {"task": task, "method": "graphtf memory", "seconds": seconds, "products": y.num_layers, "difference": error},
        {"task": task, "method": "SciPy expm_multiply", "seconds": peer, "ratio": peer / seconds},
    ]


def markdown(rows: list[dict]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(keys) + " |", "|" + " --- |" * len(keys)]
    for row in rows:
        cells = [f"{row[k]:.3g}" if isinstance(row.get(k), float) else str(row.get(k, "")) for k in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller graphs, under two minutes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write this path with .json and .md added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quick = options.quick
    repeats = 3 if quick else 5
    rows = small(2000 if quick else 10_000, repeats, 500 if quick else 2000)
    attachment = preferential_attachment(20_000 if quick else 100_000, 5)
    mesh = grid(150 if quick else 500)
    for name, (edges, n) in [("preferential attachment", attachment), ("grid", mesh)]:
        rows += large(name, edges, n, repeats, quick) + heat(name, edges, n, repeats)
    print(markdown(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {"threads": options.threads, "processor": platform.processor() or platform.machine()}
        machine |= {"torch": torch.__version__, "quick": quick}
        options.out.with_suffix(".json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(f"# Spectral solvers\n\n{machine}\n\n{markdown(rows)}\n")


if __name__ == "__main__":
    main()
