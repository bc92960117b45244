"""Circular graphs with skip links, and the tables of other targets."""

import csv
import gzip
import json
import runpy
import sys
from pathlib import Path

import networkx as nx
import pytest
import torch
from torch_geometric.utils import degree, is_undirected, to_networkx

from graphtf.datasets import CSL, clean_leads_smiles, logp, synthetic_accessibility
from graphtf.datasets.csl import SKIPS
from graphtf.transforms import AddRandomWalkPE

ROOT = Path(__file__).resolve().parents[1]


def test_graphs_are_the_circulants():
    dataset = CSL(num_copies=2, seed=1)
    assert len(dataset) == 20
    assert dataset._data.y.tolist() == [label for label in range(10) for _ in range(2)]
    for data in dataset:
        expected = nx.circulant_graph(41, [1, SKIPS[int(data.y)]])
        assert is_undirected(data.edge_index)
        assert degree(data.edge_index[0], 41).tolist() == [4.0] * 41
        assert nx.is_isomorphic(to_networkx(data, to_undirected=True), expected)
    assert not torch.equal(dataset[0].edge_index, dataset[1].edge_index)
    again = CSL(num_copies=2, seed=1)
    assert all(torch.equal(a.edge_index, b.edge_index) for a, b in zip(dataset, again, strict=True))


def test_walks_tell_the_classes_apart():
    """The encoding does not depend on the order of the nodes, and differs from class to class."""
    transform = AddRandomWalkPE(16)
    rows = torch.stack([transform(data).random_walk_pe[0] for data in CSL(num_copies=2)])
    torch.testing.assert_close(rows[0::2], rows[1::2])
    gaps = torch.cdist(rows[::2], rows[::2]) + torch.eye(10)
    assert float(gaps.min()) > 1e-4


def test_folds():
    dataset = CSL()
    folds = dataset.folds()
    assert len(folds) == 5
    assert sorted(torch.cat([fold["test"] for fold in folds]).tolist()) == list(range(150))
    for fold in folds:
        assert sorted(torch.cat(list(fold.values())).tolist()) == list(range(150))
        for name, count in [("train", 9), ("val", 3), ("test", 3)]:
            assert torch.bincount(dataset._data.y[fold[name]]).tolist() == [count] * 10
    assert not torch.equal(dataset.folds(seed=1)[0]["test"], folds[0]["test"])


def test_a_transform_and_small_graphs():
    dataset = CSL(num_nodes=6, skips=(2, 3), num_copies=1, transform=AddRandomWalkPE(2))
    assert dataset[1].random_walk_pe.shape == (6, 2)
    assert dataset[1].edge_index.shape == (2, 18)  # a link of half the length counts once


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (ValueError, "skips must be lengths from 2 to 20", lambda: CSL(skips=(2, 21))),
        (ValueError, "skips must be lengths from 2 to 20", lambda: CSL(skips=())),
        (ValueError, "num_nodes must be at least 5", lambda: CSL(num_nodes=4)),
        (TypeError, "num_copies must be an int", lambda: CSL(num_copies=1.5)),
        (ValueError, "k must be at least 3", lambda: CSL().folds(2)),
    ],
)
def test_wrong_arguments(error, message, make):
    with pytest.raises(error, match=message):
        make()


def test_the_benchmark_runs(tmp_path):
    benchmark = runpy.run_path(str(ROOT / "benchmarks/csl.py"))
    rows = benchmark["measure"](folds=1, steps=2)
    assert len(benchmark["table"](rows).splitlines()) == len(rows) + 2
    committed = json.loads((ROOT / "benchmarks/results/csl.json").read_text())["rows"]
    assert [row["encoding"] for row in committed] == [row["encoding"] for row in rows]


def test_tables_of_other_targets(tmp_path, monkeypatch, capsys):
    main = runpy.run_path(str(ROOT / "scripts/targets.py"))["main"]
    source, out = tmp_path / "source", tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["targets.py", str(source), str(out)])
    source.mkdir()
    smiles = clean_leads_smiles("val")[:3]
    for split in ("train", "val"):
        (source / f"{split}.csv").write_text("\n".join(["smiles", *smiles]) + "\n")
    assert main() == 0
    with gzip.open(out / "val.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["smiles"] for row in rows] == smiles
    assert [float(row["logp"]) for row in rows] == [logp(text) for text in smiles]
    assert [float(row["sa"]) for row in rows] == [synthetic_accessibility(text) for text in smiles]
    (source / "val.csv").write_text("smiles\nC(\n")
    assert main() == 2
    assert "val.csv, line 2: RDKit cannot parse" in capsys.readouterr().err
