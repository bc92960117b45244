"""The encodings that can be trained, their options, and SignNet."""

import json

import pytest
import torch
from torch_geometric.data import Batch

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GraphTransformer
from graphtf.nn import LinearTransformerPE
from graphtf.train import TrainConfig, compare, evaluate, train
from graphtf.train.encoding_options import ENCODINGS, format_encoding, parse_encoding
from graphtf.train.encodings import build_encoding, build_transform
from graphtf.train.optimizer import layer_weights, one_cycle

# Fewer atoms than eigenvectors, repeated eigenvalues, two components.
SMILES = ["CC", "C", "c1ccccc1", "C.CO", *clean_leads_smiles("val")[:4]]
VARIANTS = [
    "conductances:heads=1,leverage=false,start=electric",
    "conductances:conductances=false,pair=false",
    "linear-transformer:init=random,num_probes=4",
    "linear-transformer:memory=true,shared=true",
]


def test_options_are_written_in_one_way():
    assert TrainConfig(pe="conductances:pair=false, heads=4 ,hidden=8").pe == "conductances:hidden=8,pair=false"
    assert TrainConfig(pe="linear-transformer:leverage=false").pe == "linear-transformer"
    assert TrainConfig(pe="release").pe_dim == 6
    for text in VARIANTS:
        assert format_encoding(*parse_encoding(text)) == TrainConfig(pe=text).pe


@pytest.mark.parametrize(
    ("pe", "message"),
    [
        ("conductance", "pe must be one of 'none', .*'release'"),
        ("conductances:head=1", "has no option 'head', only channels, conductances, heads, "),
        ("laplacian:heads=1", "has no option 'heads', and no others either"),
        ("conductances:heads", "are written heads=1,leverage=false, but got 'heads'"),
        ("conductances:", "are written heads=1,leverage=false, but got ''"),
        ("conductances:heads=1,heads=2", "the option heads .* is given twice"),
        ("conductances:heads=many", "the option heads .* must be a whole number, but got 'many'"),
        ("conductances:heads=0", "heads must be at least 1"),
        ("conductances:pair=no", "the option pair .* must be true or false, but got 'no'"),
        ("conductances:start=nowhere", "start .* must be one of"),
        ("conductances:init=slots", "need init='basis' or 'random'"),
        ("signnet:hidden=0", "the option hidden of pe='signnet' must be at least 1"),
    ],
)
def test_wrong_options(pe, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(pe=pe)


@pytest.mark.parametrize("pe", ["signnet", *VARIANTS])
def test_variants_train_and_evaluate_deterministically(pe, small, molecules, cache, tmp_path):
    metrics = train(small(tmp_path / "run", pe=pe, epochs=1, subset=48))
    assert metrics["pe"] == TrainConfig(pe=pe).pe
    torch.manual_seed(7)
    again = evaluate(tmp_path / "run" / "best.ckpt", str(molecules), "val", str(cache), subset=4)
    torch.manual_seed(8)
    assert evaluate(tmp_path / "run" / "best.ckpt", str(molecules), "val", str(cache), subset=4) == again


def test_variants_are_rows_of_a_comparison(small, tmp_path):
    """Runs that are finished are taken as they are; the folder of a variant is named after it."""
    names = ["none", "conductances:heads=1"]
    common = {"epochs": 1, "subset": 20, "pe_lr_scale": 2.0}
    config = small(tmp_path, **common)
    for pe, folder in zip(names, ["none-seed0", "conductances-heads=1-seed0"], strict=True):
        own = common | ({} if pe != "none" else {"pe_lr_scale": 1.0})  # which has no layers to scale
        train(small(tmp_path / folder, pe=pe, **own))
    rows = compare(config, names)
    assert [row["pe"] for row in rows] == names
    with pytest.raises(ValueError, match="each once"):
        compare(config, ["conductances", "conductances:heads=4"])


def test_other_weights_do_not_depend_on_the_encoding():
    def others(pe):
        torch.manual_seed(0)
        model = GraphTransformer(16, 2, 4, encoding=build_encoding(pe, ENCODINGS[pe], seed=3))
        return {name: value for name, value in model.state_dict().items() if name.startswith(("layers", "head"))}

    expected = others("none")
    for pe in ENCODINGS:
        for name, value in others(pe).items():
            assert torch.equal(value, expected[name]), (pe, name)


def test_without_the_pair_channel_nodes_are_encoded_alike():
    batch = Batch.from_data_list([zinc_graph(text) for text in SMILES])
    full, nodes = (build_encoding(f"conductances{rest}", 4, seed=1) for rest in ("", ":pair=false"))
    node, edge = nodes(batch, return_edge=True)
    assert edge is None
    assert torch.equal(node, full(batch))
    assert GraphTransformer(16, 2, 4, encoding=nodes).edge_projection is None


def signnet_batch(k=8):
    return Batch.from_data_list([build_transform("signnet", k)(zinc_graph(text)) for text in SMILES])


def test_signnet_ignores_signs_padding_and_other_graphs():
    encoder, batch = build_encoding("signnet", 8, seed=2), signnet_batch()
    node = encoder(batch)
    alone = [encoder(build_transform("signnet", 8)(zinc_graph(text))) for text in SMILES]
    torch.testing.assert_close(node, torch.cat(alone), atol=1e-5, rtol=1e-5)
    signs = 1.0 - 2.0 * torch.randint(2, (len(SMILES), 8), generator=torch.Generator().manual_seed(0))
    flipped = batch.clone()
    flipped.laplacian_eigenvector_pe = batch.laplacian_eigenvector_pe * signs[batch.batch]
    assert not torch.equal(flipped.laplacian_eigenvector_pe, batch.laplacian_eigenvector_pe)
    torch.testing.assert_close(encoder(flipped), node, atol=1e-5, rtol=1e-5)
    flipped.laplacian_eigenvector_pe = batch.laplacian_eigenvector_pe.abs()  # no sign pattern of eigenvectors
    assert (encoder(flipped) - node).abs().max() > 1e-3
    node.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in encoder.parameters())


