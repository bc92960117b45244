"""Training on OGB's molecules, QM9 and other columns of a table, from small local copies of their files."""

import csv
import gzip
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch

from graphtf.datasets import QM9, clean_leads_smiles, logp, ogb_graph, ogb_molecules
from graphtf.datasets.qm9 import qm9_categories, qm9_split, qm9_target
from graphtf.train import evaluate, predict, train
from graphtf.train.data import available_splits, load_graphs, task_of
from graphtf.train.evaluate import load_checkpoint, predict_graphs
from graphtf.train.task import Task, target_statistics

SMILES = clean_leads_smiles("val")[:60]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def ogb_copy(root, name, labels, smiles=SMILES):
    """Files of OGB's archive for a few molecules, of which the last 20 are for validation and testing."""
    folder = root / "ogb" / name.replace("-", "_")
    graphs = [ogb_graph(text) for text in smiles]
    single = [graph.edge_index[:, ::2] for graph in graphs]  # the archive has every bond once
    write(folder / "raw/edge.csv.gz", [pair for edges in single for pair in edges.t().tolist()])
    write(folder / "raw/edge-feat.csv.gz", [row for graph in graphs for row in graph.edge_attr[::2].tolist()])
    write(folder / "raw/node-feat.csv.gz", [row for graph in graphs for row in graph.x.tolist()])
    write(folder / "raw/num-node-list.csv.gz", [[graph.num_nodes] for graph in graphs])
    write(folder / "raw/num-edge-list.csv.gz", [[edges.shape[1]] for edges in single])
    write(folder / "raw/graph-label.csv.gz", [["" if np.isnan(v) else v for v in row] for row in labels])
    n = len(smiles)
    parts = {"train": range(n - 20), "valid": range(n - 20, n - 10), "test": range(n - 10, n)}
    for part, index in parts.items():
        write(folder / "split/scaffold" / f"{part}.csv.gz", [[i] for i in index])
    (folder / "RELEASE_v1.txt").touch()
    return folder


@pytest.fixture(scope="module")
def esol(tmp_path_factory):
    root = tmp_path_factory.mktemp("esol")
    ogb_copy(root, "ogbg-molesol", [[logp(text)] for text in SMILES])
    return root


@pytest.fixture(scope="module")
def tox(tmp_path_factory):
    """Twelve yes-or-no targets, of which half are not known and one is never known."""
    root = tmp_path_factory.mktemp("tox")
    values = np.random.default_rng(0).random((len(SMILES), 12))
    labels = np.where(values < 0.5, np.nan, (values > 0.75).astype(float))
    labels[:, 5] = np.nan
    ogb_copy(root, "ogbg-moltox21", labels)
    return root, torch.tensor(labels)


@pytest.fixture
def offline(monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)


def test_graphs_are_those_of_ogb(esol):
    graphs = load_graphs("ogbg-molesol", "val", "none", 0, str(esol), progress=False)
    assert len(graphs) == 10
    for graph, text in zip(graphs, SMILES[40:50], strict=True):
        expected = ogb_graph(text)
        assert torch.equal(graph.x, expected.x)
        assert torch.equal(graph.edge_index, expected.edge_index)
        assert torch.equal(graph.edge_attr, expected.edge_attr)
        assert graph.y.item() == pytest.approx(logp(text), rel=1e-6)
    assert available_splits("ogbg-molesol") == ("train", "val", "test")


def test_regression_on_ogb(small, esol, tmp_path, capfd):
    config = small(tmp_path / "run", data="ogbg-molesol", root=str(esol), pe="random-walk", progress="lines", epochs=3)
    metrics = train(config)
    assert "val RMSE" in capfd.readouterr().out
    module = load_checkpoint(tmp_path / "run" / "best.ckpt")
    graphs = load_graphs("ogbg-molesol", "test", "random-walk", 16, str(esol), progress=False)
    error = predict_graphs(module, graphs).double() - torch.cat([graph.y for graph in graphs]).flatten().double()
    assert metrics["test_rmse"] == pytest.approx(float((error**2).mean().sqrt()), rel=1e-9)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert min(row["val_rmse"] for row in history) == pytest.approx(metrics["val_rmse"], abs=1e-5)
    assert (tmp_path / "run" / "curves.png").stat().st_size > 0
    (row,) = predict(tmp_path / "run" / "best.ckpt", [SMILES[50]])
    assert row.value == pytest.approx(float(predict_graphs(module, graphs[:1])), abs=1e-5)


