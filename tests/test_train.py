import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from graphtf.cli import main
from graphtf.datasets import clean_leads_smiles, penalized_logp
from graphtf.train import TrainConfig, compare, evaluate, predict, train
from graphtf.train.encodings import LaplacianPE

BUDGET = ["--channels", "16", "--layers", "2", "--heads", "4", "--batch-size", "16", "--accelerator", "cpu"]


@pytest.fixture(scope="session")
def molecules(tmp_path_factory):
    """A folder with 96 training, 24 validation and 24 test molecules."""
    folder = tmp_path_factory.mktemp("molecules")
    smiles = clean_leads_smiles("val")
    for split, rows in [("train", smiles[:96]), ("val", smiles[96:120]), ("test", smiles[120:144])]:
        name = folder / f"{split}.csv.gz"
        with gzip.open(name, "wt", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["smiles", "y"])
            writer.writerows((s, penalized_logp(s)) for s in rows)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def small(molecules, cache, out, **options):
    defaults = {
        "data": str(molecules), "root": str(cache), "out": str(out), "channels": 16, "layers": 2, "heads": 4,
        "batch_size": 16, "epochs": 2, "accelerator": "cpu", "progress": "none",
    }  # fmt: skip
    return TrainConfig(**defaults | options)


@pytest.fixture(scope="session")
def finished(molecules, cache, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return out, train(small(molecules, cache, out, epochs=3))


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
def test_every_encoding_trains_and_evaluates_deterministically(pe, molecules, cache, tmp_path):
    metrics = train(small(molecules, cache, tmp_path / pe, pe=pe, epochs=1, dropout=0.1, norm="layer", readout="mean"))
    torch.manual_seed(7)
    assert evaluate(tmp_path / pe / "best.ckpt", str(molecules), "val", str(cache))["mae"] == metrics["val_mae"]


def test_a_run_learns_and_stops_early(molecules, cache, tmp_path):
    metrics = train(small(molecules, cache, tmp_path / "run", epochs=60, patience=5, lr=5e-3))
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert metrics["epochs"] < 60
    assert metrics["epochs"] == metrics["best_epoch"] + 5
    assert min(row["train_mae"] for row in history) < 0.7 * history[0]["train_mae"]


def test_no_test_split(molecules, cache, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / f"{split}.csv.gz").write_bytes((molecules / f"{split}.csv.gz").read_bytes())
    metrics = train(small(folder, cache, tmp_path / "run", epochs=1, subset=40))
    assert metrics["test_mae"] is None
    with pytest.raises(ValueError, match="has no split 'test', only train, val"):
        evaluate(tmp_path / "run" / "best.ckpt", str(folder), "test", str(cache))


def command(molecules, cache, out, *more):
    where = ["--data", str(molecules), "--root", str(cache), "--out", str(out)]
    options = ["--epochs", "6", "--dropout", "0.2", "--pe", "laplacian", "--progress", "lines"]
    return [sys.executable, "-m", "graphtf", "train", *where, *BUDGET, *options, *more]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(molecules, cache, tmp_path):
    """Kill -9 in the middle; dropout and random signs make every random draw count."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(molecules, cache, whole), check=True, capture_output=True, env=environment)
    process = subprocess.Popen(
        command(molecules, cache, broken), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("epoch 3/"):
            deadline = time.monotonic() + 30
            while not (broken / "last.ckpt").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, seen
    assert not (broken / "metrics.json").exists()
    again = subprocess.run(
        command(molecules, cache, broken, "--resume"), check=True, capture_output=True, text=True, env=environment
    )
    assert "epoch 1/" not in again.stdout  # it did go on
    assert "epoch 6/" in again.stdout
    first, second = (json.loads((out / "metrics.json").read_text()) for out in (whole, broken))
    for key in ("val_mae", "test_mae"):
        assert first[key] == pytest.approx(second[key], abs=1e-6)
    assert first["best_epoch"] == second["best_epoch"]
    histories = [json.loads((out / "history.json").read_text()) for out in (whole, broken)]
    for a, b in zip(*histories, strict=True):
        for key in ("epoch", "train_mae", "val_mae", "lr"):
            assert a[key] == pytest.approx(b[key], abs=1e-6)


def test_resume_and_its_errors(finished, molecules, cache, tmp_path):
    out, metrics = finished
    config = small(molecules, cache, out, epochs=3)
    assert train(config, resume=True) == metrics  # finished: nothing is done
    with pytest.raises(ValueError, match=r"already holds a run; add --resume"):
        train(config)
    with pytest.raises(ValueError, match=r"other options \(epochs: 3, 4\)"):
        train(small(molecules, cache, out, epochs=4), resume=True)
    with pytest.raises(ValueError, match="no run to resume"):
        train(small(molecules, cache, tmp_path / "none"), resume=True)
    with pytest.raises(ValueError, match="is a file"):
        train(small(molecules, cache, out / "config.yaml"))
    assert main(["train", "--out", str(out), "--resume"]) == 0  # the options stand in the folder


def test_a_run_that_had_stopped_early_is_not_trained_on(molecules, cache, tmp_path):
    config = small(molecules, cache, tmp_path / "run", epochs=60, patience=2, lr=2e-2)
    metrics = train(config)
    (tmp_path / "run" / "metrics.json").unlink()  # as if killed before it was written
    again = train(config, resume=True)
    assert {k: v for k, v in again.items() if k != "seconds_per_epoch"} == {
        k: v for k, v in metrics.items() if k != "seconds_per_epoch"
    }


def test_a_moved_run_keeps_its_best_checkpoint(molecules, cache, tmp_path):
    """The learning rate makes late epochs worse; the best one must survive a resume elsewhere."""
    options = {"epochs": 8, "lr": 3e-2, "pe": "none"}
    whole = train(small(molecules, cache, tmp_path / "whole", **options))
    assert whole["best_epoch"] <= 5, "the test needs a best epoch before the interruption"
    import graphtf.train.callbacks as callbacks

    original = callbacks.History.on_train_epoch_end

    def interrupt(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 5:
            raise RuntimeError("pulled the plug")

    callbacks.History.on_train_epoch_end = interrupt
    try:
        with pytest.raises(RuntimeError, match="plug"):
            train(small(molecules, cache, tmp_path / "first", **options))
    finally:
        callbacks.History.on_train_epoch_end = original
    (tmp_path / "first").rename(tmp_path / "second")
    moved = train(small(molecules, cache, tmp_path / "second", **options), resume=True)
    for key in ("val_mae", "test_mae", "best_epoch", "epochs"):
        assert moved[key] == whole[key]


def test_divergence_is_an_error(molecules, cache, tmp_path):
    with pytest.raises(RuntimeError, match=r"training diverged in epoch 1 .* smaller lr"):
        train(small(molecules, cache, tmp_path / "run", lr=1e30, clip=1e30))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_wrong_data_leaves_nothing(molecules, cache, tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("smiles,y\nCC,1\nC(C,2\n")
    (folder / "val.csv").write_text("smiles,target\nCC,1\n")
    arguments = ["train", "--data", str(folder), "--root", str(cache), "--out", str(tmp_path / "run"), "--epochs", "1"]
    assert main(arguments) == 2
    assert "train.csv, line 3, 'C(C'" in capsys.readouterr().err
    (folder / "train.csv").write_text("smiles,y\nCC,1\nCCC,2\n")
    assert main(arguments) == 2
    assert "the column 'y' is missing" in capsys.readouterr().err
    for wrong in (["--accelerator", "abacus"], ["--strategy", "ddp_spawn"], ["--heads", "5"]):
        (folder / "val.csv").write_text("smiles,y\nCC,1\n")
        assert main([*arguments, *wrong]) == 2
        capsys.readouterr()
    assert not (tmp_path / "run").exists()
    assert main(arguments) == 0


def test_a_last_batch_of_one_atom(cache, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("smiles,y\nC,1\nCC,2\nC,1\nN,3\nO,4\n")
    (folder / "val.csv").write_text("smiles,y\nC,1\n")
    for pe in ("none", "linear-transformer"):
        train(small(folder, cache, tmp_path / pe, pe=pe, batch_size=2))


def test_a_folder_takes_one_process_at_a_time(molecules, cache, tmp_path):
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(ValueError, match="another process is at work"):
        train(small(molecules, cache, tmp_path / "run"))


@pytest.mark.slow
def test_two_processes_and_workers(molecules, cache, tmp_path):
    """Data-parallel training on the CPU; its batches are those of one process, cut in two."""
    where = ["--data", str(molecules), "--root", str(cache), "--out", str(tmp_path / "run"), "--progress", "lines"]
    options = ["--devices", "2", "--strategy", "ddp", "--workers", "1", "--epochs", "2"]
    run = subprocess.run(
        [sys.executable, "-m", "graphtf", "train", *where, *BUDGET, *options], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("epoch 2/2") == 1
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] == 2


@pytest.mark.slow
def test_compare(molecules, cache, tmp_path):
    config = small(molecules, cache, tmp_path / "c", epochs=2)
    rows = compare(config, ["none", "linear-transformer"], seeds=[0, 1], jobs=2)
    assert [row["pe"] for row in rows] == ["none", "linear-transformer"]
    assert all(len(row["val_mae"]) == 2 for row in rows)
    assert rows[1]["num_parameters"] > rows[0]["num_parameters"]
    text = (tmp_path / "c" / "comparison.md").read_text()
    assert "| none |" in text
    assert "±" in text
    assert (tmp_path / "c" / "comparison.png").stat().st_size > 0
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("best.ckpt")}
    assert compare(config, ["none", "linear-transformer"], seeds=[0, 1]) == rows  # nothing is trained twice
    assert times == {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("best.ckpt")}
    with pytest.raises(ValueError, match="holds a run with other options"):
        compare(small(molecules, cache, tmp_path / "c", epochs=3), ["none"])
    with pytest.raises(ValueError, match=r"seeds must be at least one, each once, but got \[0, 0\]"):
        compare(config, ["none"], seeds=[0, 0])


@pytest.mark.slow
def test_compare_reports_a_failed_run_and_can_be_repeated(molecules, cache, tmp_path):
    wrong = small(molecules, cache, tmp_path / "c", epochs=1, accelerator="abacus")
    with pytest.raises(RuntimeError, match=r"none-seed0 failed: .*abacus.*log\.txt"):
        compare(wrong, ["none"])
    rows = compare(small(molecules, cache, tmp_path / "c", epochs=1), ["none"])
    assert len(rows[0]["val_mae"]) == 1


def test_predict(finished, molecules, cache, tmp_path, capsys, monkeypatch):
    checkpoint = str(finished[0] / "best.ckpt")
    smiles = clean_leads_smiles("val")[96:99]
    rows = predict(checkpoint, smiles)
    assert [row[0] for row in rows] == smiles
    alone = predict(checkpoint, smiles[1:2])
    assert alone[0][1] == pytest.approx(rows[1][1], abs=1e-5)
    with pytest.raises(ValueError, match=r"molecule 2: RDKit cannot parse the SMILES 'C\(C'"):
        predict(checkpoint, ["CC", "C(C"])

    table = tmp_path / "in.csv"
    table.write_text("id,structure\n1,CCO\n2,C(C\n3,c1ccccc1\n")
    output = tmp_path / "out.csv"
    arguments = ["predict", "--checkpoint", checkpoint, "--input", str(table), "--smiles-column", "structure"]
    assert main([*arguments, "--output", str(output)]) == 2
    assert "in.csv, line 3: RDKit cannot parse" in capsys.readouterr().err
    assert not output.exists()
    assert main([*arguments, "--output", str(output), "--on-error", "skip"]) == 0
    assert "line 3 skipped" in capsys.readouterr().err
    written = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["smiles"] for row in written] == ["CCO", "C(C", "c1ccccc1"]
    assert written[1]["prediction"] == ""
    assert float(written[0]["prediction"]) == pytest.approx(predict(checkpoint, ["CCO"])[0][1], abs=1e-5)

    import io

    def standard_input(text):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    standard_input("CCO ethanol\n\nCC\n")
    assert main(["predict", "--checkpoint", checkpoint]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "smiles,prediction"
    assert [line.split(",")[0] for line in lines[1:]] == ["CCO", "CC"]
    standard_input("x,mol\n1,CCO\n2,CC,3\n")
    assert main(["predict", "--checkpoint", checkpoint, "--smiles-column", "mol", "--on-error", "skip"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2].startswith("CC,")
    assert "standard input, line 3 skipped: the row has 3 fields, but the header has 2" in err
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    assert "the output must be a file" in capsys.readouterr().err


def test_command_line(molecules, cache, tmp_path, capsys):
    out = str(tmp_path / "run")
    arguments = ["--data", str(molecules), "--root", str(cache), *BUDGET, "--epochs", "1", "--subset", "30"]
    assert main(["train", *arguments, "--pe", "random-walk", "--pe-dim", "5", "--out", out, "--progress", "lines"]) == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1" in printed
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["pe_dim"] == 5
    checkpoint = str(tmp_path / "run" / "best.ckpt")
    assert main(["evaluate", "--checkpoint", checkpoint, "--data", str(molecules), "--root", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_graphs"] == 24
    assert main(["train", *arguments, "--out", out]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "--data", "nowhere", "--out", str(tmp_path / "x")]) == 2
    assert "must be 'embedded', 'zinc' or a directory" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()  # nothing is written for wrong input
    assert main(["evaluate", "--checkpoint", "missing.ckpt"]) == 2
    assert "there is no checkpoint missing.ckpt" in capsys.readouterr().err
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"nothing")
    assert main(["evaluate", "--checkpoint", str(broken)]) == 2
    assert "no checkpoint of this version" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--pe", "gpse"])
    assert "invalid choice: 'gpse'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "pe must be one of", {"pe": "signnet"}),
        (ValueError, "epochs must be at least 1", {"epochs": 0}),
        (TypeError, "epochs must be an int", {"epochs": 1.5}),
        (ValueError, "lr must be positive", {"lr": 0.0}),
        (ValueError, "lr must be positive", {"lr": float("nan")}),
        (TypeError, "lr must be a number", {"lr": "high"}),
        (ValueError, "has no columns", {"pe": "none", "pe_dim": 3}),
        (ValueError, "pe_dim must be at least 1", {"pe_dim": 0}),
        (ValueError, "progress must be one of", {"progress": "loud"}),
        (ValueError, "norm must be one of", {"norm": "group"}),
        (ValueError, "dropout must be below 1", {"dropout": 1.5}),
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