def test_signnet_takes_nothing_from_missing_eigenvectors():
    """A single atom has none: what is left is the bias of the network on the nodes."""
    encoder, data = build_encoding("signnet", 8), build_transform("signnet", 8)(zinc_graph("C"))
    torch.testing.assert_close(encoder(data), encoder.rho(torch.zeros(1, 8 * 28)))


def test_signnet_says_what_is_missing():
    encoder = build_encoding("signnet", 8)
    with pytest.raises(ValueError, match="the data has no 'laplacian_eigenvector_pe'; apply AddSpectralPE"):
        encoder(zinc_graph("CC"))
    with pytest.raises(ValueError, match=r"must have 8 columns, but has shape \[2, 4\]"):
        encoder(build_transform("signnet", 4)(zinc_graph("CC")))


@pytest.mark.parametrize("steps", [1, 10, 50])
def test_one_cycle_keeps_the_ratio_of_the_rates(steps):
    model = GraphTransformer(16, 2, 4, encoding=build_encoding("conductances", 4))
    optimizer, schedule = one_cycle(model, 1e-2, 1e-5, steps, pe_lr_scale=3.0)
    others, layers = optimizer.param_groups
    assert {id(p) for p in layers["params"]} == {id(p) for p in layer_weights(model)}
    assert len(others["params"]) + len(layers["params"]) == len(list(model.parameters()))
    rates = []
    for _ in range(steps):
        assert layers["lr"] == pytest.approx(3 * others["lr"], rel=1e-12)
        rates.append(others["lr"])
        optimizer.step()
        if len(rates) < steps:
            schedule.step()
    assert steps < 50 or max(rates) == pytest.approx(1e-2)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_optimizer_is_fused_where_that_is_safe(scale):
    model = GraphTransformer(16, 2, 4, encoding=build_encoding("conductances", 4))
    optimizer, _ = one_cycle(model, 1e-2, 1e-5, 5, pe_lr_scale=scale)
    assert all(group["fused"] for group in optimizer.param_groups)
    optimizer, _ = one_cycle(model.to("meta"), 1e-2, 1e-5, 5, pe_lr_scale=scale)
    assert not any(group["fused"] for group in optimizer.param_groups)


def test_layer_weights_are_those_of_the_linear_transformer_alone():
    encoder = LinearTransformerPE(k=4, heads=2, edge_types=4)
    names = {name for name, p in encoder.named_parameters() if any(p is q for q in layer_weights(encoder))}
    assert names == {name for name, _ in encoder.named_parameters() if not name.startswith("conductances")}
    assert names
    with pytest.raises(ValueError, match="pe='laplacian' has no layers whose learning rate"):
        TrainConfig(pe="laplacian", pe_lr_scale=2.0)
    with pytest.raises(ValueError, match="pe_lr_scale must be positive"):
        TrainConfig(pe_lr_scale=0.0)


def test_a_run_with_two_rates_resumes_exactly(small, tmp_path, resumes_exactly):
    whole = resumes_exactly(pe="conductances", pe_lr_scale=20.0, subset=48)
    train(small(tmp_path / "one", epochs=4, pe="conductances", subset=48))
    assert json.loads((tmp_path / "one" / "history.json").read_text())[-1]["val_mae"] != whole[-1]["val_mae"]
