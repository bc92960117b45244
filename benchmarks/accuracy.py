"""Errors of every solver function and method on every graph of a zoo, against dense and extended-precision answers.

    python benchmarks/accuracy.py --quick                    # smaller graphs, a minute
    python benchmarks/accuracy.py --out benchmarks/results   # writes accuracy.json and accuracy.md

In float64 with `tol` 1e-10 and in float32 with `tol` 1e-4, the weights and demands rounded to it beforehand. An error
is the largest difference over the largest entry, for columns the worst one; for heat the norm of the difference over
that of the start, which is what `tol` limits; for eigenvectors the sine of the angle to the invariant subspace of all
eigenvalues as close as `tol`, for eigenvalues relative to the largest one. Elsewhere it is the residual that keeps
`tol`; the error may be larger by the condition of the problem.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from reference import Reference, graphs

from graphtf import Incidence, solvers
from graphtf.solvers import ConvergenceError

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
LINEAR = ("auto", "dense", "memory", "preconditioned", "gradient", "chebyshev", "multiplicative")
FIXED = ("gradient", "chebyshev", "multiplicative")
SMALL = 40  # nodes of the largest graph for methods of fixed depth
EIGEN = ("auto", "dense", "memory", "preconditioned")
MOST_PAIRS, LARGE = 60, 1000  # on graphs of more nodes only so many pairs, and no function of all of them
TIMES = [0.0, 0.5, 20.0]
SHORT = 2  # of these for the Taylor series, which loses all digits at long times
Case = tuple[Callable[..., Any], Callable[[Any], float]]


def difference(ours: Any, exact: np.ndarray) -> float:
    ours = np.asarray(ours.detach().numpy(), dtype=np.longdouble)
    if ours.size == 0:
        return 0.0
    if not np.array_equal(np.isinf(ours), np.isinf(exact)):
        return float("inf")
    ours, exact = (np.where(np.isinf(x), 0.0, x).reshape(len(x) if x.ndim else 1, -1) for x in (ours, exact))
    size = np.abs(exact).max(0)
    error = np.abs(ours - exact).max(0)
    return float((error / np.where(size > 0, size, 1.0)).max())


def subspace(v: Any, exact: tuple[np.ndarray, np.ndarray], largest: bool, tol: float) -> float:
    """Errors of eigenvalues, and of vectors against all those whose eigenvalues are as near as can be told."""
    E, V = exact
    E, V = (E[::-1], V[:, ::-1]) if largest else (E, V)
    count = int(v.counts)
    if count == 0 or E.max() == 0:
        return 0.0
    off = np.abs(v.eigenvalues.detach().numpy()[:count] - E[:count]).max() / E.max()
    near = np.abs(E - E[count - 1]) <= max(1e3 * tol, 1e-9) * E.max()
    near[:count] = True
    ours = v.value.detach().double().numpy()[:, :count]
    return float(max(off, np.linalg.norm(ours - V[:, near] @ (V[:, near].T @ ours), 2)))


def cases(B: Incidence, reference: Reference, tol: float) -> dict[str, tuple[tuple[str, ...], Case]]:
    """Name of a function: its methods, the call with a method, and the error of what it returns."""
    n, large = B.num_nodes, B.num_nodes > LARGE
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(n, 3, dtype=torch.float64, generator=generator).to(B.dtype)
    demand, (u, v) = psi.double().numpy(), reference.graph.index.numpy()
    w = reference.graph.weight.numpy()
    few = slice(None, None, max(1, len(u) // MOST_PAIRS) if large else 1)
    pairs = torch.cat([B.index[:, few], torch.randint(max(n, 1), (2, 20 if n else 0), generator=generator)], 1)
    S = solvers
    found: dict[str, tuple[tuple[str, ...], Case]] = {}

    def add(name: str, methods: tuple[str, ...], call: Callable[..., Any], error: Callable[[Any], float]) -> None:
        left_out = ("dense",) * large + FIXED * (n > SMALL)
        found[name] = tuple(m for m in methods if m not in left_out), (call, error)

    x = reference.potential(demand)
    add("electric_potential", LINEAR, lambda **o: S.electric_potential(B, psi, **o), lambda y: difference(y, x))
    flow = w[:, None] * (x[u] - x[v])
    add("electric_flow", LINEAR, lambda **o: S.electric_flow(B, psi, **o), lambda y: difference(y, flow))
    R = reference.resistance(*pairs.numpy())
    add("effective_resistance", LINEAR, lambda **o: S.effective_resistance(B, pairs, **o), lambda y: difference(y, R))
    roots = reference.root(demand)
    methods = ("auto", "dense", "memory", "gradient")
    add("resistive_embedding", methods, lambda **o: S.resistive_embedding(B, psi, **o), lambda y: difference(y, roots))
    scale = max(1.0, float(B.degree.mean()) if n else 1.0)
    heat = {None: [t / scale for t in TIMES], "sym": TIMES}
    for norm, times in heat.items() if not large else [(None, TIMES)]:
        exact = np.stack([reference.function(lambda E, t=t: np.exp(-t * E), demand, norm) for t in times])

        def error(y: Any, exact: np.ndarray = exact) -> float:
            left = np.linalg.norm(y.detach().double().numpy() - exact[: len(y)], axis=1) / np.linalg.norm(
                demand, axis=0
            ).clip(1e-300)
            return float(left.max()) if left.size and n else 0.0

        def run(norm: str | None = norm, times: list[float] = times, **o: Any) -> Any:
            times = times[:SHORT] if o["method"] == "gradient" else times
            return S.heat_kernel(B, psi, times, normalization=norm, **o)

        add(f"heat_kernel, {norm}", ("auto", "dense", "memory", "gradient"), run, error)
    for norm in (None, "sym") if not large else (None,):
        for which in ("smallest", "largest"):
            eigen = reference.eigen(norm)
            add(f"laplacian_eigenvectors, {norm}, {which}", EIGEN if which == "smallest" else EIGEN[:3],
                lambda norm=norm, which=which, **o: S.laplacian_eigenvectors(B, 4, norm, which, **o),
                lambda y, e=eigen, which=which: subspace(y, e, which == "largest", tol))  # fmt: skip
    if n > 1:
        E = reference.eigen()[0]
        add("algebraic_connectivity", EIGEN, lambda **o: S.algebraic_connectivity(B, **o),
            lambda y: float(abs(float(y) - E[1]) / max(E.max(), 1e-300)))  # fmt: skip
    if large:
        return found
    leverage = w * reference.resistance(u, v)
    add("leverage_scores", LINEAR, lambda **o: S.leverage_scores(B, **o), lambda y: difference(y, leverage))
    G = reference.inverse()
    connected = reference.labels.max(initial=0) == 0
    total = np.array([n * np.trace(G) if connected else np.inf]) if n else np.zeros(1)
    add("effective_graph_resistance", LINEAR[:4], lambda **o: S.effective_graph_resistance(B, **o),
        lambda y: difference(y.reshape(1), total))  # fmt: skip
    far = n * np.diag(G) + np.trace(G)
    closeness = 1 / far if connected and n > 1 else np.zeros(n)
    add(
        "current_flow_closeness",
        ("dense",),
        lambda **_: S.current_flow_closeness(B),
        lambda y: difference(y, closeness),
    )
    between = betweenness(G, w, u, v, reference.labels)
    add("current_flow_betweenness", ("dense",), lambda **_: S.current_flow_betweenness(B),
        lambda y: difference(y, between))  # fmt: skip
    return found


def betweenness(G: np.ndarray, w: np.ndarray, u: np.ndarray, v: np.ndarray, labels: np.ndarray) -> np.ndarray:
    n = len(G)
    value = np.zeros(n, dtype=np.longdouble)
    for a, b, flow in zip(u, v, w[:, None] * (G[u] - G[v]), strict=True):
        sorted_flow = np.sort(flow[labels == labels[a]])
        through = (sorted_flow * np.arange(1 - len(sorted_flow), len(sorted_flow), 2)).sum()
        value[[a, b]] += through
    size = np.bincount(labels, minlength=1)[labels] if n else labels
    return (value - (size - 1)) / 2 * (2 / max((n - 1) * (n - 2), 1))


def measure(call: Callable[..., Any], error: Callable[[Any], float], options: dict[str, Any]) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        y, outcome = call(**options), "ok"
    except ConvergenceError as caught:
        y, outcome = caught.solution, f"ConvergenceError: {caught}"
    except (ValueError, RuntimeError) as caught:
        return {"outcome": f"refused: {caught}", "seconds": time.perf_counter() - start}
    residual = y.residual.max() if y.residual.numel() else 0.0
    return {
        "outcome": outcome,
        "error": error(y),
        "residual": float(residual),
        "layers": y.num_layers,
        "chosen": y.method,
        "seconds": time.perf_counter() - start,
    }


def written(content: dict[str, Any]) -> str:
    """JSON with one row a line and numbers of three digits."""
    rows = [{k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()} for row in content["rows"]]
    head = json.dumps({k: v for k, v in content.items() if k != "rows"})[:-1]
    return head + ', "rows": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]}\n"


def markdown(rows: list[dict[str, Any]], system: str) -> str:
    lines = [f"# Accuracy of the solvers\n\n{system}\n\n{(__doc__ or '').strip().rsplit(chr(10) * 2, 1)[1]}\n"]
    lines.append(
        "`kept`: graphs on which the residual (or the proven bound) is at most `tol`, of all the method was tried on; "
        "the worst of them, with the graph. Others raised `ConvergenceError`, were refused with an explanation, or "
        "(fixed depth, centralities) reported a larger residual, given here. "
        f"{', '.join(FIXED)} run on graphs of at most {SMALL} nodes, dense on those of at most {LARGE}.\n"
    )
    for dtype, tol in TOLERANCE.items():
        lines += [f"\n## {dtype}, tol = {tol:g}\n"]
        lines += ["| function | method | kept | largest error | largest residual | layers | others |"]
        lines += ["|---|---|--:|---|---|---|---|"]
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            if row["dtype"] == dtype:
                groups.setdefault((row["function"], row["method"]), []).append(row)
        for (function, method), group in groups.items():
            ok = [row for row in group if row["outcome"] == "ok" and row["residual"] <= tol * 1.0001]
            failed = {"ConvergenceError": [], "reported": [], "refused": []}
            for row in group:
                if row not in ok:
                    kind = "reported" if row["outcome"] == "ok" else row["outcome"].split(":")[0]
                    failed[kind].append(row["graph"] + (f" ({row['residual']:.0e})" if "residual" in row else ""))
            cells = [f"{len(ok)}/{len(group)}"]
            for key, form in [("error", ".1e"), ("residual", ".1e"), ("layers", "d")]:
                worst = max(ok, key=lambda row: row[key], default=None)
                cells.append("" if worst is None else f"{format(worst[key], form)} ({worst['graph']})")
            notes = [f"{kind}: {', '.join(names)}" for kind, names in failed.items() if names]
            lines.append(f"| `{function}` | {method} | {' | '.join(cells)} | {'; '.join(notes)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller graphs")
    parser.add_argument("--graphs", nargs="+", help="beginnings of the names of the graphs")
    parser.add_argument("--only", nargs="+", help="beginnings of the names of the functions")
    parser.add_argument("--out", type=Path, help="folder for accuracy.json and accuracy.md")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, graph in graphs(args.quick).items():
        if args.graphs and not name.startswith(tuple(args.graphs)):
            continue
        start, reference = time.perf_counter(), None
        for dtype, tol in TOLERANCE.items():
            B = graph.to(getattr(torch, dtype))
            rounded = B.to(torch.float64)
            if reference is None or not torch.equal(reference.graph.weight, rounded.weight):
                reference = Reference(rounded)
            for function, (methods, (call, error)) in cases(B, reference, tol).items():
                if args.only and not function.startswith(tuple(args.only)):
                    continue
                for method in methods:
                    about = {"function": function, "method": method, "graph": name, "dtype": dtype}
                    rows.append(about | measure(call, error, {"method": method, "tol": tol}))
        print(f"{name:45s} {time.perf_counter() - start:8.1f} s", flush=True)
    system = (
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, Python {platform.python_version()}, "
        f"SciPy {scipy.__version__}, torch {torch.__version__}"
    )
    table = markdown(rows, system)
    print(table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        content = {"system": system, "quick": args.quick, "tol": TOLERANCE, "rows": rows}
        (args.out / "accuracy.json").write_text(written(content), encoding="utf-8")
        (args.out / "accuracy.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
