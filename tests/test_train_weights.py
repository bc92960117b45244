"""Weights of a trained model as a pair of files, and by name."""

import csv
import io
import json
import math
import re

import pytest
import torch
from torch_geometric.data import Batch

import graphtf.weights as weights
from graphtf.cli import main
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.nn import LinearTransformerPE
from graphtf.train import evaluate, train
from graphtf.train.evaluate import load_checkpoint
from graphtf.train.export import export_weights

BATCH = Batch.from_data_list([zinc_graph(text) for text in clean_leads_smiles("val")[:5]])


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    """The run of `finished` as weights, by the command line."""
    folder = tmp_path_factory.mktemp("weights")
    assert main(["export", "--run", str(finished[0]), "--name", "tiny-1.0", "--out", str(folder)]) == 0
    return folder / "tiny-1.0.safetensors"


def test_what_is_exported(exported, finished, molecules):
    assert sorted(file.name for file in exported.parent.iterdir()) == ["tiny-1.0.json", "tiny-1.0.safetensors"]
    info = weights.load(exported).info
    assert info["metrics"] == finished[1]
    assert info["command"] == (
        f"graphtf train --data {molecules.name} --pe linear-transformer --epochs 3 --batch-size 16 --layers 2 "
        "--channels 16 --heads 4"
    )
    assert str(molecules.parent) not in exported.with_suffix(".json").read_text()  # nothing of this machine
    assert info["model"]["pe"] == "linear-transformer"


def test_weights_are_the_model(exported, finished, molecules, cache, capsys):
    model, again = load_checkpoint(finished[0] / "best.ckpt"), load_checkpoint(exported)
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    arguments = ["evaluate", "--weights", str(exported), "--data", str(molecules), "--split", "val"]
    assert main([*arguments, "--root", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mae"] == finished[1]["val_mae"]
    assert main([*arguments, "--root", str(cache)]) == 0
    assert f"MAE {finished[1]['val_mae']!r} over 24 molecules, val split" in capsys.readouterr().out


def test_predictions_of_weights(exported, finished, capsys, monkeypatch):
    rows = []
    for model in (["--weights", str(exported)], ["--checkpoint", str(finished[0] / "best.ckpt")]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"CCO\nc1ccccc1\n")))
        assert main(["predict", *model]) == 0
        rows.append(list(csv.DictReader(capsys.readouterr().out.splitlines())))
    assert rows[0] == rows[1]
    with pytest.raises(SystemExit):
        main(["predict", "--weights", str(exported), "--checkpoint", "x"])
    with pytest.raises(SystemExit):
        main(["evaluate", "--split", "val"])


