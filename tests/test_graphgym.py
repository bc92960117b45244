"""The encodings as GraphGym's encoders, and the configuration of the example."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

import graphtf.graphgym  # noqa: F401
from graphtf.datasets import CSL, clean_leads_smiles, ogb_graph
from graphtf.nn import LinearTransformerPE
from graphtf.transforms import AddElectricPE

ROOT = Path(__file__).resolve().parents[1]
gym = pytest.importorskip("torch_geometric.graphgym")


@pytest.fixture
def cfg():
    """GraphGym's global configuration, with its defaults before and after."""
    from torch_geometric.graphgym.config import cfg, set_cfg

    set_cfg(cfg)
    yield cfg
    set_cfg(cfg)


def molecules(transform=lambda data: data):
    return Batch.from_data_list([transform(ogb_graph(text)) for text in clean_leads_smiles("val")[:4]])


def node_encoder(name, width=8):
    return gym.register.node_encoder_dict[name](width)


def edge_encoder(name, width=8):
    return gym.register.edge_encoder_dict[name](width)


def test_node_and_edge_encoder_add_the_encoding_to_the_features(cfg):
    options = cfg.linear_transformer_pe
    options.k, options.node_encoder, options.edge_encoder = 6, "Atom", "Bond"
    node, edge = node_encoder("LinearTransformerPE").eval(), edge_encoder("LinearTransformerPE").eval()
    batch = molecules()
    columns, pairs = LinearTransformerPE(k=6)(batch, return_edge=True)
    atoms, bonds = node.features(batch.clone()).x, edge.features(batch.clone()).edge_attr
    out = edge(node(batch.clone()))
    torch.testing.assert_close(out.x, atoms + node.projection(columns))
    torch.testing.assert_close(out.edge_attr, bonds + edge.projection(pairs))
    assert set(out.keys()) == set(batch.keys())  # nothing is left behind
    out.x.sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in node.pe.parameters())


def test_learned_conductances_read_the_features(cfg):
    from ogb.utils.features import get_bond_feature_dims

    cfg.linear_transformer_pe.merge_from_list(
        ["heads", 2, "edge_types", list(get_bond_feature_dims()), "node_encoder", "Atom"]
    )
    batch = molecules()
    out = node_encoder("LinearTransformerPE")(batch.clone())
    assert out.x.shape == (batch.num_nodes, 8)


def test_stored_encoding(cfg):
    options = cfg.stored_pe
    options.node_attr, options.node_channels, options.node_encoder = "electric_pe", 1, "Atom"
    options.edge_attr, options.edge_channels = "electric_edge_pe", 2
    batch = molecules(AddElectricPE())
    node, edge = node_encoder("StoredPE").eval(), edge_encoder("StoredPE").eval()
    out = edge(node(batch.clone()))
    torch.testing.assert_close(out.edge_attr, edge.projection(batch.electric_edge_pe))
    with pytest.raises(ValueError, match=r"set dataset\.node_encoder True"):
        edge(batch.clone())


def test_a_network_keeps_the_constructed_weights(cfg):
    """GraphGym draws every linear map anew; the encoding's weights are those of an algorithm."""
    from torch_geometric.graphgym.config import assert_cfg

    cfg.merge_from_file(str(ROOT / "examples/graphgym/csl.yaml"))
    assert_cfg(cfg)
    cfg.share.dim_in, cfg.share.dim_out = 1, 10
    model = gym.create_model(to_device=False)
    encoding = model.encoder.node_encoder.pe
    for name, value in LinearTransformerPE(k=16).state_dict().items():
        assert torch.equal(encoding.state_dict()[name], value), name
    scores, labels = model.eval()(Batch.from_data_list([*CSL(num_copies=1)]))
    assert scores.shape == (10, 10)
    assert labels.tolist() == list(range(10))


def test_wrong_options(cfg):
    cfg.linear_transformer_pe.node_encoder = "Atoms"
    with pytest.raises(ValueError, match=r"linear_transformer_pe.node_encoder must be empty or .*Atom.* 'Atoms'"):
        node_encoder("LinearTransformerPE")
    with pytest.raises(ValueError, match=r"cfg.stored_pe has no columns for edges"):
        edge_encoder("StoredPE")
    with pytest.raises(ValueError, match=r"has the data sets CSL and CSL-0 ... CSL-4, but got 'CSL-5'"):
        gym.register.loader_dict["graphtf"]("graphtf", "CSL-5", "")
    assert gym.register.loader_dict["graphtf"]("PyG", "Cora", "") is None


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    folder = ROOT / "examples/graphgym"
    command = [sys.executable, "-P", str(folder / "main.py"), "--cfg", str(folder / "csl.yaml")]
    run = subprocess.run(
        [*command, "optim.max_epoch", "2"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = (tmp_path / "results/csl/0/train/stats.json").read_text().splitlines()
    assert len(rows) == 2
    assert json.loads(rows[1])["loss"] < json.loads(rows[0])["loss"]
    assert "accuracy" in json.loads((tmp_path / "results/csl/0/test/stats.json").read_text())


def test_without_yacs_it_says_what_to_install():
    code = "import sys; sys.modules['yacs'] = None; import graphtf.graphgym"
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert 'pip install "graphtf[graphgym]"' in run.stderr
