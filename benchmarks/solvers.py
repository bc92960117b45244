"""Time of the solvers against their peers on the same graphs, in the same process.

    python benchmarks/solvers.py --quick                  # under 2 minutes: smaller graphs
    python benchmarks/solvers.py --out results/solvers    # writes results/solvers.json and results/solvers.md

Molecules: effective resistance of every edge of a PyG batch, in one call. Large graphs: one right-hand side, and 32, to
a relative residual of 1e-8; peers get the assembled SciPy matrix, graphtf the edge list, and every answer's residual is
measured afterwards. Methods take turns, repetition by repetition; the table shows medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import platform
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from graphs import grid, large_graphs, preferential, weights
from limits import trial
from report import interleaved, table, write
from torch import Tensor

from graphtf import Incidence
from graphtf.layout import PaddedLayout
from graphtf.solvers import effective_resistance, electric_potential

TOL = 1e-8


def linear_peers(graph: Incidence, psi: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    from scipy.sparse.linalg import LinearOperator, cg, splu

    L = graph.laplacian_scipy()
    n, degree = L.shape[0], np.maximum(L.diagonal(), 1e-300)

    def jacobi() -> np.ndarray:
        M = LinearOperator((n, n), lambda r: r / degree, dtype=np.float64)
        return cg(L, psi, rtol=TOL, M=M, maxiter=20_000)[0]

    def direct() -> np.ndarray:
        factor = splu(L[1:, 1:].tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        return np.concatenate([[0.0], factor.solve(psi[1:])])

    def multigrid() -> np.ndarray:
        import pyamg

        return pyamg.smoothed_aggregation_solver(L).solve(psi, tol=TOL, accel="cg", maxiter=500)

    def approximate() -> np.ndarray:
        import approx_chol

        factor = approx_chol.factorize_raw(L.indptr.astype(np.uint32), L.indices.astype(np.uint32), L.data, n)
        return cg(L, psi, rtol=TOL, M=LinearOperator((n, n), factor.solve, dtype=np.float64))[0]

    peers: dict[str, Callable[[], np.ndarray]] = {"scipy cg, Jacobi": jacobi, "scipy splu": direct}
    if importlib.util.find_spec("pyamg"):
        peers["PyAMG smoothed aggregation + cg"] = multigrid
    if importlib.util.find_spec("approx_chol"):
        peers["approx-chol + scipy cg"] = approximate
    return peers


def fresh(graph: Incidence) -> Incidence:  # without anything that was computed about it
    return Incidence(graph.index, graph.weight, graph.num_nodes, validate=False)


def relative(graph: Incidence, psi: Tensor, x: Any) -> float:
    left = psi - graph.laplacian @ torch.as_tensor(np.asarray(x)).view(psi.shape)
    return float((left.norm(dim=0) / psi.norm(dim=0)).max())


def medians(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    return {name: statistics.median(times) for name, times in interleaved(runs, repeats).items()}


def linear_table(graphs: dict[str, Incidence], repeats: int, patience: float) -> list[dict[str, Any]]:
    rows = []
    warm = Incidence.from_edge_index(grid(60), weights(grid(60)), directions="once")
    for k in (1, 9):  # compiles the loops
        electric_potential(warm, torch.randn(3600, k, dtype=torch.float64).squeeze(1), tol=1e-4)
    for name, graph in graphs.items():
        generator = torch.Generator().manual_seed(0)
        psi = graph.center(torch.randn(graph.num_nodes, dtype=torch.float64, generator=generator))
        many = graph.center(torch.randn(graph.num_nodes, 32, dtype=torch.float64, generator=generator))
        runs: dict[str, Callable[[], Any]] = {
            "graphtf auto": lambda g=graph, p=psi: electric_potential(g, p, tol=TOL),
            "graphtf auto, from the edge list": lambda g=graph, p=psi: electric_potential(fresh(g), p, tol=TOL),
        }
        peers = linear_peers(graph, psi.numpy())
        if "preferential" in name or "power" in name:  # it fills in completely
            limit = 3 * patience
            ended = trial(lambda peer=peers["scipy splu"]: float(peer().sum()), limit)
            if isinstance(ended, str):
                rows.append(_row(name, graph, "scipy splu", limit, math.nan, f"{ended}, a lower bound of its time"))
                del peers["scipy splu"]
        runs.update(peers)
        chosen = electric_potential(fresh(graph), psi, tol=TOL)
        residuals = {}
        for method, run in list(runs.items()):
            start = time.perf_counter()
            try:
                answer = run()
            except (RuntimeError, MemoryError) as error:  # a peer that gives up
                rows.append(_row(name, graph, method, math.nan, math.nan, f"failed: {error}"))
                del runs[method]
                continue
            took = time.perf_counter() - start
            residuals[method] = relative(graph, psi, answer)
            if took > patience and "graphtf" not in method:
                rows.append(_row(name, graph, method, took, residuals[method], "one run"))
                del runs[method]
        for method, seconds in medians(runs, repeats).items():
            note = f"{chosen.method}, {chosen.num_layers} layers" if "graphtf" in method else ""
            rows.append(_row(name, graph, method, seconds, residuals[method], note))
        several: dict[str, Callable[[], Any]] = {
            "graphtf auto": lambda g=graph, p=many: electric_potential(g, p, tol=TOL),
            "graphtf auto, from the edge list": lambda g=graph, p=many: electric_potential(fresh(g), p, tol=TOL),
        }
        left = relative(graph, many, several["graphtf auto"]().value)
        for method, took in medians(several, repeats).items():
            single = next(row["seconds"] for row in rows if (row["graph"], row["method"]) == (name, method))
            what = f"{method}, 32 right-hand sides"
            rows.append(_row(name, graph, what, took, left, f"{took / single:.1f} times one"))
        print(table([row for row in rows if row["graph"] == name]), flush=True)
    return rows


def _row(name: str, graph: Incidence, method: str, seconds: float, residual: float, note: str) -> dict[str, Any]:
    keys = ("graph", "nodes", "edges", "method", "seconds", "residual", "note")
    return dict(zip(keys, (name, graph.num_nodes, graph.num_edges, method, seconds, residual, note), strict=True))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Ratio to the best peer on every graph, and the geometric mean against every single peer."""
    # PyAMG stops early on some graphs, which does not count; a peer that was stopped counts with the time it had.
    solved = [row for row in rows if row["residual"] <= 10 * TOL or row["note"].startswith("stopped")]
    one = [row for row in solved if "graphtf auto," not in row["method"]]
    ours = {row["graph"]: row["seconds"] for row in one if row["method"] == "graphtf auto"}
    peers: dict[str, dict[str, float]] = {}
    for row in one:
        if row["method"] != "graphtf auto":
            peers.setdefault(row["method"], {})[row["graph"]] = row["seconds"]
    best = {g: t / min(p[g] for p in peers.values() if g in p) for g, t in ours.items()}
    mean = {name: math.exp(statistics.mean(math.log(p[g] / ours[g]) for g in p)) for name, p in peers.items()}
    return {"time over that of the best peer": best, "times faster than each peer, geometric mean": mean}


