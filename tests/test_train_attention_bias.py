"""Attention biased by pairs of nodes, from the options of a run to its weights."""

import pytest
import torch
import yaml
from torch_geometric.data import Batch

import graphtf.weights as weights
from graphtf.cli import main
from graphtf.cli_parser import build_parser
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.train import TrainConfig, compare, train
from graphtf.train.evaluate import load_checkpoint
from graphtf.train.export import export_weights

BIASED = {"model": "gps", "pe": "conductances:heads=2", "pe_dim": 6, "attention_bias": True, "subset": 48}
BATCH = Batch.from_data_list([zinc_graph(text) for text in clean_leads_smiles("val")[:5]])


def test_a_run_resumes_exactly_and_exports(tmp_path, resumes_exactly):
    resumes_exactly(lr=2e-2, **BIASED)
    file = export_weights(tmp_path / "whole", "biased", tmp_path)
    again = build_parser().parse_args(weights.load(file).info["command"].split()[1:])
    assert (again.model, again.attention_bias, again.subset) == ("gps", True, 48)
    trained, again = load_checkpoint(tmp_path / "whole" / "best.ckpt"), load_checkpoint(file)
    with torch.no_grad():
        predicted = trained(BATCH)
        assert torch.equal(again(BATCH), predicted)
        again.model.pair_weight.zero_()
        assert float((again(BATCH) - predicted).abs().max()) > 1e-4  # it was trained


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "model='transformer' has none; use model='gps'", {"model": "transformer"}),
        (ValueError, "model='gine' has none", {"model": "gine"}),
        (TypeError, "attention_bias must be True or False, but got 1", {"attention_bias": 1}),
        *(
            (ValueError, f"needs an encoding of all pairs of nodes, but pe='{pe}' has none", {"pe": pe})
            for pe in ("none", "laplacian", "signnet", "random-walk", "conductances:pair=false", "release:pair=false")
        ),
    ],
)
def test_what_it_needs(error, message, options):
    with pytest.raises(error, match=message):
        TrainConfig(**{"model": "gps", "attention_bias": True} | options)


def test_command_line(molecules, cache, tmp_path, capsys):
    def config_of(name, *arguments):
        out = tmp_path / name
        where = ["--data", str(molecules), "--root", str(cache), "--out", str(out), "--accelerator", "cpu"]
        size = ["--channels", "8", "--layers", "1", "--heads", "2", "--epochs", "1", "--subset", "20"]
        code = main(["train", *where, *size, "--progress", "none", *arguments])
        return yaml.safe_load((out / "config.yaml").read_text()) if code == 0 else capsys.readouterr().err

    bias = ["--model", "gps", "--attention-bias"]
    assert config_of("biased", *bias)["attention_bias"] is True
    assert main(["train", "--out", str(tmp_path / "biased"), "--resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().out
    base = ["--config", str(tmp_path / "biased" / "config.yaml")]
    assert config_of("again", *base)["attention_bias"] is True
    for i, other in enumerate((["--no-attention-bias"], ["--pe", "none"], ["--model", "gine"])):
        assert config_of(f"other{i}", *base, *other)["attention_bias"] is False
    assert "use model='gps'" in config_of("wrong", "--attention-bias")
    assert "pe='laplacian' has none" in config_of("wrong", *bias, "--pe", "laplacian")
    assert "pair=false' has none" in config_of("wrong", *base, *bias, "--pe-options", "pair=false")
    assert not (tmp_path / "wrong").exists()


def test_a_comparison_uses_it_where_it_can(small, tmp_path):
    """Runs that are finished are taken as they are, if they are what the comparison would have trained."""
    common = {"epochs": 1, "subset": 20, "model": "gps"}
    for pe, bias in (("none", False), ("linear-transformer", True)):
        train(small(tmp_path / f"{pe}-seed0", pe=pe, attention_bias=bias, **common))
    rows = compare(small(tmp_path, attention_bias=True, **common), ["none", "linear-transformer"])
    assert [row["pe"] for row in rows] == ["none", "linear-transformer"]
    with pytest.raises(ValueError, match=r"other options \(attention_bias: True, False\)"):
        compare(small(tmp_path, **common), ["linear-transformer"])
    with pytest.raises(ValueError, match="but none of none, laplacian has one"):
        compare(small(tmp_path, attention_bias=True, **common), ["none", "laplacian"])


def test_dropout_of_attention_weights(molecules, cache, tmp_path):
    with pytest.raises(ValueError, match=r"attention_dropout=0.5 needs attention over all pairs.*use model='gps'"):
        TrainConfig(attention_dropout=0.5)
    with pytest.raises(ValueError, match=r"attention_dropout must be in \[0, 1\), but got 1.5"):
        TrainConfig(model="gps", attention_dropout=1.5)
    where = ["--data", str(molecules), "--root", str(cache), "--accelerator", "cpu", "--progress", "none"]
    size = ["--channels", "8", "--layers", "1", "--heads", "2", "--epochs", "1", "--subset", "20"]
    given = ["--model", "gps", "--attention-dropout", "0.5"]
    assert main(["train", *where, *size, *given, "--out", str(tmp_path / "a")]) == 0
    model = load_checkpoint(tmp_path / "a" / "best.ckpt").model
    assert [layer.attn.dropout for layer in model.layers] == [0.5]
    again = ["--config", str(tmp_path / "a" / "config.yaml"), "--model", "gine"]
    assert main(["train", *again, "--out", str(tmp_path / "b")]) == 0  # which has no attention
