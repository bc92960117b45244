"""Training in two processes is training in one with twice the batch size."""

import csv
import json
from itertools import chain

import pytest
import torch

from graphtf.datasets import clean_leads_smiles, logp
from graphtf.train import TrainConfig, train
from graphtf.train.data import MoleculeData


@pytest.mark.slow
def test_two_processes_are_one_with_larger_batches(tmp_path, cache, train_command):
    """Without dropout and batch norm nothing differs but the order of sums; 23 molecules cannot be halved."""
    smiles = clean_leads_smiles("val")[:113]
    for split, rows in [("train", smiles[:90]), ("val", smiles[90:])]:
        with open(tmp_path / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["smiles", "y"], *([text, logp(text)] for text in rows)])
    common = {"data": str(tmp_path), "root": str(cache), "pe": "none", "norm": "layer", "channels": 16, "layers": 2}
    common |= {"heads": 4, "epochs": 2, "accelerator": "cpu", "progress": "none"}
    metrics = train(TrainConfig(**common, batch_size=16, out=str(tmp_path / "one")))
    options = common | {"batch_size": 8, "devices": 2, "strategy": "ddp", "out": str(tmp_path / "two")}
    train_command(options)
    one, two = (json.loads((tmp_path / name / "history.json").read_text()) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        for key in ("train_mae", "val_mae", "lr"):
            assert a[key] == pytest.approx(b[key], rel=1e-4), key
    assert json.loads((tmp_path / "two" / "metrics.json").read_text())["val_mae"] == pytest.approx(
        metrics["val_mae"], rel=1e-4
    )


def test_processes_share_one_order():
    """Batch by batch, the molecules of two processes together are those of one; validation keeps the order."""

    class Trainer:
        def __init__(self, world_size, global_rank):
            self.world_size, self.global_rank, self.current_epoch = world_size, global_rank, 3

    graphs = [torch.tensor(i) for i in range(90)]

    def batches(size, rank, batch_size, name):
        data = MoleculeData(TrainConfig(batch_size=batch_size), graphs, graphs[:23])
        data.trainer = Trainer(size, rank)
        sampler = getattr(data, name)().batch_sampler
        return list(sampler)

    alone = batches(1, 0, 16, "train_dataloader")
    pair = [batches(2, rank, 8, "train_dataloader") for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*pair, strict=True)] == [sorted(batch) for batch in alone]
    order = list(chain(*alone))
    assert sorted(order) == list(range(90)) != order
    shares = [list(chain(*batches(2, rank, 8, "val_dataloader"))) for rank in range(2)]
    assert [i for both in zip(*shares, strict=True) for i in both][:23] == list(range(23))