def molecules_table(count: int, repeats: int) -> list[dict[str, Any]]:
    from torch_geometric.data import Batch, Data
    from torch_geometric.transforms import AddLaplacianEigenvectorPE

    from graphtf.datasets import clean_leads_smiles, zinc_graph

    graphs = [zinc_graph(smiles) for smiles in clean_leads_smiles("train")[:count]]
    graphs = [Data(edge_index=g.edge_index, num_nodes=g.num_nodes) for g in graphs]
    batch = Batch.from_data_list(graphs)

    def eigh() -> Tensor:
        layout = PaddedLayout(Incidence.from_data(batch))
        values, vectors = torch.linalg.eigh(layout.laplacian_blocks)
        inverse = torch.where(values > 1e-4, 1 / values.clamp(min=1e-4), 0.0)
        scaled = vectors * inverse.sqrt().unsqueeze(1)
        (u, v), local = batch.edge_index, layout.local
        return (scaled[batch.batch[u], local[u]] - scaled[batch.batch[v], local[v]]).square().sum(1)

    some, expected = [g for g in graphs[:200] if g.num_nodes > 8], eigh()
    transform = AddLaplacianEigenvectorPE(k=8, is_undirected=True)
    error = float(((effective_resistance(batch, tol=1e-4) - expected) / expected).abs().max())
    runs: dict[str, Callable[[], Any]] = {
        "graphtf effective_resistance, one call": lambda: effective_resistance(batch, tol=1e-4),
        "padded torch.linalg.eigh": eigh,
        "PyG AddLaplacianEigenvectorPE(k=8), one by one (200 graphs)": lambda: [transform(g) for g in some],
    }
    sizes = dict(zip(runs, (count, count, len(some)), strict=True))
    rows = [
        {"method": name, "microseconds a graph": seconds / sizes[name] * 1e6, "largest relative difference": error}
        for name, seconds in medians(runs, repeats).items()
    ]
    print(table(rows), flush=True)
    return rows


