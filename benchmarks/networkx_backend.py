"""Time of NetworkX functions through the graphtf backend, against NetworkX itself, on the same graphs.

    python benchmarks/networkx_backend.py --quick                    # 300 nodes, a minute
    python benchmarks/networkx_backend.py --out benchmarks/results   # 2,000 nodes, writes .json and .md

Both run in one process, in turn, and every answer is compared. The backend's times are the median of `--repeat` calls,
each of which converts the graph; NetworkX's the median of `--repeat-networkx`, as it takes minutes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import scipy
import torch

# Function, arguments, and how many times faster it has to be at 2,000 nodes (None: reported only).
CALLS: list[tuple[str, dict[str, Any], float | None]] = [
    ("resistance_distance", {}, 50),
    ("current_flow_betweenness_centrality", {}, 10),
    ("current_flow_closeness_centrality", {}, 10),
    ("fiedler_vector", {"seed": 0}, 10),
    ("edge_current_flow_betweenness_centrality", {}, None),
    ("approximate_current_flow_betweenness_centrality", {"seed": 0}, None),
    ("effective_graph_resistance", {}, None),
    ("kemeny_constant", {}, None),
    ("algebraic_connectivity", {"seed": 0}, None),
    ("spectral_ordering", {"seed": 0}, None),
    ("laplacian_spectrum", {}, None),
    ("communicability_exp", {}, None),
    ("subgraph_centrality_exp", {}, None),
    ("estrada_index", {}, None),
    ("laplacian_matrix", {}, None),
    ("incidence_matrix", {}, None),
]


def graphs(nodes: int) -> dict[str, nx.Graph]:
    side = round(nodes**0.5)
    return {
        "preferential attachment, 2 edges a node": nx.barabasi_albert_graph(nodes, 2, seed=0),
        "preferential attachment, 5 edges a node": nx.barabasi_albert_graph(nodes, 5, seed=0),
        "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(side, nodes // side)),
    }


def seconds(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    times, result = [], None
    for _ in range(repeat):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def difference(name: str, graph: nx.Graph, ours: Any, theirs: Any) -> float:
    """Largest difference relative to the largest value; of eigenvectors up to sign, as a residual of ours."""
    if name == "spectral_ordering":
        return float(set(ours) != set(theirs))  # ties and signs are free
    if name == "fiedler_vector":
        L = nx.laplacian_matrix(graph, backend="networkx").astype(float)
        value = ours @ (L @ ours) / (ours @ ours)
        return float(np.linalg.norm(L @ ours - value * ours) / (np.abs(L).sum(1).max() * np.linalg.norm(ours)))
    a, b = (flat(x) for x in (ours, theirs))
    return float(np.abs(a - b).max() / np.abs(b).max())


def flat(x: Any) -> np.ndarray:
    if isinstance(x, dict):
        return np.concatenate([flat(value) for value in x.values()])
    return np.atleast_1d(np.asarray(x.toarray() if hasattr(x, "toarray") else x, dtype=float)).ravel()


def measure(name: str, kind: str, graph: nx.Graph, arguments: dict[str, Any], args: argparse.Namespace) -> dict:
    function = getattr(nx, name)
    ours, our_result = seconds(lambda: function(graph, **arguments, backend="graphtf"), args.repeat)
    theirs, their_result = seconds(lambda: function(graph, **arguments, backend="networkx"), args.repeat_networkx)
    return {
        "function": name,
        "graph": kind,
        "nodes": len(graph),
        "edges": graph.number_of_edges(),
        "graphtf_s": ours,
        "networkx_s": theirs,
        "ratio": theirs / ours,
        "difference": difference(name, graph, our_result, their_result),
    }


def table(rows: list[dict], system: str) -> str:
    lines = [f"# NetworkX backend\n\n{system}\n"]
    lines += ["| function | graph | nodes | edges | NetworkX, s | graphtf, s | times faster | difference |"]
    lines += ["|---|---|--:|--:|--:|--:|--:|--:|"]
    lines += [
        f"| `{r['function']}` | {r['graph']} | {r['nodes']} | {r['edges']} | {r['networkx_s']:.3g} | "
        f"{r['graphtf_s']:.3g} | {r['ratio']:.1f} | {r['difference']:.0e} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--repeat-networkx", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="names of functions", choices=[name for name, _, _ in CALLS])
    parser.add_argument("--graphs", nargs="+", help="beginnings of the names of the graphs")
    parser.add_argument("--quick", action="store_true", help="300 nodes, three repetitions")
    parser.add_argument("--out", type=Path, help="folder for networkx_backend.json and networkx_backend.md")
    args = parser.parse_args()
    if args.quick:
        args.nodes, args.repeat = 300, 3
    nx.config.warnings_to_ignore.add("cache")  # the backend's graphs hold nothing that could be stale
    system = (
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, Python {platform.python_version()}, "
        f"NetworkX {nx.__version__}, SciPy {scipy.__version__}, torch {torch.__version__}"
    )
    rows = []
    for kind, graph in graphs(args.nodes).items():
        if args.graphs and not kind.startswith(tuple(args.graphs)):
            continue
        for name, arguments, goal in CALLS:
            if args.only and name not in args.only:
                continue
            row = measure(name, kind, graph, arguments, args) | {"goal": goal}
            rows.append(row)
            print(
                f"{kind:42s} {name:50s} {row['networkx_s']:9.4f} {row['graphtf_s']:9.4f} {row['ratio']:8.1f}x "
                f"{row['difference']:.0e}",
                flush=True,
            )
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        content = {"system": system, "rows": rows}
        (args.out / "networkx_backend.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (args.out / "networkx_backend.md").write_text(table(rows, system), encoding="utf-8")


if __name__ == "__main__":
    main()