def test_classification_with_missing_labels(small, tox, tmp_path):
    root, labels = tox
    metrics = train(small(tmp_path / "run", data="ogbg-moltox21", root=str(root), pe="none", epochs=3, lr=1e-2))
    module = load_checkpoint(tmp_path / "run" / "best.ckpt")
    graphs = load_graphs("ogbg-moltox21", "val", "none", 0, str(root), progress=False)
    scores, truth = predict_graphs(module, graphs), labels[40:50]
    assert scores.shape == (10, 12)
    areas = []
    for column in range(12):  # the area under the curve is the share of pairs in the right order
        positive = scores[truth[:, column] == 1, column].unsqueeze(1)
        negative = scores[truth[:, column] == 0, column].unsqueeze(0)
        if positive.numel() and negative.numel():
            areas.append(float(((positive > negative) + 0.5 * (positive == negative)).double().mean()))
    assert 3 <= len(areas) < 12
    assert metrics["val_rocauc"] == pytest.approx(sum(areas) / len(areas), rel=1e-9)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert max(row["val_rocauc"] for row in history) == pytest.approx(metrics["val_rocauc"], abs=1e-6)
    assert history[metrics["best_epoch"] - 1]["val_rocauc"] == pytest.approx(metrics["val_rocauc"], abs=1e-6)
    assert all(np.isfinite(row["train_loss"]) for row in history)
    with pytest.raises(ValueError, match="has 12 target"):
        predict(tmp_path / "run" / "best.ckpt", ["CCO"])


def test_conductances_are_learned_from_the_features_of_ogb(small, esol, tmp_path):
    metrics = train(small(tmp_path / "run", data="ogbg-molesol", root=str(esol), pe="conductances", pe_dim=4, epochs=1))
    graphs = load_graphs("ogbg-molesol", "val", "conductances", 4, str(esol), progress=False)
    predicted = predict_graphs(load_checkpoint(tmp_path / "run" / "best.ckpt"), graphs)
    error = predicted.double() - torch.cat([graph.y for graph in graphs]).flatten().double()
    assert metrics["val_rmse"] == pytest.approx(float((error**2).mean().sqrt()), rel=1e-9)


def test_missing_targets_do_not_move_the_weights():
    task = Task(targets=2)
    target = torch.tensor([[1.0, float("nan")], [float("nan"), 5.0]])
    predicted = torch.zeros(2, 2, requires_grad=True)
    errors, count = task.errors(predicted, target)
    assert (errors.detach().tolist(), int(count)) == ([[1.0, 0.0], [0.0, 5.0]], 2)
    errors.sum().backward()
    assert predicted.grad.tolist() == [[-1.0, 0.0], [0.0, -1.0]]
    mean, std = target_statistics(task, torch.tensor([[1.0, float("nan")], [3.0, 5.0]]))
    assert (mean, std) == ([2.0, 5.0], [2.0**0.5, 1.0])
    classes = Task("ap", 128, evaluator="ogbg-molpcba")
    assert target_statistics(classes, torch.full((4, 128), float("nan"))) == ([0.0] * 128, [1.0] * 128)
    with pytest.raises(ValueError, match="no molecule has a target"):
        task.score(torch.zeros(1, 2), torch.full((1, 2), float("nan")))
    with pytest.raises(ValueError, match="ap is not defined for these 3 molecules"):
        classes.score(torch.zeros(3, 128), torch.zeros(3, 128))


def test_a_download_that_fails_says_what_to_do(tmp_path, offline):
    for _ in range(2):  # the first attempt leaves nothing behind that stops the second
        with pytest.raises(FileNotFoundError, match=r"no network.*ogbg_molhiv holds RELEASE_v1.txt, raw \(edge.csv.gz"):
            ogb_molecules("ogbg-molhiv", tmp_path)
        assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match=r"no network.*put gdb9.sdf, gdb9.sdf.csv, uncharacterized.txt into"):
        QM9(tmp_path / "qm9")
    with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
        load_graphs("ogbg-molesol", "val", "none", 0, str(tmp_path), progress=False)


