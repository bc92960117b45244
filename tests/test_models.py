import math

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.transforms import AddRandomWalkPE

from graphtf.datasets import clean_leads_smiles, ogb_graph, zinc_graph
from graphtf.models import GINE, GPS, GraphTransformer, GraphTransformerLayer, StoredEncoding
from graphtf.nn import LinearTransformerPE

MOLECULES = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:12]]


def encodings():
    return {
        "none": None,
        "basis": LinearTransformerPE(k=6),
        "electric": LinearTransformerPE(k=6, start="electric"),
        "slots": LinearTransformerPE(k=4, init="slots"),
        "stored": StoredEncoding("random_walk_pe", 5),
    }


def model_of(name, seed=0, **options):
    torch.manual_seed(seed)
    return GraphTransformer(channels=16, heads=4, num_layers=3, encoding=encodings()[name], **options)


def batch_of(molecules):
    return Batch.from_data_list([AddRandomWalkPE(5)(molecule) for molecule in molecules])


def renamed(data, order):
    """The molecule with atom `i` named `order[i]`."""
    x = torch.empty_like(data.x)
    x[order] = data.x
    return Data(x=x, edge_index=order[data.edge_index], edge_attr=data.edge_attr)


def test_layer_equals_its_equations():
    """Sums over neighbours written out, with the layer's own weights."""
    torch.manual_seed(0)
    layer = GraphTransformerLayer(8, heads=2).double().eval()
    data = MOLECULES[0]
    n, d = data.num_nodes, 4
    h = torch.randn(n, 8, dtype=torch.float64)
    e = torch.randn(data.num_edges, 8, dtype=torch.float64)
    with torch.no_grad():
        out_h, out_e = layer(h, e, data.edge_index)
        q, k, v, g = layer.query(h), layer.key(h), layer.value(h), layer.edge(e)
        attended, w = torch.zeros(n, 8, dtype=torch.float64), torch.zeros_like(e)
        for i in range(n):
            into = [a for a in range(data.num_edges) if int(data.edge_index[1, a]) == i]
            for head in range(2):
                part = slice(head * d, head * d + d)
                for a in into:
                    w[a, part] = q[i, part] * k[data.edge_index[0, a], part] * g[a, part] / math.sqrt(d)
                alpha = torch.softmax(torch.stack([w[a, part].sum() for a in into]), 0)
                for weight, a in zip(alpha, into, strict=True):
                    attended[i, part] += weight * v[data.edge_index[0, a], part]
        expected_h, expected_e = (
            block.norm2(y + block.back(block.hidden(y).relu()))
            for block, y in [
                (layer.node_block, layer.node_block.norm1(h + layer.node_block.out(attended))),
                (layer.edge_block, layer.edge_block.norm1(e + layer.edge_block.out(w))),
            ]
        )
    torch.testing.assert_close(out_h, expected_h, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(out_e, expected_e, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", encodings())
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_no_dead_parameters(name, norm):
    model = model_of(name, norm=norm).double()
    with torch.no_grad():
        for p in model.parameters():  # a construction may multiply a zero at first, but not after a step
            p += 0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    batch = batch_of(MOLECULES)
    used = torch.zeros(28, dtype=torch.bool)
    used[batch.x.view(-1)] = True
    (model(batch).squeeze(1) * torch.linspace(-1, 2, len(MOLECULES), dtype=torch.float64)).sum().backward()
    for parameter_name, p in model.named_parameters():
        assert p.grad is not None, parameter_name
        if "embedding" in parameter_name:  # types that do not occur have no gradient
            continue
        assert p.grad.abs().max() > 1e-12, parameter_name
    assert (model.node_embedding.tables[0].weight.grad.abs().amax(1) > 0)[used].all()


@pytest.mark.parametrize("name", ["none", "basis", "electric", "stored"])
def test_prediction_does_not_depend_on_node_order_or_batch(name):
    model = model_of(name)
    model.train()
    with torch.no_grad():
        model(batch_of(MOLECULES))  # running statistics that are not the identity
        model.double().eval()
        together = model(batch_of(MOLECULES))
        for i, molecule in enumerate(MOLECULES[:4]):
            order = torch.randperm(molecule.num_nodes, generator=torch.Generator().manual_seed(i))
            alone = model(AddRandomWalkPE(5)(renamed(molecule, order)))
            torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=1e-5)


def test_models_that_differ_in_the_encoding_share_all_other_weights():
    reference = model_of("none", seed=3).state_dict()
    for name in ("basis", "slots", "stored"):
        state = model_of(name, seed=3).state_dict()
        for key, value in reference.items():
            torch.testing.assert_close(state[key], value, atol=0, rtol=0)


def test_sizes():
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    assert count(GraphTransformer(encoding=LinearTransformerPE(k=16))) <= 250_000
    assert 700_000 < count(GraphTransformer(channels=128, encoding=LinearTransformerPE(k=16))) < 900_000


def test_degenerate_graphs():
    model = model_of("basis").eval()
    atom = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
    assert model(atom).shape == (1, 1)
    mixed = model(Batch.from_data_list([atom, MOLECULES[0], atom]))
    torch.testing.assert_close(mixed[0], model(atom)[0])
    torch.testing.assert_close(mixed[1], model(MOLECULES[0])[0], atol=1e-5, rtol=1e-5)
    model.train()
    assert torch.isfinite(model(Batch.from_data_list([atom, atom]))).all()  # no edge at all
    model(atom).sum().backward()  # a single row, which torch's BatchNorm refuses
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_isolated_atoms_and_huge_scores_stay_finite():
    model = model_of("none")
    molecule = MOLECULES[0]
    x = torch.cat([molecule.x, torch.zeros(1, 1, dtype=torch.int64)])
    alone = Data(x=x, edge_index=molecule.edge_index, edge_attr=molecule.edge_attr)
    assert torch.isfinite(model(alone)).all()
    layer = GraphTransformerLayer(8, heads=2).eval()
    h, e = 1e6 * torch.randn(molecule.num_nodes, 8), 1e6 * torch.randn(molecule.num_edges, 8)
    assert all(torch.isfinite(out).all() for out in layer(h, e, molecule.edge_index))


def test_several_columns_and_no_edge_features():
    from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims

    graphs = Batch.from_data_list([ogb_graph(smiles) for smiles in clean_leads_smiles("val")[:3]])
    model = GraphTransformer(
        16, 2, 4, node_types=get_atom_feature_dims(), edge_types=get_bond_feature_dims(), out_channels=2, readout="mean"
    )
    assert model(graphs).shape == (3, 2)
    plain = GraphTransformer(16, 2, 4, edge_types=0)
    assert plain(Batch.from_data_list([Data(x=m.x, edge_index=m.edge_index) for m in MOLECULES[:3]])).shape == (3, 1)


def test_random_signs_are_drawn_in_training_only():
    encoding = StoredEncoding("pe", 3, random_sign=True)
    batch = Batch.from_data_list(
        [Data(pe=torch.randn(m.num_nodes, 3), edge_index=m.edge_index, num_nodes=m.num_nodes) for m in MOLECULES]
    )
    torch.manual_seed(0)
    drawn = encoding.train()(batch)
    torch.testing.assert_close(drawn.abs(), batch.pe.abs())
    ratio = (drawn / batch.pe).sign()
    assert {-1.0, 1.0} == set(ratio.unique().tolist())
    for graph in range(len(MOLECULES)):  # one sign a column and graph
        assert len(ratio[batch.batch == graph].unique(dim=0)) == 1
    torch.testing.assert_close(encoding.eval()(batch), batch.pe)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("heads must divide channels", {"channels": 10, "heads": 4}),
        ("num_layers must be at least 1", {"num_layers": 0}),
        ("norm must be one of", {"norm": "group"}),
        ("readout must be one of", {"readout": "max"}),
        ("dropout must be in", {"dropout": 1.0}),
    ],
)
def test_bad_options(message, options):
    with pytest.raises(ValueError, match=message):
        GraphTransformer(**options)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("name", ["dropout", "attention_dropout"])
