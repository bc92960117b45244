"""Models under autocast: products of matrices in bfloat16, everything else in single precision."""

import copy
import json

import lightning.pytorch as pl
import pytest
import torch
from torch.nn.functional import linear as plain
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import BACKBONES, GraphTransformerLayer
from graphtf.models import linear as linear_module
from graphtf.models.base import GraphModel
from graphtf.quiet import global_settings_kept, quiet
from graphtf.train import TrainConfig, train
from graphtf.train.encodings import build_encoding, build_transform
from graphtf.train.regressor import MoleculeRegressor

MOLECULES = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:60]]
ATOM = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
HALF = {"device_type": "cpu", "dtype": torch.bfloat16}
FAST = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
EITHER = [False, pytest.param(True, marks=pytest.mark.skipif(not FAST, reason="this torch has no such products"))]


def rounded(x):
    return x.detach().bfloat16().double()


@pytest.mark.parametrize("own", EITHER)
@pytest.mark.parametrize(("rows", "with_bias"), [(1024, True), (1337, True), (1337, False), (3, True)])
def test_products_of_rounded_numbers(monkeypatch, own, rows, with_bias):
    monkeypatch.setattr(linear_module, "has_fast_bfloat16", lambda: own)
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, grad = (torch.randn(s, generator=generator) for s in ((rows, 24), (40, 24), (40,), (rows, 40)))
    inputs = [t.requires_grad_() for t in ((x, weight, bias) if with_bias else (x, weight))]
    with torch.autocast(**HALF):
        out = linear_module.linear(*inputs)
    assert ("Half" in type(out.grad_fn).__name__) == (own and rows >= linear_module.FEWEST)
    found = torch.autograd.grad(out, inputs, grad)
    assert all(t.dtype == torch.float32 for t in (out, *found))
    # One rounding of the result, whose unit is 2^-8, is left.
    exact = plain(rounded(x), rounded(weight), rounded(bias) if with_bias else None)
    torch.testing.assert_close(out.double(), exact, rtol=2**-7, atol=2**-7)
    torch.testing.assert_close(found[0].double(), rounded(grad) @ rounded(weight), rtol=2**-7, atol=2**-7)
    of_weight = rounded(grad).t() @ rounded(x)
    torch.testing.assert_close(found[1].double(), of_weight, rtol=2**-7, atol=2**-7 * rows**0.5)
    if with_bias:
        torch.testing.assert_close(found[2], grad.sum(0), rtol=2**-7, atol=2**-7 * rows**0.5)


def test_other_types_are_kept_and_traced_functions_work():
    x, weight = torch.randn(2000, 3).double(), torch.randn(2, 3).double()
    torch.testing.assert_close(linear_module.linear(x, weight), plain(x, weight), rtol=0, atol=0)
    weights = torch.randn(3, 2, 3)
    with torch.autocast(**HALF):
        assert linear_module.linear(x, weight).dtype == torch.float64
        assert linear_module.linear(x.half(), weight.half()).dtype == torch.float16
        found = torch.vmap(lambda weight: linear_module.linear(x.float(), weight))(weights)
    assert found.shape == (3, 2000, 2)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("own", EITHER)
@pytest.mark.parametrize("pe", ["none", "conductances", "signnet", "path-flow", "release"])
@pytest.mark.parametrize("backbone", list(BACKBONES))
def test_models_stay_near_what_they_are(monkeypatch, backbone, pe, own):
    monkeypatch.setattr(linear_module, "has_fast_bfloat16", lambda: own)
    transform = build_transform(pe, 4)
    batch = Batch.from_data_list([g if transform is None else transform(copy.copy(g)) for g in [*MOLECULES, ATOM]])
    assert len(batch.x) > linear_module.FEWEST
    torch.manual_seed(0)
    model = BACKBONES[backbone](32, 3, encoding=build_encoding(pe, 4))
    found = []
    for half in (False, True):
        model.zero_grad()
        with torch.autocast(**HALF, enabled=half):
            torch.manual_seed(1)
            out = model(batch)
        assert out.dtype == torch.float32
        out.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((out.detach(), gradient))
    (out, gradient), (near, of_near) = found
    assert 0 < float((near - out).norm() / out.norm()) < 0.02  # not equal, or autocast did nothing
    assert float(torch.nn.functional.cosine_similarity(gradient, of_near, dim=0)) > 0.98


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_dropout_and_attention_bias_under_autocast(rate):
    encoding = build_encoding("conductances", 4)
    model = BACKBONES["gps"](
        32, 2, 4, encoding=encoding, dropout=rate, attention_dropout=rate, norm="layer", attention_bias=True
    )
    with torch.autocast(**HALF):
        loss = model(Batch.from_data_list([*MOLECULES, ATOM])).square().mean()
        loss.backward()  # also inside, where many call it
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert float(model.pair_weight.grad.abs().max()) > 0