def test_a_copy_that_is_not_complete(tmp_path, offline):
    folder = ogb_copy(tmp_path, "ogbg-molesol", [[1.0]] * 24, SMILES[:24])
    (folder / "RELEASE_v1.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"ogbg_molesol is not complete; unpack the archive"):
        ogb_molecules("ogbg-molesol", tmp_path / "ogb")
    (folder / "RELEASE_v1.txt").touch()
    (folder / "split/scaffold/valid.csv.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"valid.csv.gz.*unpack the archive"):
        ogb_molecules("ogbg-molesol", tmp_path / "ogb")
    write(folder / "split/scaffold/valid.csv.gz", [[24]])
    with pytest.raises(ValueError, match=r"the val split of .* beyond the 24"):
        ogb_molecules("ogbg-molesol", tmp_path / "ogb")


@pytest.fixture(scope="module")
def qm9(tmp_path_factory):
    """Thirty small molecules in the files of QM9, in which one is marked as uncharacterized."""
    from rdkit import Chem

    root = tmp_path_factory.mktemp("qm9")
    folder = root / "qm9" / "raw"
    folder.mkdir(parents=True)
    names = ["C", "N", "O", "C#C", "C#N", "C=O", "CC", "CO", "CC#C", "CC#N", "CC=O", "NC=O", "CCC", "CCO", "c1cc[nH]c1"]
    writer = Chem.SDWriter(str(folder / "gdb9.sdf"))
    molecules = [Chem.AddHs(Chem.MolFromSmiles(text)) for text in 2 * names]
    for i, mol in enumerate(molecules):
        mol.AddConformer(Chem.Conformer(mol.GetNumAtoms()))
        mol.SetProp("_Name", f"gdb_{i + 1}")
        writer.write(mol, confId=-1)
    writer.close()
    rows = [[f"gdb_{i + 1}", *(100 * i + column for column in range(19))] for i in range(len(molecules))]
    lines = [",".join(map(str, row)) for row in [["mol_id", "A", "B", "C", "mu", *range(15)], *rows]]
    (folder / "gdb9.sdf.csv").write_text("\n".join(lines) + "\n")
    (folder / "uncharacterized.txt").write_text("\n".join(["header"] * 9 + ["  2 text"] + ["end", ""]))
    return root


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_qm9(qm9, small, tmp_path, capfd):
    dataset = QM9(qm9 / "qm9")
    assert len(dataset) == 29  # without the uncharacterized one
    methane = qm9_categories(dataset[0])
    assert methane.x.tolist() == [[1, 0, int(methane.x[0, 2]), 4], *[[0, 0, 0, 0]] * 4]
    assert methane.edge_attr.tolist() == [0] * 8
    parts = qm9_split(29)
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(29))
    graphs = load_graphs("qm9:alpha", "val", "none", 0, str(qm9), progress=False)
    column = qm9_target("alpha")
    assert [graph.y.item() for graph in graphs] == [dataset[int(i)].y[0, column].item() for i in parts["val"]]
    metrics = train(small(tmp_path / "run", data="qm9:1", root=str(qm9), pe="linear-transformer", epochs=1))
    assert evaluate(tmp_path / "run" / "best.ckpt", root=str(qm9))["mae"] == metrics["val_mae"]


def test_another_column(small, molecules, cache, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split, start in [("train", 0), ("val", 40)]:
        rows = [[text, 0.0, i] for i, text in enumerate(SMILES[start : start + 40 - start // 2])]
        write(folder / f"{split}.csv.gz", [["smiles", "y", "number"], *rows])
    graphs = load_graphs(f"{folder}:number", "val", "none", 0, str(cache), progress=False)
    assert [graph.y.item() for graph in graphs] == list(range(20))
    metrics = train(small(tmp_path / "run", data=f"{folder}:number", pe="none"))
    assert evaluate(tmp_path / "run" / "best.ckpt", root=str(cache))["mae"] == metrics["val_mae"]
    with pytest.raises(ValueError, match="the column 'mass' is missing; the columns are 'smiles', 'y', 'number'"):
        load_graphs(f"{folder}:mass", "val", "none", 0, str(cache), progress=False)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("ogbg-molecule", "OGB has no molecules 'ogbg-molecule', only ogbg-molbace, "),
        ("qm9:temperature", "QM9 has no target 'temperature'; give 0 ... 18 or one of mu, alpha"),
        ("qm9:19", "QM9 has no target '19'"),
        ("nowhere:y", "data must be 'embedded', 'zinc' or a directory .* but 'nowhere:y' is none"),
    ],
)
def test_wrong_data(data, message):
    with pytest.raises(ValueError, match=message):
        available_splits(data)


def test_tasks():
    assert task_of("ogbg-molesol").metric == "rmse"
    assert (task_of("ogbg-molpcba").metric, task_of("ogbg-molpcba").targets) == ("ap", 128)
    assert task_of("ogbg-molhiv").mode == "max"
    assert task_of("qm9:gap").node_types == (5, 2, 4, 5)
    assert task_of("embedded") == Task()
    with pytest.raises(ValueError, match="give the name of its data set"):
        Task("rocauc")