def test_bad_dropout(name, rate):
    for model in (GPS,) if name == "attention_dropout" else (GPS, GINE, GraphTransformer):
        with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\), but got {rate}"):
            model(**{name: rate})
    with pytest.raises(TypeError, match=rf"{name} must be a number"):
        GPS(**{name: "0.1"})
    GPS(16, 1, 4, **{name: np.float32(0.5)})


def test_bad_input():
    model = model_of("stored")
    with pytest.raises(ValueError, match="data has no edge_index"):
        model_of("none")(HeteroData())
    with pytest.raises(ValueError, match="no 'random_walk_pe'; apply the transform"):
        model(MOLECULES[0])
    with pytest.raises(ValueError, match=r"random_walk_pe must have 5 columns, but has shape \[\d+, 7\]"):
        model(AddRandomWalkPE(7)(MOLECULES[0]))
    with pytest.raises(ValueError, match=r"data\.x holds 0 \.\.\. 28, but the model was made for 28 types"):
        model_of("none")(Data(x=torch.tensor([[0], [28]]), edge_index=torch.tensor([[0, 1], [1, 0]])))
    with pytest.raises(ValueError, match=r"data\.x must be categories"):
        model_of("none")(Data(x=torch.ones(2, 1), edge_index=torch.tensor([[0, 1], [1, 0]])))
    with pytest.raises(ValueError, match=r"data\.edge_attr must be categories .* got nothing"):
        model_of("none")(Data(x=torch.tensor([[0], [1]]), edge_index=torch.tensor([[0, 1], [1, 0]])))
    short = Data(x=torch.tensor([[0], [1]]), edge_index=torch.tensor([[0, 1], [1, 0]]), edge_attr=torch.tensor([1]))
    with pytest.raises(ValueError, match=r"data\.edge_attr must have one row for each of the 2 edges, but has 1 row"):
        model_of("none")(short)
    short.edge_attr = torch.tensor([1, 1])
    short.random_walk_pe = torch.ones(1, 5)
    with pytest.raises(ValueError, match="the encoding must have one row for each of the 2 nodes"):
        model_of("stored")(short)
    with pytest.raises(TypeError, match="channels must be an int"):
        GraphTransformer(channels=16.0)
    with pytest.raises(TypeError, match="must have int attributes node_channels and edge_channels"):
        GraphTransformer(encoding=torch.nn.Identity())
    with pytest.raises(ValueError, match="do not go together"):
        StoredEncoding("pe", 3, edge_channels=2)


