"""The paper's encoding: pre-trained to eigenvectors on the molecules that follow."""

import pytest
import torch

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.train import train
from graphtf.train.encodings import build_encoding
from graphtf.train.release import pretrain_encoding

GRAPHS = [zinc_graph(text) for text in clean_leads_smiles("val")[:24]]


def encoder(pe="release:pretrain=2", seed=0):
    return build_encoding(pe, 6, seed=seed)


def test_pretraining_is_kept_and_found_again(tmp_path):
    first, second, other = encoder(), encoder(), encoder(seed=1)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    assert len(pretrain_encoding(first, "release:pretrain=2", GRAPHS, tmp_path)) == 2
    (file,) = (tmp_path / "release").iterdir()
    assert any(not torch.equal(value, before[name]) for name, value in first.state_dict().items())
    torch.manual_seed(5)
    assert pretrain_encoding(second, "release:pretrain=2", GRAPHS, tmp_path) == []  # found
    anew = encoder()
    assert len(pretrain_encoding(anew, "release:pretrain=2", GRAPHS, tmp_path / "elsewhere")) == 2
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)
        assert torch.equal(anew.state_dict()[name], value)
    for changed, pe, graphs in [
        (other, "release:pretrain=2", GRAPHS),
        (encoder(), "release:pretrain=1", GRAPHS),
        (encoder(), "release:pretrain=2", GRAPHS[:-1]),
    ]:
        assert pretrain_encoding(changed, pe, graphs, tmp_path)  # another seed, length or data is trained
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"is damaged or no safetensors file .* remove it"):
        pretrain_encoding(encoder(), "release:pretrain=2", GRAPHS, tmp_path)


def test_others_are_left_alone(tmp_path):
    for pe in ("none", "signnet", "conductances", "release:pretrain=0"):
        assert pretrain_encoding(build_encoding(pe, 6 if pe != "none" else 0), pe, GRAPHS, tmp_path) == []
    assert not list(tmp_path.iterdir())
    small = encoder("release:num_slots=8")
    with pytest.raises(ValueError, match=r"a molecule has \d+ atoms, but the encoder num_slots=8; use pe='release:"):
        pretrain_encoding(small, "release:num_slots=8", GRAPHS, tmp_path)


def test_a_run_starts_where_the_pretraining_ended(small, tmp_path):
    options = {"pe": "release:pretrain=3,pair=false", "subset": 32, "epochs": 1, "pe_lr_scale": 2.0}
    first = train(small(tmp_path / "first", root=str(tmp_path / "cache"), **options))
    (file,) = (tmp_path / "cache" / "release").iterdir()
    time = file.stat().st_mtime_ns
    second = train(small(tmp_path / "second", root=str(tmp_path / "cache"), **options))
    assert file.stat().st_mtime_ns == time
    assert second["val_mae"] == first["val_mae"]
    without = train(small(tmp_path / "third", **options | {"pe": "release:pretrain=0,pair=false"}))
    assert without["val_mae"] != first["val_mae"]