@pytest.mark.parametrize("own", EITHER)
def test_penalties_of_gradients_under_autocast(monkeypatch, own):
    monkeypatch.setattr(linear_module, "has_fast_bfloat16", lambda: own)
    torch.manual_seed(0)
    net = torch.nn.Sequential(linear_module.Linear(16, 32), torch.nn.Tanh(), linear_module.Linear(32, 1))
    x, found = torch.randn(2048, 16, requires_grad=True), []
    for half in (False, True):
        with torch.autocast(**HALF, enabled=half):
            out = net(x)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        of_weights = torch.autograd.grad(slope.square().sum(), [*net.parameters()][:3])
        found.append(torch.cat([g.flatten() for g in of_weights]))
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 0.02


def test_states_of_half_precision_from_other_layers():
    class Plain(GraphModel):
        def __init__(self):
            super().__init__(16, 1, 28, 4, 1, "sum")
            self.layer = torch.nn.Linear(16, 16)
            self.add_head(1, None)

        def propagate(self, h, e, data, batch, num_graphs):
            return self.layer(h)

    batch = Batch.from_data_list(MOLECULES)
    with torch.autocast(**HALF):
        assert Plain()(batch).dtype == torch.float32
        h, e = torch.ones(len(batch.x), 16).bfloat16(), torch.ones(batch.num_edges, 16)
        h, e = GraphTransformerLayer(16, 4)(h, e, batch.edge_index)
    assert torch.isfinite(h).all()


def test_shapes_on_the_meta_device():
    batch = Batch.from_data_list(MOLECULES)
    for name in ("gine", "transformer"):
        assert BACKBONES[name](16, 1).to("meta")(batch.to("meta")).shape == (len(MOLECULES), 1)


def test_a_trainer_s_own_precision_is_kept(small, tmp_path):
    seen = set()

    def look(module, inputs, output):
        seen.add(torch.is_autocast_enabled("cpu"))

    module = MoleculeRegressor("none", 0, {"channels": 16, "num_layers": 1}, backbone="gine")
    module.model.norms[0].register_forward_hook(look)
    loader = DataLoader(MOLECULES, batch_size=30)
    for graph in MOLECULES:
        graph.y = torch.zeros(1)
    trainer = pl.Trainer(
        precision="bf16-mixed", accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with quiet():
        trainer.fit(module, loader, loader)
    assert seen == {True}


def test_training_in_half_precision_and_evaluation_in_single(small, tmp_path):
    half, again, single = (
        train(small(tmp_path / name, pe="conductances", model="gps", batch_size=48, precision=precision))
        for name, precision in (("half", "bf16-mixed"), ("again", "bf16-mixed"), ("single", "32-true"))
    )
    assert half["val_mae"] == again["val_mae"] != single["val_mae"]
    history = json.loads((tmp_path / "half" / "history.json").read_text())
    assert history[half["best_epoch"] - 1]["val_mae"] == pytest.approx(half["val_mae"], rel=1e-5)
    assert TrainConfig.load(tmp_path / "half" / "config.yaml").precision == "bf16-mixed"
    with pytest.raises(ValueError, match="precision must be one of '32-true', 'bf16-mixed', but got 'half'"):
        TrainConfig(precision="half")


def test_fresh_memory_is_not_filled_meanwhile():
    switches = torch.utils.deterministic
    before = switches.fill_uninitialized_memory
    with global_settings_kept():
        assert not switches.fill_uninitialized_memory
    assert switches.fill_uninitialized_memory == before
