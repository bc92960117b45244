"""Eigenvectors and heat kernels: many molecules in one call, large graphs, and their peers on the same machine.

    python benchmarks/spectral.py --quick
    python benchmarks/spectral.py --out results/spectral    # writes results/spectral.json and results/spectral.md

Large graphs are those of `benchmarks/solvers.py`: 16 eigenvectors of the normalized Laplacian at a residual of 1e-5,
relative to the bound 2 of the largest eigenvalue. Every peer first runs in a process of its own, which is stopped after
`--limit` seconds; those that take less than `--patience` then take turns with graphtf in this process, repetition by
repetition. The table shows medians, and residuals that are measured afterwards.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
import torch
from graphs import large_graphs
from limits import trial
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


def spectral_peers(L: sp.csr_matrix, degree: np.ndarray, k: int, tol: float) -> dict[str, Callable[[], np.ndarray]]:
    """What SciPy and its preconditioners offer, as functions that return vectors."""
    n = L.shape[0]
    v0 = np.random.default_rng(1).normal(size=n)
    shifted = (L + 1e-5 * sp.identity(n)).tocsc()  # L itself is singular

    def block(M: Any) -> np.ndarray:
        X = np.random.default_rng(0).normal(size=(n, k))
        return spl.lobpcg(L, X, M=M, tol=tol, maxiter=500, largest=False)[1]

    def ordered() -> np.ndarray:
        options = {"SymmetricMode": True}
        factor = spl.splu(shifted, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        inverse = spl.LinearOperator((n, n), matvec=factor.solve, dtype=np.float64)
        return spl.eigsh(L, k, sigma=-1e-5, OPinv=inverse, tol=tol, v0=v0)[1]

    def multigrid() -> np.ndarray:
        import pyamg

        return block(pyamg.smoothed_aggregation_solver(shifted.tocsr(), B=np.sqrt(degree)[:, None]).aspreconditioner())

    def approximate() -> np.ndarray:
        import approx_chol

        root = np.sqrt(degree)
        plain = (sp.diags(root) @ L @ sp.diags(root)).tocsr()
        rows = (plain.indptr.astype(np.uint32), plain.indices.astype(np.uint32), plain.data)
        factor = approx_chol.factorize_raw(*rows, n)
        return block(spl.LinearOperator((n, n), lambda x: root * factor.solve(root * x.ravel()), dtype=np.float64))

    peers = {
        "SciPy eigsh": lambda: spl.eigsh(L, k, which="SA", tol=tol, v0=v0)[1],
        "SciPy eigsh, shift-invert": lambda: spl.eigsh(L, k, sigma=-1e-5, tol=tol, v0=v0)[1],
        "SciPy eigsh, shift-invert, minimum degree": ordered,
    }
    if importlib.util.find_spec("pyamg"):
        peers["PyAMG + SciPy lobpcg"] = multigrid
    if importlib.util.find_spec("approx_chol"):
        peers["approx-chol + SciPy lobpcg"] = approximate
    return peers


def large(
    name: str, graph: Incidence, repeats: int, patience: float, limit: float, k: int = 16, tol: float = 1e-5
) -> list[dict]:
    L = graph.normalized("sym").laplacian_scipy().tocsr()
    task = f"{k} eigenvectors, {name}, {graph.num_nodes} nodes, {graph.num_edges} edges"

    def residual(V):
        V, _ = np.linalg.qr(V)
        E, U = np.linalg.eigh(V.T @ (L @ V))
        return float(np.linalg.norm(L @ (V @ U) - V @ U * E, axis=0).max()) / 2, E

    def ours():  # from a graph about which nothing has been computed
        fresh = Incidence(graph.index, graph.weight, graph.num_nodes, validate=False)
        return laplacian_eigenvectors(fresh, k, "sym", tol=tol)

    path = torch.stack([torch.arange(5), torch.arange(1, 6)])
    warm = Incidence.from_edge_index(path, num_nodes=3000, directions="once").to(torch.float64)
    for method in ("memory", "preconditioned"):
        laplacian_eigenvectors(warm, 3, "sym", method=method)  # imports, compiled loops
    v = ours()
    rows, expected = [], v.eigenvalues.numpy()
    measured = {
        "graphtf auto": {"residual": residual(v.value.numpy())[0], "note": f"{v.method}, {v.num_layers} layers"}
    }
    runs: dict[str, Callable[[], Any]] = {"graphtf auto": ours}
    for peer, function in spectral_peers(L, graph.degree.numpy(), k, tol).items():
        ended = trial(lambda f=function: residual(f()), limit)  # the readout is a part of it
        if isinstance(ended, str):
            rows.append({"task": task, "method": peer, "note": ended})
            continue
        seconds, (off, values) = ended
        error = float(np.abs(values - expected).max())
        measured[peer] = {"residual": off, "eigenvalue_difference": error, "note": ""}
        if seconds > patience:
            rows.append({"task": task, "method": peer, "seconds": seconds} | measured[peer] | {"note": "one run"})
        else:
            runs[peer] = function
    seconds = {method: [] for method in runs}
    for _ in range(repeats):
        for method, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[method].append(time.perf_counter() - start)
    own = float(np.median(seconds["graphtf auto"]))
    taken = [{"task": task, "method": m, "seconds": float(np.median(s))} | measured[m] for m, s in seconds.items()]
    rows = taken + rows
    for row in rows:
        if "seconds" in row and row["method"] != "graphtf auto":
            row["ratio"] = row["seconds"] / own
    print(markdown(rows), flush=True)
    return rows


def heat(name: str, graph: Incidence, repeats: int) -> list[dict]:
    B, n = graph, graph.num_nodes
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
    parser.add_argument("--only", choices=["molecules", "large", "heat"], help="one of the tables")
    parser.add_argument("--graphs", nargs="+", default=[""], metavar="NAME", help="large graphs whose name holds one")
    parser.add_argument("--repeats", type=int, help="interleaved repetitions (default 5, with --quick 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--patience", type=float, default=20.0, help="slower peers run once (seconds)")
    parser.add_argument(
        "--limit", type=float, help="peers are stopped after it (seconds; default 120, with --quick 10)"
    )
    parser.add_argument("--out", type=Path, help="write this path with .json and .md added")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")  # of peers that do not converge
    quick = options.quick
    repeats = options.repeats or (3 if quick else 5)
    limit = options.limit or (10.0 if quick else 120.0)
    rows: list[dict] = []

    def save() -> None:  # after every table, as the whole takes long
        if options.out is None:
            return
        options.out.parent.mkdir(parents=True, exist_ok=True)
        machine = {"threads": options.threads, "processor": platform.processor() or platform.machine()}
        machine |= {"torch": torch.__version__, "quick": quick, "repeats": repeats}
        path, done = options.out.with_suffix(".json"), {row["task"] for row in rows}
        kept = json.loads(path.read_text())["rows"] if options.graphs != [""] and path.exists() else []
        everything = [row for row in kept if row["task"] not in done] + rows  # the other graphs of an earlier call
        path.write_text(json.dumps({"machine": machine, "rows": everything}, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(f"# Spectral solvers\n\n{machine}\n\n{markdown(everything)}\n")

    if options.only in (None, "molecules"):
        rows += small(2000 if quick else 10_000, repeats, 500 if quick else 2000)
        save()
    graphs = large_graphs(quick) if options.only != "molecules" else {}
    for name, graph in graphs.items():
        if not any(part in name for part in options.graphs):
            continue
        if options.only in (None, "large"):
            rows += large(name, graph, repeats, options.patience, limit)
        if options.only in (None, "heat"):
            rows += heat(name, graph, repeats)
        save()
    print(markdown(rows))


if __name__ == "__main__":
    main()