def scaling_table(sizes: list[int], repeats: int) -> list[dict[str, Any]]:
    rows = []
    families: dict[str, Callable[[int], Tensor]] = {
        "grid": lambda m: grid(max(int((m / 2) ** 0.5), 2)),
        "preferential attachment": lambda m: preferential(m // 5, 5),
    }
    for family, build in families.items():
        points = []
        for size in sizes:
            index = build(size)
            graph = Incidence.from_edge_index(index, weights(index), directions="once")
            psi = graph.center(torch.randn(graph.num_nodes, dtype=torch.float64))
            run = {"": lambda g=graph, p=psi: electric_potential(fresh(g), p, tol=TOL)}
            seconds = medians(run, repeats)[""]
            points.append((graph.num_edges, seconds))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append({"family": family, "edges": graph.num_edges, "seconds": seconds, "peak MiB so far": peak})
        large = [(m, t) for m, t in points if m > 9000]  # below, the fixed costs of a call are what is measured
        exponent = float(np.polyfit(*np.log(np.array(large)).T, 1)[0]) if len(large) > 1 else float("nan")
        rows.append({"family": family, "edges": "fitted exponent", "seconds": exponent, "peak MiB so far": peak})
    print(table(rows), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller graphs, 3 repetitions, under 2 minutes")
    parser.add_argument("--only", choices=["molecules", "linear", "scaling"], help="one of the tables")
    parser.add_argument("--graphs", nargs="+", default=[""], metavar="NAME", help="large graphs whose name holds one")
    parser.add_argument("--repeats", type=int, help="interleaved repetitions (default 5, with --quick 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--patience", type=float, default=20.0, help="slower peers run once (seconds)")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")  # of peers that give up
    repeats = args.repeats or (3 if args.quick else 5)
    versions = {"torch": torch.__version__, "machine": platform.machine(), "python": platform.python_version()}
    report: dict[str, Any] = {"threads": args.threads, "repeats": repeats, **versions}
    text = ["# Linear solvers\n", ", ".join(f"{key} {value}" for key, value in report.items()) + "\n"]
    if args.only in (None, "molecules"):
        report["molecules"] = molecules_table(2000 if args.quick else 10_000, repeats)
        text += ["## Effective resistance of every edge of molecules\n", table(report["molecules"])]
    if args.only in (None, "linear"):
        graphs = {n: g for n, g in large_graphs(args.quick).items() if any(part in n for part in args.graphs)}
        report["linear"] = linear_table(graphs, repeats, args.patience)
        report["summary"] = summary(report["linear"])
        text += ["## Potentials at a relative residual of 1e-8 (seconds)\n", table(report["linear"])]
        for title, values in report["summary"].items():
            lines = [{"name": name, title: value} for name, value in values.items()]
            print(table(lines))
            text.append(table(lines))
    if args.only in (None, "scaling"):
        report["scaling"] = scaling_table([1000, 10_000, 100_000] + [1_000_000] * (not args.quick), repeats)
        text += ["## Cost against size\n", table(report["scaling"])]
    if args.out is not None:
        write(args.out, report, text)


if __name__ == "__main__":
    main()