class Copied(torch.nn.Module):
    """An encoding whose rows are new tensors."""

    def __init__(self, encoding):
        super().__init__()
        self.encoding, self.node_channels, self.edge_channels = encoding, encoding.node_channels, encoding.edge_channels

    def forward(self, data, return_edge=True):
        node, edge = self.encoding(data, return_edge=True)
        return node.clone(), edge.clone()


@pytest.mark.parametrize("listed", ["both ways", "one edge twice"])
def test_edges_that_are_listed_both_ways_are_mapped_once_with_the_same_result(listed):
    batch = batch_of(MOLECULES)
    if listed == "one edge twice":  # both directions of it once more
        more = (batch.edge_index.sort(0)[0] == batch.edge_index[:, :1].sort(0)[0]).all(0)
        batch.edge_index = torch.cat([batch.edge_index, batch.edge_index[:, more]], 1)
        batch.edge_attr = torch.cat([batch.edge_attr, batch.edge_attr[more]])
    found = []
    for wrap in (lambda encoding: encoding, Copied):
        torch.manual_seed(0)
        encoding = wrap(LinearTransformerPE(k=4, heads=2, leverage=True, node_types=28, edge_types=4))
        model = GraphTransformer(channels=16, heads=4, num_layers=2, encoding=encoding).double()
        out = model(batch)
        found.append((out, torch.autograd.grad(out.square().sum(), list(model.parameters()))))
    torch.testing.assert_close(*found)


class Changed(Copied):
    """An encoding whose rows are changed, in place or not."""

    def __init__(self, encoding, in_place):
        super().__init__(encoding)
        self.in_place = in_place

    def forward(self, data, return_edge=True):
        node, edge = self.encoding(data, return_edge=True)
        factor = torch.linspace(0, 1, len(edge)).unsqueeze(1)
        return node, edge.mul_(factor) if self.in_place else edge * factor


def test_edges_that_are_changed_in_place_are_not_mapped_as_they_were():
    out = []
    for in_place in (False, True):
        torch.manual_seed(0)
        encoding = Changed(LinearTransformerPE(k=4, heads=2, leverage=True), in_place)
        out.append(GraphTransformer(channels=16, heads=4, num_layers=2, encoding=encoding)(batch_of(MOLECULES)))
    torch.testing.assert_close(*out)


def test_who_asks_for_the_gradient_of_the_encoding_gets_it():
    kept = []
    encoding = LinearTransformerPE(k=4, heads=2, leverage=True, node_types=28, edge_types=4)
    encoding.register_forward_hook(lambda module, args, out: kept.append(out[1]) or out[1].retain_grad())
    GraphTransformer(channels=16, heads=4, num_layers=2, encoding=encoding)(batch_of(MOLECULES)).sum().backward()
    assert kept[0].grad.abs().sum() > 0


def test_derivatives_by_the_encoding_of_the_edges():
    kept = []
    encoding = LinearTransformerPE(k=4, heads=2, leverage=True, node_types=28, edge_types=4)
    encoding.register_forward_hook(lambda module, args, out: kept.append(out[1]))
    out = GraphTransformer(channels=16, heads=4, num_layers=2, encoding=encoding)(batch_of(MOLECULES))
    assert torch.autograd.grad(out.sum(), kept[0])[0].abs().sum() > 0
