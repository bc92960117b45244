"""Runs that are killed, moved, stopped, or shared by processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from graphtf.cli import main
from graphtf.train import train

BUDGET = ["--channels", "16", "--layers", "2", "--heads", "4", "--batch-size", "16", "--accelerator", "cpu"]


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


def test_resume_and_its_errors(small, finished, tmp_path):
    out, metrics = finished
    config = small(out, epochs=3)
    assert train(config, resume=True) == metrics  # finished: nothing is done
    with pytest.raises(ValueError, match=r"already holds a run; add --resume"):
        train(config)
    with pytest.raises(ValueError, match=r"other options \(epochs: 3, 4\)"):
        train(small(out, epochs=4), resume=True)
    with pytest.raises(ValueError, match="no run to resume"):
        train(small(tmp_path / "none"), resume=True)
    with pytest.raises(ValueError, match="is a file"):
        train(small(out / "config.yaml"))
    assert main(["train", "--out", str(out), "--resume"]) == 0  # the options stand in the folder


def test_a_run_that_had_stopped_early_is_not_trained_on(small, tmp_path):
    config = small(tmp_path / "run", epochs=60, patience=2, lr=2e-2)
    metrics = train(config)
    (tmp_path / "run" / "metrics.json").unlink()  # as if killed before it was written
    again = train(config, resume=True)
    assert {k: v for k, v in again.items() if k != "seconds_per_epoch"} == {
        k: v for k, v in metrics.items() if k != "seconds_per_epoch"
    }


def test_a_moved_run_keeps_its_best_checkpoint(small, tmp_path, pulled_plug):
    """The learning rate makes late epochs worse; the best one must survive a resume elsewhere."""
    options = {"epochs": 8, "lr": 3e-2, "pe": "none"}
    whole = train(small(tmp_path / "whole", **options))
    assert whole["best_epoch"] <= 5, "the test needs a best epoch before the interruption"
    with pulled_plug(5):
        train(small(tmp_path / "first", **options))
    (tmp_path / "first").rename(tmp_path / "second")
    moved = train(small(tmp_path / "second", **options), resume=True)
    for key in ("val_mae", "test_mae", "best_epoch", "epochs"):
        assert moved[key] == whole[key]


def test_a_folder_takes_one_process_at_a_time(small, tmp_path):
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    lock = tmp_path / "run" / ".lock"
    with FileLock(lock):
        with pytest.raises(ValueError, match="another process is at work"):
            train(small(tmp_path / "run"))
        assert lock.exists()  # that of the other process is left alone
    lock.unlink(missing_ok=True)
    train(small(tmp_path / "run", epochs=1))
    assert not lock.exists()


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
