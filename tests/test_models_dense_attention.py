"""Attention over all pairs of nodes: groups of graphs of about one size, compilation, graphs without nodes."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.models import GPS
from graphtf.models.dense_attention import attend_to_all
from graphtf.models.dense_layout import DenseLayout

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


@pytest.mark.parametrize("biased", [False, True])
def test_dropout_of_attention_weights_keeps_their_mean_and_has_exact_gradients(biased):
    generator = torch.Generator().manual_seed(1)
    batch = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    options = {"dtype": torch.float64, "generator": generator, "requires_grad": True}
    qkv, logits = torch.randn(7, 3 * 4, **options), torch.randn(3, 2, 4, 4, **options)
    layout = DenseLayout(batch, 7, 3, 2)
    padding = ~layout.groups[0].mask[:, None, None, :]

    def attend(qkv, logits, rate=0.4, seed=0):
        torch.manual_seed(seed)
        bias = logits.masked_fill(padding, torch.finfo(logits.dtype).min) if biased else None
        return attend_to_all(qkv, layout, bias, rate)

    torch.autograd.gradcheck(attend, (qkv, logits) if biased else (qkv, logits.detach()))
    with torch.no_grad():
        draws = torch.stack([attend(qkv, logits, seed=seed) for seed in range(4000)])
        error = draws.std(0) / len(draws) ** 0.5
        assert (error > 0).all()
        assert ((draws.mean(0) - attend(qkv, logits, rate=0.0)).abs() < 5 * error).all()
        assert (draws[:, 4] == 0).any(1).float().mean() > 0.3  # a node alone has its one weight dropped


@pytest.mark.filterwarnings("ignore")
def test_compiled_attention_over_all_pairs():
    batch = Batch.from_data_list(MOLECULES)
    torch.manual_seed(0)
    model = GPS(channels=16, num_layers=1, heads=2).eval()
    torch.testing.assert_close(torch.compile(model, backend="eager")(batch), model(batch))


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
