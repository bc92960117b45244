"""The running statistics of batch normalisation that a finished run has."""

import json

import pytest
import torch
from torch_geometric.data import Batch

from graphtf.train import TrainConfig, callbacks, evaluate, train
from graphtf.train.data import load_graphs
from graphtf.train.evaluate import load_checkpoint

NORM = torch.nn.modules.batchnorm._BatchNorm


def norms_of(checkpoint):
    module = load_checkpoint(checkpoint)
    return module, [layer for layer in module.modules() if isinstance(layer, NORM)]


@pytest.mark.parametrize("model", ["gine", "gps", "transformer"])
def test_they_are_those_of_the_training_data(model, small, tmp_path):
    config = small(tmp_path / "run", model=model, pe="conductances", batch_size=96, epochs=3)
    train(config)
    module, norms = norms_of(tmp_path / "run" / "last.ckpt")
    found = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in norms]
    assert len(found) >= 4
    for layer in norms:
        layer.momentum = 1.0
    module.train()
    with torch.no_grad():
        module(Batch.from_data_list(load_graphs(config.data, "train", config.pe, config.pe_dim, config.root)))
    for (mean, variance), layer in zip(found, norms, strict=True):
        torch.testing.assert_close(mean, layer.running_mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(variance, layer.running_var, rtol=1e-3, atol=1e-4)


def test_nothing_but_the_last_validation_depends_on_them(small, tmp_path, monkeypatch):
    options = {"model": "gine", "dropout": 0.1, "epochs": 3}
    train(small(tmp_path / "new", **options))
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "update_bn", lambda *arguments: None)
        train(small(tmp_path / "old", **options))
    new, old = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("new", "old"))
    assert [row["train_mae"] for row in new] == [row["train_mae"] for row in old]
    assert [row["val_mae"] for row in new[:-1]] == [row["val_mae"] for row in old[:-1]]
    assert new[-1]["val_mae"] != old[-1]["val_mae"]
    weights = [dict(norms_of(tmp_path / name / "last.ckpt")[0].named_parameters()) for name in ("new", "old")]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.slow
def test_processes_agree_on_them(small, molecules, cache, tmp_path, train_command):
    config = small(tmp_path / "two", model="gine", devices=2, strategy="ddp", batch_size=8)
    default = TrainConfig().to_dict()
    train_command({name: value for name, value in config.to_dict().items() if value not in (None, default[name])})
    last = json.loads((tmp_path / "two" / "history.json").read_text())[-1]["val_mae"]
    found = evaluate(tmp_path / "two" / "last.ckpt", str(molecules), "val", str(cache))["mae"]
    assert found == pytest.approx(last, rel=1e-5)
