"""Molecules and runs that several test files share."""

import csv
import gzip
import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from graphtf.datasets import clean_leads_smiles, penalized_logp


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


@pytest.fixture(scope="session")
def small(molecules, cache):
    """Make the configuration of a run that takes a second."""
    from graphtf.train import TrainConfig

    def make(out, **options):
        defaults = {
            "data": str(molecules),
            "root": str(cache),
            "out": str(out),
            "channels": 16,
            "layers": 2,
            "heads": 4,
            "batch_size": 16,
            "epochs": 2,
            "accelerator": "cpu",
            "progress": "none",
        }
        return TrainConfig(**defaults | options)

    return make


@pytest.fixture(scope="session")
def train_command():
    """Run `graphtf train` as a command, with options by their names in the configuration."""

    def run(options):
        arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        done = subprocess.run(
            [sys.executable, "-m", "graphtf", "train", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory):
    """A finished run: its folder and metrics."""
    from graphtf.train import train

    out = tmp_path_factory.mktemp("runs") / "finished"
    return out, train(small(out, epochs=3))


@pytest.fixture
def pulled_plug(monkeypatch):
    """A context in which training stops with an error at the end of an epoch, counted from 0."""

    @contextmanager
    def interrupted(epoch):
        import graphtf.train.callbacks as callbacks

        original = callbacks.History.on_train_epoch_end

        def interrupt(self, trainer, module):
            original(self, trainer, module)
            if trainer.current_epoch == epoch:
                raise RuntimeError("pulled the plug")

        with monkeypatch.context() as patch:
            patch.setattr(callbacks.History, "on_train_epoch_end", interrupt)
            with pytest.raises(RuntimeError, match="plug"):
                yield

    return interrupted


@pytest.fixture
def resumes_exactly(small, tmp_path, pulled_plug):
    """Check that a run of four epochs, stopped after three, goes on to the same numbers; returns them."""

    def check(**options):
        from graphtf.train import train

        def history(out):
            train(small(out, epochs=4, **options), resume=out.exists())
            rows = json.loads((out / "history.json").read_text())
            return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

        whole = history(tmp_path / "whole")
        with pulled_plug(2):
            history(tmp_path / "broken")
        assert history(tmp_path / "broken") == whole
        return whole

    return check


@pytest.fixture(params=["compiled", "plain"])
def path(request, monkeypatch):
    """Powers of small graphs by compiled loops, and by tensor operations."""
    from graphtf.nn import heads

    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(heads, "has_numba", lambda: False)
    return request.param
