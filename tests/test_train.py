"""Training, its run folder and its evaluation."""

import json
import os

import pytest
import torch

from graphtf.datasets import clean_leads_smiles
from graphtf.train import TrainConfig, evaluate, train
from graphtf.train.encodings import LaplacianPE


def test_run_folder(finished):
    out, metrics = finished
    for name in ("config.yaml", "metrics.json", "best.ckpt", "last.ckpt", "curves.png", "history.json"):
        assert (out / name).stat().st_size > 0, name
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert {"val_mae", "test_mae", "num_parameters", "seconds_per_epoch", "epochs", "seed", "pe"} <= set(metrics)
    assert (metrics["epochs"], metrics["seed"], metrics["pe"]) == (3, 0, "linear-transformer")
    assert TrainConfig.load(out / "config.yaml").epochs == 3
    assert list((out / "logs").rglob("metrics.csv"))
    assert list((out / "logs").rglob("events.out.tfevents*"))
    history = json.loads((out / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    best = min(row["val_mae"] for row in history)
    assert metrics["val_mae"] == pytest.approx(best, abs=1e-5)  # best.ckpt is that of the best epoch
    assert not [name for name in os.listdir(out) if name.startswith(".")]  # nothing half-written


def test_checkpoints_hold_no_code(finished):
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(finished[0] / name, weights_only=True)
        assert content["hyper_parameters"]["pe"] == "linear-transformer"


def test_evaluation_is_that_of_the_metrics_to_the_last_digit(finished, molecules, cache):
    out, metrics = finished
    torch.manual_seed(1)
    for split in ("val", "test"):
        for _ in range(2):
            result = evaluate(out / "best.ckpt", str(molecules), split, str(cache))
            assert result["mae"] == metrics[f"{split}_mae"]
            assert result["num_graphs"] == 24


@pytest.mark.parametrize("pe", ["none", "laplacian", "random-walk"])
def test_every_encoding_trains_and_evaluates_deterministically(small, pe, molecules, cache, tmp_path):
    metrics = train(small(tmp_path / pe, pe=pe, epochs=1, dropout=0.1, norm="layer", readout="mean"))
    torch.manual_seed(7)
    assert evaluate(tmp_path / pe / "best.ckpt", str(molecules), "val", str(cache))["mae"] == metrics["val_mae"]


def test_a_run_learns_and_stops_early(small, tmp_path):
    metrics = train(small(tmp_path / "run", epochs=60, patience=5, lr=5e-3))
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert metrics["epochs"] < 60
    assert metrics["epochs"] == metrics["best_epoch"] + 5
    assert min(row["train_mae"] for row in history) < 0.7 * history[0]["train_mae"]


def test_no_test_split(small, molecules, cache, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / f"{split}.csv.gz").write_bytes((molecules / f"{split}.csv.gz").read_bytes())
    metrics = train(small(tmp_path / "run", data=str(folder), epochs=1, subset=40))
    assert metrics["test_mae"] is None
    with pytest.raises(ValueError, match="has no split 'test', only train, val"):
        evaluate(tmp_path / "run" / "best.ckpt", str(folder), "test", str(cache))


def test_divergence_is_an_error(small, tmp_path):
    with pytest.raises(RuntimeError, match=r"training diverged in epoch 1 .* smaller lr"):
        train(small(tmp_path / "run", lr=1e30, clip=1e30))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_last_batch_of_one_atom(small, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("smiles,y\nC,1\nCC,2\nC,1\nN,3\nO,4\n")
    (folder / "val.csv").write_text("smiles,y\nC,1\n")
    for pe in ("none", "linear-transformer"):
        train(small(tmp_path / pe, data=str(folder), pe=pe, batch_size=2))


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "pe must be one of", {"pe": "shortest-path"}),
        (ValueError, "epochs must be at least 1", {"epochs": 0}),
        (TypeError, "epochs must be an int", {"epochs": 1.5}),
        (ValueError, "lr must be positive", {"lr": 0.0}),
        (ValueError, "lr must be positive", {"lr": float("nan")}),
        (TypeError, "lr must be a number", {"lr": "high"}),
        (ValueError, "has no columns", {"pe": "none", "pe_dim": 3}),
        (ValueError, "pe_dim must be at least 1", {"pe_dim": 0}),
        (ValueError, "progress must be one of", {"progress": "loud"}),
        (ValueError, "norm must be one of", {"norm": "group"}),
        (ValueError, r"dropout must be in \[0, 1\)", {"dropout": 1.5}),
        (ValueError, "heads must divide channels", {"channels": 10}),
        (ValueError, "seed must be below", {"seed": 2**40}),
        (TypeError, "data must be a str", {"data": 5}),
    ],
)
def test_bad_configuration(error, message, options):
    with pytest.raises(error, match=message):
        TrainConfig(**options)


def test_laplacian_baseline_is_that_of_pyg_up_to_sign():
    from torch_geometric.transforms import AddLaplacianEigenvectorPE

    from graphtf.datasets import zinc_graph

    for smiles in clean_leads_smiles("val")[:10]:
        data = zinc_graph(smiles)
        ours = LaplacianPE(6)(data).laplacian_eigenvector_pe
        pyg = AddLaplacianEigenvectorPE(6, attr_name="pe", is_undirected=True)(data).pe
        torch.testing.assert_close(ours.abs(), pyg.abs(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(LaplacianPE(6)(data).laplacian_eigenvector_pe, ours, atol=0, rtol=0)
    assert LaplacianPE(4)(zinc_graph("C")).laplacian_eigenvector_pe.tolist() == [[0.0] * 4]
    assert LaplacianPE(4)(zinc_graph("CC")).laplacian_eigenvector_pe[:, 1:].abs().max() == 0


def test_every_encoding_has_a_color_of_its_own():
    from graphtf.train.config import ENCODINGS
    from graphtf.train.plots import COLORS

    assert set(COLORS) == set(ENCODINGS)
    assert len(set(COLORS.values())) == len(ENCODINGS)


def test_a_single_epoch_is_drawn(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from graphtf.train.plots import plot_comparison, plot_curves

    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (drawn.append(self), save(self, *args, **kw)))
    row = {"epoch": 1, "train_mae": 0.9, "val_mae": 0.8}
    plot_curves([row], tmp_path / "curves.png", "one epoch")
    plot_comparison({"none": [[row], [row]]}, tmp_path / "comparison.png", "one epoch")
    plot_comparison({"none": [[row, row | {"epoch": 2}]]}, tmp_path / "comparison.png", "two epochs")
    for figure in drawn[:2]:
        axes = figure.axes[0]
        assert all(line.get_marker() == "o" for line in axes.get_lines())
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert drawn[2].axes[0].get_lines()[0].get_marker() == "None"
