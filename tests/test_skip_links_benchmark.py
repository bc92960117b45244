"""The task on skip links: its targets are exact, and it is what it says it is."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import skip_links

    monkeypatch.setattr(skip_links, "SIZES", {"train": [9, 12], "val": [10], "test": [13, 14]})
    return skip_links


def resistance(n, skip, distance):
    """From the eigenvalues of the circulant."""
    total = 0.0
    for j in range(1, n):
        angle = 2 * math.pi * j / n
        total += (2 - 2 * math.cos(distance * angle)) / (4 - 2 * math.cos(angle) - 2 * math.cos(skip * angle))
    return total / n


def test_targets_are_those_of_the_spectrum(benchmark):
    graphs = benchmark.circles([9, 12])
    cases = [(9, 2), (9, 3), (9, 4), (12, 2), (12, 3), (12, 4), (12, 5)]
    for graph, (n, skip) in zip(graphs, cases, strict=True):
        assert graph.edge_index.shape == (2, 4 * n)
        mean = sum(resistance(n, skip, d) for d in range(1, n)) / (n - 1)
        both = resistance(n, skip, 1), resistance(n, skip, skip)
        assert graph.graph.tolist() == [[pytest.approx(math.log(mean)), pytest.approx(max(both))]]
        u, v = graph.edge_index
        expected = [resistance(n, skip, int(d)) for d in (u - v).abs()]
        assert graph.edges.flatten().tolist() == pytest.approx(expected)


def test_orders_are_of_the_same_graph(benchmark):
    parts = benchmark.splits(2)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [14, 6, 20]
    first, second = parts["test"][:2]
    assert not torch.equal(first.edge_index, second.edge_index)
    assert torch.equal(first.edges, second.edges)
    place = torch.full((13,), -1)
    place[first.edge_index[0]] = second.edge_index[0]
    assert torch.equal(place[first.edge_index], second.edge_index)


def test_only_pairs_and_vectors_can_tell_edges_apart(benchmark):
    """Walks from a node are the same at all nodes; entries at the edges are not."""
    apart = {}
    for pe in ("none", "random-walk", "laplacian", "linear-transformer"):
        transform = benchmark.build_transform(pe, benchmark.ENCODINGS[pe])
        graphs = [graph if transform is None else transform(graph) for graph in benchmark.splits(1)["test"]]
        torch.manual_seed(0)
        encoding = benchmark.build_encoding(pe, benchmark.ENCODINGS[pe], 0)
        model = benchmark.EdgeRegressor(16, 2, 1, 0, 1, encoding).eval()
        batch = Batch.from_data_list(graphs)
        with torch.no_grad():
            found = model(batch).squeeze(1).split([graph.num_edges for graph in graphs])
        apart[pe] = max(float(one.std()) for one in found)
    assert apart["none"] < 1e-5
    assert apart["random-walk"] < 1e-5
    assert apart["laplacian"] > 1e-3
    assert apart["linear-transformer"] > 1e-4


def test_the_benchmark_runs(benchmark, monkeypatch):
    rows = benchmark.measure(("none", "laplacian", "linear-transformer"), seeds=[0], steps=6, copies=2)
    none, laplacian, ours = rows
    for task, targets in benchmark.TASKS.items():
        assert [len(one["test"]) for one in ours[task]] == [len(targets)]
        invariant = max(value for row in (none, ours) for value in row[task][0]["test_between_orders"])
        assert invariant < 1e-4
        assert min(laplacian[task][0]["test_between_orders"]) > 10 * invariant
    assert ours["probe"][0]["test_between_orders"][0] < 1e-4
    text = benchmark.table(rows)
    assert text.count("| linear-transformer |") == 4


def test_the_resistance_of_an_edge_is_linear_in_the_entries_of_the_walk(benchmark):
    """And in squares of all eigenvectors over their eigenvalues, but not of some."""
    benchmark.SIZES |= {"train": [14, 15, 16, 17, 19, 20, 21], "val": [18]}
    found = {}
    for pe in ("linear-transformer", "random-walk", "signnet"):
        transform = benchmark.build_transform(pe, benchmark.ENCODINGS[pe])
        parts = benchmark.splits(1)
        parts = {name: [transform(one) if transform else one for one in graphs] for name, graphs in parts.items()}
        found[pe] = benchmark.probe(parts, pe, 1)["val"][0]
    assert found["linear-transformer"] < 0.3 * min(found["random-walk"], found["signnet"])


def test_the_committed_results_are_of_this_benchmark(benchmark):
    committed = json.loads((BENCHMARKS / "results" / "skip_links.json").read_text())
    assert [row["encoding"] for row in committed["rows"]] == list(benchmark.COMPARED)
    assert committed["tasks"] == {task: list(targets) for task, targets in benchmark.TASKS.items()}
    assert all(
        len(row[task]) == len(committed["setting"]["seeds"]) for row in committed["rows"] for task in benchmark.TASKS
    )
    assert benchmark.table(committed["rows"]) == (BENCHMARKS / "results" / "skip_links.md").read_text()