@pytest.mark.parametrize("pe", ["conductances", "conductances:pair=false,heads=2", "none"])
def test_the_encoder_alone(pe, small, tmp_path):
    train(small(tmp_path / "run", pe=pe, epochs=1, subset=24))
    file = export_weights(tmp_path / "run", "tiny", tmp_path)
    if pe == "none":
        with pytest.raises(ValueError, match=r"tiny.safetensors' has no linear transformer as encoding"):
            LinearTransformerPE.from_pretrained(file)
        return
    encoder = LinearTransformerPE.from_pretrained(file)
    encoding = load_checkpoint(tmp_path / "run" / "best.ckpt").model.encoding
    trained = encoding if isinstance(encoding, LinearTransformerPE) else encoding.encoder
    assert encoder.config == trained.config
    assert not encoder.training
    node, edge = encoder(BATCH, return_edge=True)
    for ours, theirs in zip((node, edge), trained(BATCH, return_edge=True), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(node, LinearTransformerPE(encoder.config)(BATCH))  # it was trained


def test_shipped_weights_are_small_and_load():
    total = sum(file.stat().st_size for file in weights.named.FOLDER.glob("*.safetensors"))
    assert total <= 3 * 2**20
    for name in weights.names():
        assert math.isfinite(weights.load(name).info["metrics"]["val_mae"])
        assert LinearTransformerPE.from_pretrained(name)(BATCH).isfinite().all()
        assert load_checkpoint(weights.path(name)).num_parameters > 0


def test_what_is_wrong_is_said(exported, finished, small, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"there are no weights 'zinc13k', only .*; or give the path"):
        weights.load("zinc13k")
    assert main(["evaluate", "--weights", "zinc13k", "--data", "embedded"]) == 2
    assert "there are no weights 'zinc13k'" in capsys.readouterr().err
    copy = tmp_path / "copy.safetensors"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*copy.safetensors"):
        LinearTransformerPE.from_pretrained(copy)
    copy.write_bytes(exported.read_bytes())
    with pytest.raises(FileNotFoundError, match=r"no file .*copy.json; weights are a .safetensors file and a .json"):
        evaluate(copy, "embedded")
    info = json.loads(exported.with_suffix(".json").read_text())
    described = tmp_path / "copy.json"
    described.write_text("nothing")
    with pytest.raises(ValueError, match=r"copy.json is not valid JSON"):
        weights.load(copy)
    described.write_text(json.dumps(info | {"format": 99}))
    with pytest.raises(ValueError, match="does not describe weights for this version"):
        weights.load(copy)
    described.write_text(json.dumps(info | {"model": info["model"] | {"backbone": "gine"}}))
    with pytest.raises(ValueError, match=r"copy.safetensors (holds no model|.*do not fit)"):
        load_checkpoint(copy)
    other = info["model"] | {"model": info["model"]["model"] | {"channels": 8}}
    described.write_text(json.dumps(info | {"model": other}))
    with pytest.raises(ValueError, match=r"do not fit their configuration: .*size mismatch"):
        load_checkpoint(copy)
    config = info["encoder"]["config"] | {"k": 3, "num_layers": None}
    described.write_text(json.dumps(info | {"encoder": info["encoder"] | {"config": config}}))
    with pytest.raises(ValueError, match="do not fit their configuration"):
        LinearTransformerPE.from_pretrained(copy)
    described.write_text(json.dumps(info))
    copy.write_bytes(exported.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_checkpoint(copy)
    with pytest.raises(ValueError, match="holds no finished run"):
        export_weights(tmp_path, "tiny", tmp_path)
    with pytest.raises(ValueError, match=r"name must be letters, .* but got '../x'"):
        export_weights(finished[0], "../x", tmp_path)


def test_evaluation_refuses_data_of_another_kind(exported):
    with pytest.raises(ValueError, match="from the features of zinc, but ogbg-molesol has 1 with the features of ogb"):
        evaluate(exported, "ogbg-molesol")


@pytest.mark.parametrize(
    ("name", "told"), [("zinc12k", r"of ZINC-12k, .*--data DIR.*, or --data zinc$"), ("tiny", r"of '.*', .*\[\.gz\]$")]
)
def test_evaluation_without_the_data_of_training_asks_for_some(exported, name, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--weights", str(exported) if name == "tiny" else name]) == 2
    assert re.search(f"trained on the molecules {told}", capsys.readouterr().err.strip())


def test_the_weights_that_ship_predict_molecules(molecules, cache, capsys):
    assert "zinc12k" in weights.names()
    arguments = ["evaluate", "--weights", "zinc12k", "--data", str(molecules), "--split", "val"]
    assert main([*arguments, "--root", str(cache), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mae"] < 0.4  # the mean as prediction: above 1
    encoder = LinearTransformerPE.from_pretrained("zinc12k")
    node, edge = encoder(BATCH, return_edge=True)
    start, _ = LinearTransformerPE(encoder.config).eval()(BATCH, return_edge=True)
    assert node.shape == (BATCH.num_nodes, 64)
    assert edge.shape == (BATCH.num_edges, 68)
    assert float((node - start).detach().abs().max()) > 0.01


def test_a_name_may_have_dots(tmp_path):
    saved = weights.Weights({"x": torch.arange(2)}, {"format": 1, "model": {}})
    for file in ("a-1.0", "b-1.0.safetensors", "c-1.0.json"):
        saved.save(tmp_path / file)
    names = [f"{name}-1.0.{suffix}" for name in "abc" for suffix in ("json", "safetensors")]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
