"""Every backbone with encodings of nodes and edges: equivariance, batches, gradients, degenerate graphs."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GINEConv, GPSConv

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GINE, GPS, GraphTransformer
from graphtf.nn import LinearTransformerPE

MOLECULES = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:8]]
MODELS = {
    "transformer": lambda **o: GraphTransformer(channels=16, heads=4, num_layers=2, **o),
    "gine": lambda **o: GINE(channels=16, num_layers=2, **o),
    "gps": lambda **o: GPS(channels=16, heads=4, num_layers=2, **o),
}
models = pytest.mark.parametrize("name", MODELS)


def encoding():
    return LinearTransformerPE(k=5, heads=2, leverage=True, node_types=28, edge_types=4)


def renamed(data, order):
    """The molecule with atom `i` named `order[i]`."""
    x = torch.empty_like(data.x)
    x[order] = data.x
    return Data(x=x, edge_index=order[data.edge_index], edge_attr=data.edge_attr)


@models
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_prediction_does_not_depend_on_node_order_or_batch(name, norm):
    torch.manual_seed(0)
    model = MODELS[name](encoding=encoding(), norm=norm)
    with torch.no_grad():
        model(Batch.from_data_list(MOLECULES))  # running statistics that are not the identity
        model.double().eval()
        together = model(Batch.from_data_list(MOLECULES))
        assert together.std() > 1e-4
        for i, molecule in enumerate(MOLECULES[:4]):
            order = torch.randperm(molecule.num_nodes, generator=torch.Generator().manual_seed(i))
            alone = model(renamed(molecule, order))
            torch.testing.assert_close(alone, together[i : i + 1], atol=1e-6, rtol=1e-5)


@models
def test_every_parameter_learns(name):
    torch.manual_seed(0)
    model = MODELS[name](encoding=encoding())
    batch = Batch.from_data_list(MOLECULES)
    (model(batch).squeeze(1) * torch.linspace(-1, 2, len(MOLECULES))).sum().backward()
    dead = [key for key, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)]
    # A bias in front of a norm has no effect, that of the keys none inside a softmax.
    assert not [key for key in dead if not key.endswith("bias")]


def test_statistics_of_the_columns_follow_an_encoding_that_learns():
    model, batch = MODELS["gine"](encoding=encoding()), Batch.from_data_list(MOLECULES)
    norm = model.edge_projection[0]
    with torch.no_grad():
        for step in range(40):
            for transformer in model.encoding.transformers:
                transformer.stack[0].value.mul_(1.02)  # of all columns
            seen = norm.running_mean.clone()
            model(batch)
            model.encoding.eval()
            columns = model.encoding(batch, return_edge=True)[1]
            far = ((columns.mean(0) - seen) / columns.std(0))[:10].abs().max()
            assert step < 10 or far < 1, step  # in spreads


@models
def test_the_edge_encoding_reaches_the_prediction(name):
    torch.manual_seed(0)
    model, batch = MODELS[name](encoding=encoding()), Batch.from_data_list(MOLECULES)
    with torch.no_grad():
        model(batch)  # running statistics
        before = model.eval()(batch)
        model.edge_projection[1].weight.zero_()
        assert float((model(batch) - before).abs().max()) > 1e-4


@models
def test_degenerate_graphs(name):
    torch.manual_seed(0)
    model = MODELS[name](encoding=encoding()).eval()
    atom = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
    mixed = model(Batch.from_data_list([atom, MOLECULES[0], atom]))
    torch.testing.assert_close(mixed[0], model(atom)[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[1], model(MOLECULES[0])[0], atol=1e-5, rtol=1e-4)
    model.train()
    assert torch.isfinite(model(Batch.from_data_list([atom, atom]))).all()
    model(atom).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_layers_are_pygs():
    assert isinstance(GPS(channels=16).layers[0], GPSConv)
    assert isinstance(GPS(channels=16).layers[0].conv, GINEConv)
    assert isinstance(GINE(channels=16).layers[0], GINEConv)


@models
@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("norm must be", {"norm": "instance"}),
        ("readout must be", {"readout": "max"}),
        ("out_channels", {"out_channels": 0}),
    ],
)
def test_bad_options(name, message, options):
    with pytest.raises(ValueError, match=message):
        MODELS[name](**options)


def test_heads_divide_channels():
    with pytest.raises(ValueError, match="heads must divide channels"):
        GPS(channels=16, heads=3)


@pytest.mark.parametrize("name", ["gine", "gps"])
def test_backbones_train_and_are_evaluated_from_their_checkpoint(name, tmp_path):
    pytest.importorskip("lightning")
    from graphtf.train import TrainConfig, evaluate, train

    config = TrainConfig(
        model=name, pe="conductances", pe_dim=4, layers=2, channels=16, heads=4, epochs=1, subset=64,
        out=str(tmp_path / "run"), root=str(tmp_path / "cache"), progress="none", accelerator="cpu",
    )  # fmt: skip
    metrics = train(config)
    again = evaluate(tmp_path / "run" / "best.ckpt", root=str(tmp_path / "cache"), subset=6)
    assert again["mae"] == pytest.approx(metrics["val_mae"], rel=1e-6)
