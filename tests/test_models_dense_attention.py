"""Attention over all pairs of nodes: groups of graphs of about one size, compilation, graphs without nodes."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GINE, GPS
from graphtf.models.dense_attention import attend_to_all
from graphtf.models.dense_layout import DenseLayout
from graphtf.nn import LinearTransformerPE

MOLECULES = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:8]]
ATOM = Data(x=torch.tensor([[0]]), edge_index=torch.empty(2, 0, dtype=torch.int64), edge_attr=torch.empty(0).long())
BATCH = Batch.from_data_list([MOLECULES[0], ATOM, *MOLECULES[1:], ATOM])


def test_groups_of_graphs_of_about_one_size_give_what_one_group_gives():
    generator = torch.Generator().manual_seed(0)
    batch = torch.repeat_interleave(torch.arange(9), torch.tensor([3, 11, 1, 0, 7, 2, 5, 30, 4]))
    batch = batch[torch.randperm(len(batch), generator=generator)]
    qkv = torch.randn(len(batch), 3 * 8, dtype=torch.float64, generator=generator, requires_grad=True)
    found = []
    for groups in (1, 2, 4):
        layout = DenseLayout(batch, len(batch), 9, 2, groups)
        assert len(layout.groups) == groups
        out = attend_to_all(qkv, layout)
        found.append((out, *torch.autograd.grad(out.pow(3).sum(), qkv)))
        with torch.no_grad():
            torch.testing.assert_close(attend_to_all(qkv, layout, rate=1e-12), out)  # the way with dropout
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    with pytest.raises(ValueError, match="one group"):
        attend_to_all(qkv, layout, bias=torch.zeros(1))


@pytest.mark.parametrize(("groups", "biased"), [(1, False), (1, True), (2, False), (3, False)])
def test_dropout_of_attention_weights(groups, biased, monkeypatch):
    """Against dense matrices, graph by graph, with what has been dropped."""
    generator = torch.Generator().manual_seed(1)
    sizes, heads, width, rate = [5, 1, 0, 2, 9, 4], 2, 3, 0.4
    batch = torch.repeat_interleave(torch.arange(6), torch.tensor(sizes))
    batch = batch[torch.randperm(len(batch), generator=generator)]
    options = {"dtype": torch.float64, "generator": generator, "requires_grad": True}
    qkv, logits = torch.randn(len(batch), 3 * heads * width, **options), torch.randn(6, heads, 9, 9, **options)
    layout = DenseLayout(batch, len(batch), 6, heads, groups)
    masks, dropout = [], torch.native_dropout

    def recorded(weights, rate, train):
        found = dropout(weights, rate, train)
        masks.append(found[1])
        return found

    monkeypatch.setattr(torch, "native_dropout", recorded)
    padding = ~layout.groups[0].mask[:, None, None, :]
    bias = logits.masked_fill(padding, torch.finfo(logits.dtype).min) if biased else None
    torch.manual_seed(0)
    out = attend_to_all(qkv, layout, bias, rate)
    assert len(masks) == groups
    kept = torch.cat([mask.flatten() for mask in masks]).double()
    assert abs(float(kept.mean()) - 0.6) < 0.1

    by_size = torch.tensor(sizes).argsort(stable=True) if groups > 1 else torch.arange(6)
    expected = torch.zeros_like(out)
    for number in range(groups):
        graphs = by_size[6 * number // groups : 6 * (number + 1) // groups]
        for mask, g in zip(masks[number].unflatten(0, (len(graphs), heads)), graphs, strict=True):
            nodes = (batch == g).nonzero().squeeze(1)
            n = len(nodes)
            q, k, v = qkv[nodes].view(n, 3, heads, width).permute(1, 2, 0, 3)
            scores = q @ k.mT / width**0.5 + (logits[g, :, :n, :n] if biased else 0)
            dropped = scores.softmax(-1) * mask[:, :n, :n] / (1 - rate)
            expected = expected.index_put((nodes,), (dropped @ v).transpose(0, 1).flatten(1))
    torch.testing.assert_close(out, expected)
    inputs, direction = (qkv, logits) if biased else (qkv,), torch.randn(out.shape, **options)
    for found, wanted in zip(
        torch.autograd.grad(out, inputs, direction), torch.autograd.grad(expected, inputs, direction), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match=r"rate must be in \[0, 1\), but got 1.0"):
        attend_to_all(qkv, layout, bias, 1.0)


@pytest.mark.filterwarnings("ignore")
def test_compiled_attention_over_all_pairs():
    batch = Batch.from_data_list(MOLECULES)
    torch.manual_seed(0)
    model = GPS(channels=16, num_layers=1, heads=2).eval()
    torch.testing.assert_close(torch.compile(model, backend="eager")(batch), model(batch))


@pytest.mark.filterwarnings("ignore")
def test_the_encoding_of_a_compiled_model_is_not_traced():
    batch = Batch.from_data_list(MOLECULES)
    encoding = LinearTransformerPE(k=4, heads=2, leverage=True, node_types=28, edge_types=4)
    model, traced = GINE(channels=16, num_layers=1, encoding=encoding).double(), []
    encoding.register_forward_hook(lambda *_: traced.append(torch.compiler.is_compiling()))
    results = []
    for run in (torch.compile(model, backend="eager"), model):
        model.zero_grad()
        out = run(batch)
        out.sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in encoding.parameters())])
    assert traced == [False, False]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("number", [1, 40])
def test_graphs_without_nodes_have_an_output_each(number):
    nothing = Data(torch.zeros(0, dtype=torch.int64), torch.zeros(2, 0, dtype=torch.int64), num_nodes=0)
    nothing.edge_attr = torch.zeros(0, dtype=torch.int64)
    torch.manual_seed(0)
    model = GPS(channels=16, num_layers=1, heads=2).eval()
    out = model(Batch.from_data_list([nothing] * number))
    out.sum().backward()
    torch.testing.assert_close(out, out[:1].expand(number, 1))
    found = model(Batch.from_data_list([MOLECULES[0], *[nothing] * number]))
    torch.testing.assert_close(found[:1], model(Batch.from_data_list(MOLECULES[:1])))
